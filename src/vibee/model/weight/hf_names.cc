// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/hf_names.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <set>

#include "vibee/base/text/edit_distance.h"
#include "vibee/base/text/quote.h"
#include "vibee/formats/packed/little_endian.h"
#include "vibee/model/weight/hf_config.h"

namespace vibee {
namespace {

constexpr uint32_t kMaxIndex = 1 << 16;  // layers, experts
constexpr size_t kNamed = 5;             // kinds of tensors that a message lists

/// "blk.{}.attn_q.weight" of any layer: numbers between dots as "{}".
std::string kind_of(std::string_view name) {
  std::string kind;
  for (size_t at = 0; at < name.size();) {
    const size_t end = std::min(name.find('.', at), name.size());
    const std::string_view word = name.substr(at, end - at);
    const bool number =
        !word.empty() && std::all_of(word.begin(), word.end(), [](unsigned char c) { return std::isdigit(c); });
    kind += number ? "{}" : word;
    if (end < name.size()) kind += '.';
    at = end + 1;
  }
  return kind;
}

}  // namespace

bool hf_matches(std::string_view pattern, std::string_view name, HfMatch* match) {
  while (!pattern.empty()) {
    if (pattern[0] == '{') {
      const size_t close = pattern.find('}');
      uint32_t& number = close == 1 ? match->layer : match->expert;
      const auto [end, failed] = std::from_chars(name.data(), name.data() + name.size(), number);
      if (failed != std::errc() || number >= kMaxIndex) return false;
      const auto digits = size_t(end - name.data());
      if (digits > 1 && name[0] == '0') return false;  // "01" would be a second name of 1
      name.remove_prefix(digits);
      pattern.remove_prefix(close + 1);
    } else {
      if (name.empty() || name[0] != pattern[0]) return false;
      name.remove_prefix(1);
      pattern.remove_prefix(1);
    }
  }
  return name.empty();
}

const HfTensorRule* hf_rule_of(std::span<const HfTensorRule> rules, const HfArchitecture& hf, std::string_view name,
                               HfMatch* match) {
  for (const HfTensorRule& rule : rules)
    if (hf_matches(rule.hf, name, match)) return &rule;
  if (hf.prefix.empty()) return nullptr;
  for (const HfTensorRule& rule : rules)
    if (rule.hf.starts_with(hf.prefix) && hf_matches(rule.hf.substr(hf.prefix.size()), name, match)) return &rule;
  return nullptr;
}

uint64_t hf_inputs_of(const HfTensorRule& rule, const HfArchitecture& hf, const GgufMetadata& metadata) {
  const auto key = [&](std::string_view name) -> uint64_t {
    const auto at = metadata.find(fmt::format("{}.{}", hf.id, name));
    return at == metadata.end() || at->second.type != GgufType::u32 ? 0 : load_u32(at->second.bytes.data());
  };
  if (rule.gguf.ends_with(".ffn_down.weight")) return key("feed_forward_length");
  if (rule.gguf.ends_with(".ffn_down_exps.weight")) {
    const uint64_t of_expert = key("expert_feed_forward_length");
    return of_expert ? of_expert : key("feed_forward_length");
  }
  const uint64_t heads = key("attention.head_count"), head = key("attention.value_length");
  if (rule.gguf.ends_with(".attn_output.weight") && head != 0) return heads * head;
  return key("embedding_length");
}

std::string hf_nearest(std::span<const HfArchitecture* const> known, std::span<const std::string> names, bool gguf,
                       std::string_view type) {
  const HfArchitecture* nearest = nullptr;
  std::set<std::string> lacking;
  size_t least = SIZE_MAX, distance = SIZE_MAX;
  for (const HfArchitecture* hf : known) {
    const std::vector<HfTensorRule> rules = hf_tensors(*hf);
    std::set<std::string> strange;
    size_t count = 0;
    for (const std::string& name : names) {
      HfMatch match;
      const bool found = gguf ? std::any_of(rules.begin(), rules.end(),
                                            [&](const HfTensorRule& r) { return hf_matches(r.gguf, name, &match); })
                              : hf_rule_of(rules, *hf, name, &match) != nullptr;
      if (found) continue;
      ++count;
      strange.insert(kind_of(name));
    }
    const size_t away = edit_distance(gguf ? hf->id : hf->model_type, type.substr(0, 64));
    if (count > least || (count == least && away >= distance)) continue;
    nearest = hf;
    lacking = std::move(strange);
    least = count;
    distance = away;
  }
  if (nearest == nullptr) return {};
  const std::string name = quote(gguf ? nearest->id : nearest->model_type);
  if (lacking.empty())
    return fmt::format("; the nearest is {}, whose tensors have the same names: what differs is in the metadata", name);
  std::string list;
  size_t listed = 0;
  for (const std::string& kind : lacking)
    if (listed++ < kNamed) list += fmt::format("{}{}", list.empty() ? "" : ", ", quote(kind));
  if (lacking.size() > kNamed) list += fmt::format(" and {} more", lacking.size() - kNamed);
  return fmt::format("; the nearest is {}, where tensors of these kinds are missing: {}", name, list);
}

}  // namespace vibee
