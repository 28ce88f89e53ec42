// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/train_config.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <sstream>
#include <toml.hpp>
#include <type_traits>

#include "vibee/base/text/byte_count.h"
#include "vibee/base/text/quote.h"
#include "vibee/compress/quantize/torchao.h"
#include "vibee/dist/shard/data_parallel.h"
#include "vibee/graph/pass/gradient_checkpointing_v2.h"
#include "vibee/model/token/detokenizer.h"
#include "vibee/model/weight/byte_source.h"

namespace vibee {
namespace {

/// A value of the file and where it stands, for messages.
struct Given {
  std::string where, key;
  const toml::value& value;
  double least, most;

  Status wrong(std::string_view wanted) const {
    return error(Code::invalid, "{}: key '{}': {} is asked for", where, key, wanted);
  }
};

Status set(const Given& given, std::string* out) {
  if (!given.value.is_string()) return given.wrong("a text in quotes");
  *out = given.value.as_string().str;
  return {};
}
Status set(const Given& given, TextOrNumber* out) {
  if (given.value.is_string()) return set(given, &out->text);
  if (given.value.is_integer()) {
    out->text = std::to_string(given.value.as_integer());
  } else if (given.value.is_floating()) {
    out->text = fmt::format("{}", given.value.as_floating());
  } else {
    return given.wrong("a text in quotes or a number");
  }
  return {};
}
Status set(const Given& given, bool* out) {
  if (!given.value.is_boolean()) return given.wrong("true or false");
  *out = given.value.as_boolean();
  return {};
}
template <class T>
requires(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) Status set(const Given& given, T* out) {
  const std::string wanted =
      fmt::format("{} from {} to {}", std::is_integral_v<T> ? "a whole number" : "a number", given.least, given.most);
  const bool integer = given.value.is_integer();
  if (!integer && (std::is_integral_v<T> || !given.value.is_floating())) return given.wrong(wanted);
  const double number = integer ? double(given.value.as_integer()) : given.value.as_floating();
  if (!(number >= given.least && number <= given.most)) return given.wrong(wanted);
  *out = integer ? T(given.value.as_integer()) : T(number);
  return {};
}
template <class T>
Status set(const Given& given, std::vector<T>* out) {
  out->clear();
  if (!given.value.is_array()) {  // one is a list of one
    out->emplace_back();
    return set(given, &out->back());
  }
  if (given.value.as_array().empty()) return given.wrong("a list of one or more");
  for (const toml::value& item : given.value.as_array()) {
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

Status set_key(const std::string& where, const std::string& key, const toml::value& value, TrainConfig* config) {
#define VIBEE_TRAIN_KEY(name, field, least, most, meaning) \
  if (key == name) return set(Given{where, key, value, double(least), double(most)}, &config->field);
#include "vibee/app/jobs/train_keys.inc"
#undef VIBEE_TRAIN_KEY
  return unknown(where, key);
}

/// Tables are hashed; the first line that is wrong is what a reader wants to hear of.
std::map<std::pair<uint32_t, std::string>, const toml::value*> by_line(const toml::table& table) {
  std::map<std::pair<uint32_t, std::string>, const toml::value*> sorted;
  for (const auto& [key, value] : table) sorted[{uint32_t(value.location().line()), key}] = &value;
  return sorted;
}

Status set_table(const std::string& name, const std::string& before, const toml::table& table, TrainConfig* config) {
  for (const auto& [at, value] : by_line(table)) {
    const std::string path = before.empty() ? at.second : before + "." + at.second;
    if (value->is_table() && before.empty()) {
      VIBEE_TRY(set_table(name, path, value->as_table(), config));
      continue;
    }
    VIBEE_TRY(set_key(fmt::format("{}, line {}", name, at.first), path, *value, config));
  }
  return {};
}

Result<toml::table> parse(const std::string& text, const std::string& name) try {
  // toml11 3.7 leaves its buffer on its way to complain of UTF-8, and follows brackets by recursion without a limit.
  if (valid_utf8(text) != text) return error(Code::invalid, "{}: is no UTF-8", name);
  constexpr auto kMostBrackets = 200;
  if (std::count_if(text.begin(), text.end(), [](char c) { return c == '[' || c == '{'; }) > kMostBrackets)
    return error(Code::invalid, "{}: more than {} brackets; a configuration has one a table or list", name,
                 kMostBrackets);
  std::istringstream in(text);
  return toml::parse(in, name).as_table();
} catch (const toml::exception& e) {
  const std::string_view what = e.what();  // a line, and then a picture of the place
  return error(Code::invalid, "{}, line {}: {}", name, e.location().line(),
               quote(what.substr(0, what.find('\n')), 200));
} catch (const std::exception& e) {
  return error(Code::invalid, "{}: {}", name, quote(e.what(), 200));
}

/// `key=value` of the command line; what is no value of TOML is a text.
Status set_option(const std::string& option, TrainConfig* config) {
  const std::string where = fmt::format("--set {}", quote(option, 200));
  const size_t equals = option.find('=');
  if (equals == std::string::npos || equals == 0)
    return error(Code::invalid, "{}: KEY=VALUE is asked for, e.g. train.steps=100", where);
  const std::string value = option.substr(equals + 1);
  const auto parsed = parse("x = " + value, where);
  const bool known = parsed.ok() && parsed->size() == 1;
  return set_key(where, option.substr(0, equals), known ? parsed->begin()->second : toml::value(value), config);
}

/// The value of a name, of those that are built.
template <class T>
Status named(const std::string& key, const std::string& name, std::initializer_list<std::pair<const char*, T>> values,
             T* out) {
  std::string built;
  for (const auto& [known, value] : values) {
    if (name == known) {
      *out = value;
      return {};
    }
    built += fmt::format("{}{}", built.empty() ? "" : ", ", known);
  }
  return error(Code::invalid, "key '{}': {}; {} are built", key, quote(name, 40), built);
}

Status set_saved_bits(TrainConfig* c) {
  if (!c->act_compress.starts_with("auto=")) {
    using B = std::pair<const char*, uint8_t>;
    return named("train.act_compress", c->act_compress,
                 {B{"none", 0}, B{"int8", 8}, B{"int4", 4}, B{"int2", 2}, B{"int1", 1}, B{"auto=B", 0}}, &c->saved.all);
  }
  const std::string_view text = std::string_view(c->act_compress).substr(5);
  const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), c->saved_average);
  if (wrong != std::errc() || end != text.data() + text.size() || !(c->saved_average >= 1 && c->saved_average <= 8))
    return error(Code::invalid, "key 'train.act_compress': {}; auto takes an average of 1 to 8 bits, as auto=3",
                 quote(c->act_compress, 40));
  c->saved.all = uint8_t(std::bit_ceil(unsigned(std::ceil(c->saved_average))));
  return {};
}

Status set_precision(TrainConfig* c) {
  Precision& p = c->precision;
  using F = std::pair<const char*, Format>;
  const std::initializer_list<F> floats = {F{"f32", Format::f32}, F{"bf16", Format::bf16}, F{"f16", Format::f16}};
  VIBEE_TRY(named("precision.compute", c->compute, floats, &p.weights));
  VIBEE_TRY(
      named("precision.activations", c->activations.empty() ? c->compute : c->activations, floats, &p.activations));
  if (c->lora.rank > 0) p.weights = Format::f32;
  using M = std::pair<const char*, Master>;
  VIBEE_TRY(named("precision.master", c->master.empty() ? "f32" : c->master,
                  {M{"f32", Master::f32}, M{"split", Master::split}, M{"none", Master::none}}, &p.master));
  using S = std::pair<const char*, Bf16Sum>;
  VIBEE_TRY(named("precision.bf16_update", c->bf16_update,
                  {S{"rne", Bf16Sum::nearest}, S{"sr", Bf16Sum::random}, S{"kahan", Bf16Sum::kahan}}, &p.update));
  VIBEE_TRY(named("precision.gradients", c->gradients, {F{"f32", Format::f32}, F{"bf16", Format::bf16}}, &p.gradients));
  VIBEE_TRY(named("precision.gradient_sums", c->gradient_sums,
                  {S{"plain", Bf16Sum::nearest}, S{"sr", Bf16Sum::random}, S{"kahan", Bf16Sum::kahan}},
                  &p.gradient_sums));
  // Small gradients do not survive f16 without a scale; who wants none has to say so.
  const std::string scale = !c->loss_scale.text.empty() ? c->loss_scale.text : c->compute == "f16" ? "dynamic" : "none";
  VIBEE_TRY(parse_loss_scale(scale, &p.loss_scale).within("key 'precision.loss_scale'"));
  p.products = find_product_recipe(c->products);
  if (p.products == nullptr) {
    std::string built;
    for (const ProductRecipe& recipe : product_recipes())
      built += fmt::format("{}{}", built.empty() ? "" : ", ", recipe.name);
    return error(Code::invalid, "key 'precision.products': {}; {} are built", quote(c->products, 40), built);
  }
  using K = std::pair<const char*, Fp8Scaling::Kind>;
  VIBEE_TRY(named("precision.products_scaling", c->products_scaling,
                  {K{"delayed", Fp8Scaling::Kind::delayed}, K{"current", Fp8Scaling::Kind::current}}, &p.fp8.kind));
  using A = std::pair<const char*, Fp8Scaling::Amax>;
  VIBEE_TRY(named("precision.products_amax", c->products_amax,
                  {A{"max", Fp8Scaling::Amax::most}, A{"latest", Fp8Scaling::Amax::latest}}, &p.fp8.amax));
  if (c->lora.rank > 0 && c->products != "f32")
    return error(Code::invalid, "key 'precision.products': an adapter is trained with products in f32");
  if (c->qat != "none") {
    auto formats = prepared_formats(c->qat);
    if (!formats.ok()) return formats.take_status().within("key 'precision.qat'");
    p.stored = std::move(*formats);
    if (c->lora.rank > 0)
      return error(Code::invalid, "key 'precision.qat': an adapter is trained on weights as they are");
  }
  VIBEE_TRY(named("optimiser.moments", c->moments, {std::pair{"f32", false}, {"8bit", true}}, &p.narrow_moments));
  if (c->lora.rank > 0 && (!c->master.empty() || p.update != Bf16Sum::nearest || p.gradients != Format::f32))
    return error(Code::invalid,
                 "key 'lora.rank': an adapter is trained in f32; of precision, only compute, "
                 "activations and loss_scale* go with it");
  p.seed = c->seed;
  return check(p);
}

/// What keys say together.
Status check(const std::string& name, ConfigUse use, TrainConfig* c) {
  const auto wrong = [&](std::string_view key, std::string_view what) {
    return error(Code::invalid, "{}: key '{}': {}", name, key, what);
  };
  const bool runs = use == ConfigUse::run;
  if (runs && c->out.empty()) return wrong("out", "is missing; name the folder that the run writes");
  if (runs && c->stores.empty()) return wrong("data.stores", "is missing; name a store of `vibee data build`");
  if (c->from.empty() && c->tokenizer.empty())
    return wrong("model.tokenizer", "is missing; a new model needs one, or give model.from");
  if (!c->from.empty() && !c->tokenizer.empty())
    return wrong("model.tokenizer", "is that of model.from; give one of both");
  if (c->lora.rank > 0 && c->from.empty())
    return wrong("lora.rank", "an adapter is of a model that is there; give model.from");
  if (c->lora.rank == 0 && (c->lora.alpha > 0 || !c->lora.targets.empty() || c->merge))
    return wrong("lora.rank", "is missing; other keys of lora need it, e.g. 16");
  if (c->lora.alpha == 0) c->lora.alpha = 2.0 * c->lora.rank;
  if (!c->store_weights.empty() && c->store_weights.size() != c->stores.size())
    return wrong("data.weights", fmt::format("{} of {} stores", c->store_weights.size(), c->stores.size()));
  const auto levels = recompute_levels();
  if (c->recompute.starts_with("budget=")) {
    const auto bytes = parse_byte_count(std::string_view(c->recompute).substr(7));
    if (!bytes)
      return wrong("train.recompute",
                   fmt::format("{}; a budget is bytes, as budget=900MiB or budget=2.5GiB", quote(c->recompute, 40)));
    c->recompute_budget = *bytes;
  } else if (c->recompute != "auto" && std::none_of(levels.begin(), levels.end(), [&](const RecomputeName& level) {
               return level.name == c->recompute;
             }))
    return wrong("train.recompute", fmt::format("{}; none, cheap, proj, full, sqrt, budget=BYTES and auto are built",
                                                quote(c->recompute, 40)));
  VIBEE_TRY(set_saved_bits(c).within(name));
  using G = std::pair<const char*, GemmPolicy>;
  VIBEE_TRY(named("kernels.gemm", c->gemm,
                  {G{"native", GemmPolicy::native}, G{"auto", GemmPolicy::automatic}, G{"vendor", GemmPolicy::vendor}},
                  &c->gemm_policy)
                .within(name));
  if (c->bad_step != "stop" && c->bad_step != "skip")
    return wrong("train.bad_step", fmt::format("{}; stop and skip are built", quote(c->bad_step, 40)));
  if (c->spike > 0 && c->spike <= 1)
    return wrong("train.spike", fmt::format("{} times the mean norm is no spike; take 10, or 0 for none", c->spike));
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
  if (c->shares > c->batch)
    return wrong("parallel.shares", fmt::format("{} of {} rows (train.batch)", c->shares, c->batch));
  if (!c->mesh.empty() && ranks_of_mesh(c->mesh) == 0)
    return wrong("parallel.mesh", fmt::format("{}; dp=N is built, N from 1 to 65536", quote(c->mesh, 40)));
  if (c->from.empty() && c->length > c->model.context)
    return wrong("data.length", fmt::format("{} tokens of a model for {}", c->length, c->model.context));
  c->model.seed = c->lora.seed = c->samples.seed = c->seed;
  c->samples.threads = c->threads;
  c->samples.lora_rank = c->lora.rank;
  const UpdateRule* rule = find_rule(c->rule);
  if (rule == nullptr) {
    std::string built;
    for (const UpdateRule& known : update_rules()) built += fmt::format("{}{}", built.empty() ? "" : ", ", known.name);
    return wrong("optimiser.rule", fmt::format("{}; {} are built", quote(c->rule, 40), built));
  }
  c->optimiser.rule = rule->rule;
  if (c->optimiser.nesterov && c->optimiser.momentum == 0)
    return wrong("optimiser.nesterov", "needs a momentum (optimiser.momentum)");
  VIBEE_TRY(set_precision(c).within(name));
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

Result<TrainConfig> parse_train_config(const std::string& text, const std::string& name,
                                       const std::vector<std::string>& set, ConfigUse use) {
  TrainConfig config;
  config.rates.steps = 1000;
  VIBEE_ASSIGN(const toml::table table, parse(text, name));
  VIBEE_TRY(set_table(name, "", table, &config));
  for (const std::string& option : set) VIBEE_TRY(set_option(option, &config));
  VIBEE_TRY(check(name, use, &config));
  return config;
}

Result<TrainConfig> read_train_config(const std::string& path, const std::vector<std::string>& set, ConfigUse use) {
  VIBEE_ASSIGN(const std::string text, read_small_file(path, 1 << 20));
  return parse_train_config(text, quote(path, 400), set, use);
}

}  // namespace vibee
