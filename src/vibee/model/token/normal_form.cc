// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/token/normal_form.h"

#include <algorithm>
#include <span>
#include <unordered_map>
#include <vector>

#include "vibee/model/token/utf8.h"

namespace vibee {
namespace {

#include "vibee/model/token/unicode_normal.inc"

// Hangul syllables are composed by arithmetic (Unicode Standard, section 3.12).
constexpr uint32_t kSyllables = 0xac00, kLead = 0x1100, kVowel = 0x1161, kTrail = 0x11a7;
constexpr uint32_t kVowels = 21, kTrails = 28, kSyllableCount = 19 * kVowels * kTrails;

struct Tables {
  std::unordered_map<uint32_t, std::span<const uint32_t>> canonical, compatible;
  std::unordered_map<uint64_t, uint32_t> compositions;
  std::unordered_map<uint32_t, uint8_t> classes;
};

const Tables& tables() {
  static const Tables made = [] {
    Tables t;
    const auto fill = [](std::span<const uint32_t> rows, auto& map) {
      for (size_t i = 0; i < rows.size(); i += 2 + rows[i + 1]) map[rows[i]] = rows.subspan(i + 2, rows[i + 1]);
    };
    fill(kCanonical, t.canonical);
    fill(kCompatible, t.compatible);
    for (size_t i = 0; i < std::size(kCompositions); i += 3)
      t.compositions[uint64_t(kCompositions[i]) << 32 | kCompositions[i + 1]] = kCompositions[i + 2];
    for (size_t i = 0; i < std::size(kCombining); i += 3) {
      for (uint32_t c = kCombining[i]; c <= kCombining[i + 1]; ++c) t.classes[c] = uint8_t(kCombining[i + 2]);
    }
    return t;
  }();
  return made;
}

uint8_t combining_class(uint32_t code) {
  if (code < 0x300) return 0;
  const auto it = tables().classes.find(code);
  return it == tables().classes.end() ? 0 : it->second;
}

void decompose(uint32_t code, bool compatible, std::vector<uint32_t>* out) {
  if (code - kSyllables < kSyllableCount) {
    const uint32_t index = code - kSyllables, trail = index % kTrails;
    out->push_back(kLead + index / (kVowels * kTrails));
    out->push_back(kVowel + index / kTrails % kVowels);
    if (trail > 0) out->push_back(kTrail + trail);
    return;
  }
  const Tables& t = tables();
  if (code >= 0xa0) {
    if (compatible) {
      if (const auto it = t.compatible.find(code); it != t.compatible.end()) {
        out->insert(out->end(), it->second.begin(), it->second.end());
        return;
      }
    }
    if (const auto it = t.canonical.find(code); it != t.canonical.end()) {
      out->insert(out->end(), it->second.begin(), it->second.end());
      return;
    }
  }
  out->push_back(code);
}

uint32_t composed(uint32_t first, uint32_t second) {
  if (first - kLead < 19 && second - kVowel < kVowels)
    return kSyllables + ((first - kLead) * kVowels + second - kVowel) * kTrails;
  if (first - kSyllables < kSyllableCount && (first - kSyllables) % kTrails == 0 && second > kTrail &&
      second < kTrail + kTrails)
    return first + second - kTrail;
  const auto it = tables().compositions.find(uint64_t(first) << 32 | second);
  return it == tables().compositions.end() ? 0 : it->second;
}

void compose(std::vector<uint32_t>* list) {
  size_t kept = 0, starter = size_t(-1);
  int last_class = -1;  // of the character kept last after the starter; -1: none
  for (const uint32_t code : std::vector<uint32_t>(*list)) {
    const int own = combining_class(code);
    if (starter != size_t(-1) && last_class < own) {  // nothing of its class or a higher one stands between
      if (const uint32_t one = composed((*list)[starter], code); one != 0) {
        (*list)[starter] = one;
        continue;
      }
    }
    if (own == 0) {
      starter = kept;
      last_class = -1;
    } else {
      last_class = own;
    }
    (*list)[kept++] = code;
  }
  list->resize(kept);
}

void normalize_run(std::string_view run, NormalForm form, std::string* out) {
  std::vector<uint32_t> list;
  for (size_t i = 0; i < run.size();) {
    const Utf8Step step = utf8_step(run.substr(i));
    decompose(step.code, form == NormalForm::nfkc || form == NormalForm::nfkd, &list);
    i += step.length;
  }
  for (size_t i = 0; i < list.size();) {
    if (combining_class(list[i]) == 0) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < list.size() && combining_class(list[end]) != 0) ++end;
    std::stable_sort(list.begin() + i, list.begin() + end,
                     [](uint32_t a, uint32_t b) { return combining_class(a) < combining_class(b); });
    i = end;
  }
  if (form == NormalForm::nfc || form == NormalForm::nfkc) compose(&list);
  for (const uint32_t code : list) append_utf8(code, out);
}

}  // namespace

std::string to_normal_form(std::string_view text, NormalForm form) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    // ASCII is its own normal form, except a character that combining marks may follow.
    size_t end = i;
    while (end < text.size() && uint8_t(text[end]) < 0x80) ++end;
    if (end < text.size() && end > i) --end;
    out += text.substr(i, end - i);
    i = end;
    size_t plain = 0;  // two ASCII characters in a row end the run
    while (end < text.size() && plain < 2) {
      const Utf8Step step = utf8_step(text.substr(end));
      if (step.kind != Utf8Step::character) break;
      plain = step.code < 0x80 ? plain + 1 : 0;
      end += step.length;
    }
    if (plain == 2) --end;  // the second may begin the next run
    normalize_run(text.substr(i, end - i), form, &out);
    i = end;
    if (i < text.size() && utf8_step(text.substr(i)).kind != Utf8Step::character) {
      const size_t length = utf8_step(text.substr(i)).length;
      out += text.substr(i, length);
      i += length;
    }
  }
  return out;
}

}  // namespace vibee
