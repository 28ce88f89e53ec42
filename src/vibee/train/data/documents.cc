// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/data/documents.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>

#include "vibee/base/text/quote.h"
#include "vibee/model/token/utf8.h"
#include "vibee/model/weight/json.h"

namespace vibee {
namespace {

constexpr size_t kRead = size_t(1) << 20;

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/// The text of a member, or an error that names it.
Result<std::string> text_of(const JsonValue& object, std::string_view key, std::string_view what) {
  const JsonValue* value = object.find(key);
  if (value == nullptr) return error(Code::invalid, "{} has no \"{}\"", what, key);
  if (!value->is(JsonValue::Kind::text)) return error(Code::invalid, "{}: \"{}\" is not a text", what, key);
  return value->text;
}

Result<std::vector<ChatMessage>> conversation(const JsonValue& list) {
  if (!list.is(JsonValue::Kind::array) || list.items.empty())
    return error(Code::invalid, "\"messages\" is no list of messages");
  std::vector<ChatMessage> out;
  for (size_t i = 0; i < list.items.size(); ++i) {
    const JsonValue& item = list.items[i];
    const std::string what = fmt::format("message {}", i);
    if (!item.is(JsonValue::Kind::object)) return error(Code::invalid, "{} is {}, no object", what, item.describe());
    for (size_t k = 0; k < item.names.size(); ++k) {
      if (item.names[k] != "role" && item.names[k] != "content" && !item.items[k].is(JsonValue::Kind::null))
        return error(Code::unsupported, "{} has {}; only role and content are known", what, quote(item.names[k]));
    }
    ChatMessage message;
    VIBEE_ASSIGN(message.role, text_of(item, "role", what));
    VIBEE_ASSIGN(message.content, text_of(item, "content", what));
    out.push_back(std::move(message));
  }
  return out;
}

}  // namespace

void DocumentReader::Close::operator()(std::FILE* file) const {
  if (file != stdin) std::fclose(file);
}

Result<DocumentReader> DocumentReader::open(const std::string& path, const DocumentOptions& options) {
  DocumentReader reader;
  reader.options_ = options;
  reader.name_ = path == "-" ? "standard input" : quote(path, 400);
  reader.file_.reset(path == "-" ? stdin : std::fopen(path.c_str(), "rb"));
  if (reader.file_ == nullptr)
    return error(errno == ENOENT ? Code::not_found : Code::io, "{}: cannot be opened: {}", reader.name_,
                 std::strerror(errno));
  using Kind = DocumentOptions::Kind;
  if (options.kind == Kind::by_name)
    reader.options_.kind = path.ends_with(".jsonl") || path.ends_with(".ndjson") ? Kind::lines : Kind::text;
  return reader;
}

Status DocumentReader::fill() {
  base_ += begin_;
  buffer_.erase(0, begin_);
  begin_ = 0;
  const size_t before = buffer_.size();
  buffer_.resize(before + kRead);
  const size_t got = std::fread(buffer_.data() + before, 1, kRead, file_.get());
  buffer_.resize(before + got);
  if (got < kRead) {
    if (std::ferror(file_.get()))
      return error(Code::io, "{}: reading failed at offset {}: {}", name_, position(), std::strerror(errno));
    at_end_ = true;
  }
  return {};
}

Result<bool> DocumentReader::next(TextDocument* out) {
  *out = {};
  return options_.kind == DocumentOptions::Kind::lines ? next_line(out) : next_text(out);
}

Result<bool> DocumentReader::next_text(TextDocument* out) {
  const std::string& separator = options_.separator;
  size_t searched = 0;
  while (true) {
    if (!inside_ && !separator.empty()) begin_ = std::min(buffer_.find_first_not_of("\r\n", begin_), buffer_.size());
    const std::string_view rest = this->rest();
    size_t end = std::string::npos, skip = 0;
    if (!separator.empty()) {
      end = rest.find(separator, searched);
      searched = rest.size() - std::min(rest.size(), separator.size() - 1);
    }
    bool ends = end != std::string::npos;
    if (ends) {
      skip = separator.size();
    } else if (at_end_) {
      end = rest.size();
      ends = true;
    }
    if (end > options_.piece && (end != std::string::npos || rest.size() > options_.piece + separator.size())) {
      end = piece_end(rest, options_.piece);
      ends = false;
      skip = 0;
    }
    if (end == std::string::npos) {
      VIBEE_TRY(fill());
      continue;
    }
    if (ends && end + skip == 0 && !inside_) return false;
    out->text = rest.substr(0, end);
    if (ends && !separator.empty()) {
      while (out->text.ends_with('\n') || out->text.ends_with('\r')) out->text.pop_back();
    }
    VIBEE_TRY(check_text(out->text, base_ + begin_));
    begin_ += end + skip;
    searched = 0;
    if (ends && out->text.empty() && !inside_) continue;
    out->begins = !inside_;
    out->ends = ends;
    out->where = name_;
    inside_ = !ends;
    return true;
  }
}

Result<bool> DocumentReader::next_line(TextDocument* out) {
  while (true) {
    size_t searched = 0, end;
    while ((end = rest().find('\n', searched)) == std::string::npos && !at_end_) {
      if (rest().size() > options_.line)
        return error(Code::invalid, "{}, line {}: more than {} bytes; are these JSON lines?", name_, line_ + 1,
                     options_.line);
      searched = rest().size();
      VIBEE_TRY(fill());
    }
    if (rest().empty()) return false;
    end = std::min(end, rest().size());
    const std::string_view line = rest().substr(0, end);
    begin_ = std::min(begin_ + end + 1, buffer_.size());
    ++line_;
    if (std::all_of(line.begin(), line.end(), is_space)) continue;
    out->where = fmt::format("{}, line {}", name_, line_);
    auto value = parse_json(line, {.depth = 32});
    if (!value.ok()) return value.take_status().within(out->where);
    if (!value->is(JsonValue::Kind::object))
      return error(Code::invalid, "{}: is {}, no object", out->where, value->describe());
    const JsonValue* messages = value->find("messages");
    if (messages != nullptr && value->find(options_.field) == nullptr) {
      auto list = conversation(*messages);
      if (!list.ok()) return list.take_status().within(out->where);
      out->messages = std::move(*list);
      return true;
    }
    auto text = text_of(*value, options_.field, "the object");
    if (!text.ok())
      return error(Code::invalid, "{}: {}; name the field that holds the text with --field", out->where,
                   text.status().message());
    if (text->empty()) continue;
    out->text = std::move(*text);
    return true;
  }
}

Status DocumentReader::check_text(std::string_view text, uint64_t offset) const {
  for (size_t i = 0; i < text.size();) {
    if (text[i] > 0) {
      ++i;
      continue;
    }
    if (text[i] == 0) return error(Code::invalid, "{}: a zero byte at offset {}: this is no text", name_, offset + i);
    const Utf8Step step = utf8_step(text.substr(i));
    if (step.kind != Utf8Step::character)
      return error(Code::invalid, "{}: byte 0x{:02x} at offset {} is not UTF-8; is it a text in another encoding?",
                   name_, uint8_t(text[i]), offset + i);
    i += step.length;
  }
  return {};
}

size_t piece_end(std::string_view text, size_t limit) {
  const auto last = [&](const auto& good) {
    for (size_t end = limit; end > limit / 2 && end > 1; --end) {
      if (good(end)) return end;
    }
    return size_t(0);
  };
  const auto letter = [&](size_t i) { return i < text.size() && std::isalpha(uint8_t(text[i])) != 0; };
  if (const size_t end =
          last([&](size_t i) { return text[i - 1] == '\n' && !is_space(text[i - 2]) && !is_space(text[i]); }))
    return end;
  if (const size_t end = last([&](size_t i) { return text[i] == ' ' && letter(i - 1) && letter(i + 1); })) return end;
  size_t end = limit;
  while (end > 1 && (uint8_t(text[end]) & 0xc0) == 0x80 && limit - end < 4) --end;
  return end;
}

}  // namespace vibee
