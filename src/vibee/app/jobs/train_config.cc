// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/train_config.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include "vibee/base/text/quote.h"
#include "vibee/model/weight/byte_source.h"

namespace vibee {
namespace {

/// A value of the file and where it stands, for messages.
struct Given {
  std::string where, key;
  const toml::node& node;
  double least, most;

  Status wrong(std::string_view wanted) const {
    return error(Code::invalid, "{}: key '{}': {} is asked for", where, key, wanted);
  }
};

Status set(const Given& given, std::string* out) {
  const auto text = given.node.value_exact<std::string>();
  if (!text) return given.wrong("a text in quotes");
  *out = *text;
  return {};
}
Status set(const Given& given, bool* out) {
  const auto value = given.node.value_exact<bool>();
  if (!value) return given.wrong("true or false");
  *out = *value;
  return {};
}
template <class T>
requires(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) Status set(const Given& given, T* out) {
  const std::string wanted =
      fmt::format("{} from {} to {}", std::is_integral_v<T> ? "a whole number" : "a number", given.least, given.most);
  const auto integer = given.node.value_exact<int64_t>();
  const auto number = integer ? std::optional<double>(double(*integer)) : given.node.value_exact<double>();
  if (!number || (std::is_integral_v<T> && !integer)) return given.wrong(wanted);
  if (!(*number >= given.least && *number <= given.most)) return given.wrong(wanted);
  *out = integer ? T(*integer) : T(*number);
  return {};
}
template <class T>
Status set(const Given& given, std::vector<T>* out) {
  out->clear();
  const toml::array* list = given.node.as_array();
  if (list == nullptr) {  // one is a list of one
    out->emplace_back();
    return set(given, &out->back());
  }
  if (list->empty()) return given.wrong("a list of one or more");
  for (const toml::node& item : *list) {
    out->emplace_back();
    VIBEE_TRY(set(Given{given.where, given.key, item, given.least, given.most}, &out->back()));
  }
  return {};
}

/// How many letters have to change (Levenshtein).
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t(0));
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t changed = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

Status unknown(const std::string& where, const std::string& key) {
  const std::string cut = key.substr(0, 100);
  const std::vector<TrainKey> keys = train_keys();
  const auto nearest = std::min_element(keys.begin(), keys.end(), [&](const TrainKey& a, const TrainKey& b) {
    return distance(cut, a.name) < distance(cut, b.name);
  });
  return error(Code::invalid, "{}: key {} does not exist; the nearest is '{}'", where, quote(key, 100), nearest->name);
}

Status set_key(const std::string& where, const std::string& key, const toml::node& node, TrainConfig* config) {
#define VIBEE_TRAIN_KEY(name, field, least, most, meaning) \
  if (key == name) return set(Given{where, key, node, double(least), double(most)}, &config->field);
#include "vibee/app/jobs/train_keys.inc"
#undef VIBEE_TRAIN_KEY
  return unknown(where, key);
}

Status set_table(const std::string& name, const std::string& before, const toml::table& table, TrainConfig* config) {
  for (const auto& [key, node] : table) {
    const std::string path = before.empty() ? std::string(key.str()) : before + "." + std::string(key.str());
    if (const toml::table* inner = node.as_table(); inner != nullptr && before.empty()) {
      VIBEE_TRY(set_table(name, path, *inner, config));
      continue;
    }
    VIBEE_TRY(set_key(fmt::format("{}, line {}", name, node.source().begin.line), path, node, config));
  }
  return {};
}

Result<toml::table> parse(std::string_view text, const std::string& name) {
  toml::parse_result parsed = toml::parse(text);
  if (!parsed)
    return error(Code::invalid, "{}, line {}: {}", name, parsed.error().source().begin.line,
                 quote(parsed.error().description(), 200));
  return std::move(parsed).table();
}

/// `key=value` of the command line; what is no value of TOML is a text.
Status set_option(const std::string& option, TrainConfig* config) {
  const std::string where = fmt::format("--set {}", quote(option, 200));
  const size_t equals = option.find('=');
  if (equals == std::string::npos || equals == 0)
    return error(Code::invalid, "{}: KEY=VALUE is asked for, e.g. train.steps=100", where);
  const std::string value = option.substr(equals + 1);
  toml::parse_result parsed = toml::parse("x = " + value);
  toml::table table;
  if (parsed && parsed.table().size() == 1) {
    table = std::move(parsed).table();
  } else {
    table.insert("x", value);
  }
  return set_key(where, option.substr(0, equals), *table.get("x"), config);
}

/// What keys say together.
Status check(const std::string& name, TrainConfig* c) {
  const auto wrong = [&](std::string_view key, std::string_view what) {
    return error(Code::invalid, "{}: key '{}': {}", name, key, what);
  };
  if (c->out.empty()) return wrong("out", "is missing; name the folder that the run writes");
  if (c->stores.empty()) return wrong("data.stores", "is missing; name a store of `vibee data build`");
  if (c->from.empty() && c->tokenizer.empty())
    return wrong("model.tokenizer", "is missing; a new model needs one, or give model.from");
  if (!c->from.empty() && !c->tokenizer.empty())
    return wrong("model.tokenizer", "is that of model.from; give one of both");
  if (!c->store_weights.empty() && c->store_weights.size() != c->stores.size())
    return wrong("data.weights", fmt::format("{} of {} stores", c->store_weights.size(), c->stores.size()));
  const auto kind = find_schedule(c->schedule);
  if (!kind)
    return wrong("optimiser.schedule",
                 fmt::format("{}; constant, linear, cosine and wsd are built", quote(c->schedule, 40)));
  c->rates.kind = *kind;
  if (c->rates.warmup > c->rates.steps)
    return wrong("optimiser.warmup", fmt::format("{} steps of {}", c->rates.warmup, c->rates.steps));
  if (c->rates.final_rate > c->rates.rate)
    return wrong("optimiser.final_rate", fmt::format("{} is above the rate {}", c->rates.final_rate, c->rates.rate));
  if (c->part == 0 || c->part > c->batch) c->part = c->batch;
  if (c->from.empty() && c->length > c->model.context)
    return wrong("data.length", fmt::format("{} tokens of a model for {}", c->length, c->model.context));
  c->model.seed = c->seed;
  return {};
}

}  // namespace

std::vector<TrainKey> train_keys() {
  return {
#define VIBEE_TRAIN_KEY(name, field, least, most, meaning) {name, meaning},
#include "vibee/app/jobs/train_keys.inc"
#undef VIBEE_TRAIN_KEY
  };
}

Result<TrainConfig> parse_train_config(std::string_view text, const std::string& name,
                                       const std::vector<std::string>& set) {
  TrainConfig config;
  config.rates.steps = 1000;
  VIBEE_ASSIGN(const toml::table table, parse(text, name));
  VIBEE_TRY(set_table(name, "", table, &config));
  for (const std::string& option : set) VIBEE_TRY(set_option(option, &config));
  VIBEE_TRY(check(name, &config));
  return config;
}

Result<TrainConfig> read_train_config(const std::string& path, const std::vector<std::string>& set) {
  VIBEE_ASSIGN(const std::string text, read_small_file(path, 1 << 20));
  return parse_train_config(text, quote(path, 400), set);
}

}  // namespace vibee
