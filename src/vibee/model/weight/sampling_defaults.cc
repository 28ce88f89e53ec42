// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/weight/sampling_defaults.h"

#include <cmath>
#include <filesystem>

#include "vibee/base/text/json_object.h"
#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

constexpr uint64_t kMostConfig = 1 << 20;
constexpr size_t kMostEnds = 64;
constexpr std::string_view kEnds = "vibee.eos_token_ids";

/// A number that both containers know, with the range that the sampler takes.
struct Field {
  std::string_view hf, gguf, name;
  double low, high;
  bool whole;
  std::optional<double> SamplingDefaults::*number;
  std::optional<uint32_t> SamplingDefaults::*count;
};
constexpr Field kFields[] = {
    {"temperature", "general.sampling.temp", "temperature", 0, 100, false, &SamplingDefaults::temperature, nullptr},
    {"top_k", "general.sampling.top_k", "top_k", 0, 1 << 24, true, nullptr, &SamplingDefaults::top_k},
    {"top_p", "general.sampling.top_p", "top_p", 1e-6, 1, false, &SamplingDefaults::top_p, nullptr},
    {"min_p", "general.sampling.min_p", "min_p", 0, 1, false, &SamplingDefaults::min_p, nullptr},
    {"typical_p", "vibee.sampling.typical_p", "typical_p", 1e-6, 1, false, &SamplingDefaults::typical_p, nullptr},
    {"repetition_penalty", "general.sampling.penalty_repeat", "repetition_penalty", 0.01, 100, false,
     &SamplingDefaults::repetition_penalty, nullptr},
    {"", "general.sampling.penalty_last_n", "penalty_window", 0, 1 << 24, true, nullptr,
     &SamplingDefaults::penalty_window},
};
/// Of GGUF: what llama.cpp would do and this does not.
constexpr std::string_view kNotBuilt[] = {"general.sampling.sequence",      "general.sampling.xtc_probability",
                                          "general.sampling.xtc_threshold", "general.sampling.mirostat",
                                          "general.sampling.mirostat_tau",  "general.sampling.mirostat_eta"};

bool fits(const Field& field, double v) {
  return v >= field.low && v <= field.high && (!field.whole || v == std::floor(v));
}
std::string wanted(const Field& field) {
  return fmt::format("{} from {} to {}", field.whole ? "a whole number" : "a number", field.low, field.high);
}

GgufValue ints(const std::vector<uint32_t>& values) {
  GgufValue out{};
  out.type = GgufType::array;
  out.element = GgufType::i32;
  out.count = values.size();
  for (uint32_t v : values) {
    const GgufValue one = gguf_u32(v);
    out.bytes.insert(out.bytes.end(), one.bytes.begin(), one.bytes.end());
  }
  return out;
}

Status read_ends(const JsonValue& ends, GgufMetadata* metadata) {
  const auto wrong = [&] {
    return error(Code::corrupt, "key \"eos_token_id\" is {}, wanted an id or at most {} of them", ends.describe(),
                 kMostEnds);
  };
  std::vector<uint32_t> ids;
  const auto add = [&](const JsonValue& v) {
    if (!v.is(JsonValue::Kind::integer) || v.integer < 0 || v.integer > INT32_MAX) return false;
    ids.push_back(uint32_t(v.integer));
    return true;
  };
  if (ends.is(JsonValue::Kind::array)) {
    if (ends.items.size() > kMostEnds) return wrong();
    for (const JsonValue& v : ends.items)
      if (!add(v)) return wrong();
  } else if (!add(ends)) {
    return wrong();
  }
  (*metadata)[std::string(kEnds)] = ints(ids);
  return {};
}

}  // namespace

Status read_generation_config(const JsonValue& config, GgufMetadata* metadata) {
  if (!config.is(JsonValue::Kind::object)) return error(Code::corrupt, "is no object");
  if (const JsonValue* ends = config.find("eos_token_id")) VIBEE_TRY(read_ends(*ends, metadata));
  const JsonValue* sample = config.find("do_sample");
  if (sample && !sample->is(JsonValue::Kind::boolean))
    return error(Code::corrupt, "key \"do_sample\" is {}, wanted true or false", sample->describe());
  for (const Field& field : kFields) {
    const JsonValue* value = field.hf.empty() ? nullptr : config.find(field.hf);
    if (value == nullptr) continue;
    if (!value->is_number() || !fits(field, value->number))
      return error(Code::corrupt, "key {} is {}, wanted {}", quote(field.hf), value->describe(), wanted(field));
    (*metadata)[std::string(field.gguf)] =
        field.whole ? gguf_u32(uint32_t(value->number)) : gguf_f32(float(value->number));
  }
  if (sample == nullptr) return {};
  if (!sample->boolean) {
    (*metadata)["general.sampling.temp"] = gguf_f32(0);  // greedy, whatever the other fields are
  } else if (config.find("temperature") == nullptr) {
    (*metadata)["general.sampling.temp"] = gguf_f32(1);
  }
  return {};
}

std::string SamplingDefaults::describe() const {
  std::string text;
  for (const Field& field : kFields) {
    std::optional<double> v;
    if (field.number) v = this->*field.number;
    if (field.count && this->*field.count) v = *(this->*field.count);
    if (v) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", field.name, float(*v));
  }
  return text;
}

Result<SamplingDefaults> read_sampling_defaults(const Checkpoint& file) {
  SamplingDefaults out;
  for (const Field& field : kFields) {
    if (!file.has(field.gguf)) continue;
    VIBEE_ASSIGN(const double v, file.get_f64(field.gguf));
    if (field.gguf == "general.sampling.penalty_last_n" && v == -1) continue;  // the whole context
    if (field.gguf == "general.sampling.top_k" && v < 0) continue;             // off
    const auto rounded = double(float(v));                                     // 1e-6 is not a float
    if (!fits(field, v) && !fits(field, rounded))
      return error(Code::corrupt, "{}: key {} is {}, wanted {}", quote(file.path(), 400), quote(field.gguf), v,
                   wanted(field));
    if (field.number) out.*field.number = v;
    if (field.count) out.*field.count = uint32_t(v);
  }
  for (std::string_view key : kNotBuilt)
    if (file.has(key)) out.ignored.emplace_back(key);
  return out;
}

Status read_hf_generation(const std::string& directory, GgufMetadata* metadata) {
  const std::string path = directory + "/generation_config.json";
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return {};
  VIBEE_ASSIGN(const std::string text, read_small_file(path, kMostConfig));
  auto config = parse_json(text);
  if (!config.ok()) return config.take_status().within(quote(path, 400));
  return read_generation_config(*config, metadata).within(quote(path, 400));
}

Result<std::string> write_hf_generation(const Checkpoint& file) {
  JsonObject out;
  for (const char* token : {"bos", "eos"}) {
    const std::string id = fmt::format("tokenizer.ggml.{}_token_id", token);
    if (std::string_view(token) == "eos" && file.has(kEnds)) {
      VIBEE_ASSIGN(const std::vector<int32_t> ends, file.get_ints(kEnds));
      std::vector<std::string> list;
      for (int32_t v : ends) list.push_back(std::to_string(v));
      out.raw("eos_token_id", json_array(list));
    } else if (file.has(id)) {
      VIBEE_ASSIGN(const uint64_t v, file.get_u64(id));
      out.integer(fmt::format("{}_token_id", token), v);
    }
  }
  VIBEE_ASSIGN(const SamplingDefaults defaults, read_sampling_defaults(file));
  if (defaults.says_how()) out.boolean("do_sample", defaults.temperature.value_or(1) > 0);
  for (const Field& field : kFields) {
    if (field.hf.empty()) continue;
    if (field.number && defaults.*field.number && !(field.hf == "temperature" && *defaults.temperature == 0))
      out.raw(field.hf, fmt::format("{}", float(*(defaults.*field.number))));
    if (field.count && defaults.*field.count) out.integer(field.hf, *(defaults.*field.count));
  }
  return out.str() + "\n";
}

}  // namespace vibee
