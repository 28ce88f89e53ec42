// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/traffic/trace_file.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "vibee/base/text/quote.h"
#include "vibee/model/weight/json.h"

namespace vibee {
namespace {

constexpr uint32_t kBlock = 512;               // tokens that a hash id stands for
constexpr uint64_t kLargestFile = 1ull << 30;  // bytes
constexpr uint64_t kMostTokens = 1 << 26;      // of all prompts: about 350 MB of text
constexpr int64_t kLongestPrompt = 1 << 24;    // tokens
enum Part : uint32_t { kBlockPart = 11, kTextPart };

/// One line becomes one conversation.
struct Reader {
  const WorkloadConfig& config;
  const Prompts& prompts;
  uint64_t seed;
  uint64_t line = 0, tokens = 0;

  uint32_t scaled(int64_t n) const {
    return uint32_t(std::clamp(std::round(double(n) * config.length_scale), 1.0, 4e9));
  }

  Status set_text(int64_t input, int64_t output, Conversation* to) {
    if (input < 1 || input > kLongestPrompt || output < 1 || output > kLongestPrompt)
      return error(Code::corrupt, "{} prompt and {} output tokens; both must be from 1 to {}", input, output,
                   kLongestPrompt);
    const uint32_t n = scaled(input);
    if ((tokens += n) > kMostTokens)
      return error(Code::invalid, "the prompts so far have more than {} tokens; use --requests or --length-scale",
                   kMostTokens);
    to->turns = {{"user", prompts.text(n, true, part_seed(seed, kTextPart, line)), scaled(output), 0}};
    return {};
  }

  Status csv(std::string_view text, Conversation* to) {
    const size_t first = text.find(','), second = first == text.npos ? first : text.find(',', first + 1);
    int64_t numbers[2];
    const auto number = [](std::string_view digits, int64_t* value) {
      const auto [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), *value);
      return failed == std::errc() && end == digits.data() + digits.size();
    };
    if (second == text.npos || !number(text.substr(first + 1, second - first - 1), &numbers[0]) ||
        !number(text.substr(second + 1), &numbers[1]))
      return error(Code::corrupt, "{} is not TIMESTAMP,ContextTokens,GeneratedTokens", quote(text));
    VIBEE_TRY(date(text.substr(0, first), &to->at_s));
    return set_text(numbers[0], numbers[1], to);
  }

  /// "2023-11-16 18:17:03.9799600", or seconds as a number.
  static Status date(std::string_view text, double* at_s) {
    double seconds = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (failed == std::errc() && end == text.data() + text.size() && std::isfinite(seconds) &&
        std::abs(seconds) < 1e12) {
      *at_s = seconds;
      return {};
    }
    int year, month, day, hour, minute, used = 0;
    const std::string s(text.substr(0, 40));
    if (std::sscanf(s.c_str(), "%4d-%2d-%2d%*1[ T]%2d:%2d:%n", &year, &month, &day, &hour, &minute, &used) == 5 &&
        used) {
      const auto [stop, wrong] = std::from_chars(s.data() + used, s.data() + s.size(), seconds);
      const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(unsigned(month)),
                                             std::chrono::day(unsigned(day))};
      if (wrong == std::errc() && date.ok() && hour >= 0 && hour < 24 && minute >= 0 && minute < 60 && seconds >= 0 &&
          seconds < 61) {
        *at_s = double(std::chrono::sys_days(date).time_since_epoch().count()) * 86400 + hour * 3600 + minute * 60 +
                seconds;
        return {};
      }
    }
    return error(Code::corrupt, "{} is no time; 2023-11-16 18:17:03.97 or seconds are read", quote(text));
  }

  static Result<int64_t> count(const JsonValue& object, std::string_view name) {
    const JsonValue* v = object.find(name);
    if (!v || !v->is(JsonValue::Kind::integer))
      return error(Code::corrupt, "\"{}\" is missing or no whole number", name);
    return v->integer;
  }

  Status trace(const JsonValue& object, Conversation* to) {
    const JsonValue* at = object.find("timestamp");
    if (!at || !at->is_number() || !std::isfinite(at->number))
      return error(Code::corrupt, "\"timestamp\" is missing or no number");
    to->at_s = at->number / 1e3;
    VIBEE_ASSIGN(const int64_t input, count(object, "input_length"));
    VIBEE_ASSIGN(const int64_t output, count(object, "output_length"));
    VIBEE_TRY(set_text(input, output, to));
    const JsonValue* ids = object.find("hash_ids");
    if (!ids) return {};
    if (!ids->is(JsonValue::Kind::array) || int64_t(ids->items.size()) != (input + kBlock - 1) / kBlock)
      return error(Code::corrupt, "\"hash_ids\" must be one number for each {} tokens of input_length", kBlock);
    std::string text;
    int64_t begin = 0;
    for (const JsonValue& id : ids->items) {
      if (!id.is(JsonValue::Kind::integer))
        return error(Code::corrupt, "\"hash_ids\" holds something else than a number");
      const int64_t end = std::min<int64_t>(input, begin + kBlock);
      // Where a block ends is scaled, not its length, so that the sum is right; equal blocks still give equal
      // beginnings.
      const auto place = [&](int64_t n) { return uint32_t(std::round(double(n) * config.length_scale)); };
      text += prompts.text(place(end) - place(begin), text.empty(), part_seed(seed, kBlockPart, uint64_t(id.integer)));
      begin = end;
    }
    if (!text.empty()) to->turns[0].text = std::move(text);
    return {};
  }

  Status json(std::string_view text, Conversation* to) {
    VIBEE_ASSIGN(const JsonValue object, parse_json(text));
    if (object.find("input_length")) return trace(object, to);
    int64_t most = 0;
    for (const char* name : {"max_tokens", "max_completion_tokens", "output_tokens"})
      if (object.find(name)) {
        VIBEE_ASSIGN(most, count(object, name));
        if (most < 1 || most > kLongestPrompt) return error(Code::corrupt, "\"{}\" is {}", name, most);
      }
    RandomStream random(part_seed(seed, kTextPart, line), Purpose::workload);
    const uint32_t answer = most > 0 ? scaled(most) : config.output.draw(random, config.length_scale);
    if (const JsonValue* prompt = object.find("prompt"); prompt && prompt->is(JsonValue::Kind::text)) {
      to->turns = {{"user", prompt->text, answer, 0}};
      return {};
    }
    const JsonValue* messages = object.find("messages");
    if (!messages || !messages->is(JsonValue::Kind::array) || messages->items.empty())
      return error(Code::corrupt, "the line has neither a \"prompt\" nor \"messages\" nor \"input_length\"");
    for (const JsonValue& message : messages->items) {
      const JsonValue *role = message.find("role"), *content = message.find("content");
      if (!role || !role->is(JsonValue::Kind::text) || !content || !content->is(JsonValue::Kind::text))
        return error(Code::corrupt, "a message needs a \"role\" and a \"content\" that are texts");
      to->turns.push_back({role->text, content->text, 0, 0});
    }
    to->turns.back().max_tokens = answer;
    return {};
  }
};

}  // namespace

Result<std::vector<Conversation>> parse_workload(std::string_view text, const std::string& name,
                                                 const WorkloadConfig& config, const Prompts& prompts, uint64_t seed) {
  Reader reader{config, prompts, seed};
  std::vector<Conversation> out;
  bool csv = false;
  while (!text.empty() && out.size() < config.conversations) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++reader.line;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    if (reader.line == 1 && (csv = line.starts_with("TIMESTAMP,"))) continue;
    Conversation conversation;
    Status status = csv ? reader.csv(line, &conversation) : reader.json(line, &conversation);
    if (!status.ok()) return std::move(status).within(fmt::format("{}, line {}", name, reader.line));
    out.push_back(std::move(conversation));
  }
  if (out.empty()) return error(Code::invalid, "{}: holds no requests; see `vibee help bench` for what is read", name);
  const auto earlier = [](const Conversation& a, const Conversation& b) { return a.at_s < b.at_s; };
  std::stable_sort(out.begin(), out.end(), earlier);
  const double begin = out.front().at_s;
  for (Conversation& c : out) c.at_s -= begin;
  return out;
}

Result<std::vector<Conversation>> read_workload_file(const WorkloadConfig& config, const Prompts& prompts,
                                                     uint64_t seed) {
  std::error_code failed;
  const uint64_t size = std::filesystem::file_size(config.file, failed);
  std::ifstream file(config.file, std::ios::binary);
  if (failed || !file) return error(Code::not_found, "{}: cannot be read; give the path of a file", config.file);
  if (size > kLargestFile) return error(Code::invalid, "{}: is larger than 1 GiB; cut it", config.file);
  std::string text(size, '\0');
  file.read(text.data(), std::streamsize(size));
  text.resize(size_t(file.gcount()));
  return parse_workload(text, config.file, config, prompts, seed);
}

}  // namespace vibee
