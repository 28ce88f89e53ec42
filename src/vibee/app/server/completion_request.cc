// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/server/completion_request.h"

#include <charconv>
#include <random>

#include "vibee/app/jobs/generate.h"
#include "vibee/model/token/detokenizer.h"

namespace vibee {
namespace {

constexpr uint32_t kMostAnswers = 128, kMostPrompts = 1024;
constexpr size_t kMostStops = 16, kMostBias = 1024, kMostSalt = 128;

uint64_t random_seed() {
  std::random_device device;
  return (uint64_t(device()) << 32) | device();
}

void read_bias(FieldReader& fields, const Tokenizer& tokenizer, SamplingParams* p) {
  const Json* bias = fields.find("logit_bias");
  if (!bias || fields.failed) return;
  if (bias->size() > kMostBias)
    return fields.fail("logit_bias", fmt::format("'logit_bias' has {} entries, at most {}", bias->size(), kMostBias));
  for (const auto& [key, value] : bias->items()) {
    int32_t id = -1;
    const auto [end, e] = std::from_chars(key.data(), key.data() + key.size(), id);
    const std::string where = "logit_bias." + key;
    if (e != std::errc() || end != key.data() + key.size() || id < 0 || id >= tokenizer.size())
      return fields.fail(where, fmt::format("'{}' is no token id; they go from 0 to {}", key, tokenizer.size() - 1));
    if (!value.is_number() || !(value.get<double>() >= -100 && value.get<double>() <= 100))
      return fields.fail(where, fmt::format("'{}' is {}, expected -100 to 100", where, value.dump()));
    p->logit_bias.emplace_back(id, value.get<float>());
  }
}

constexpr const char* kGrammarFields[] = {"response_format", "grammar", "tools"};

/// What the text is to keep to: response_format of OpenAI's interface, or our grammar.
std::optional<GrammarSource> grammar_source(FieldReader& fields) {
  const auto text_of = [&](const Json& j, std::string_view key, const std::string& where) -> std::string {
    const auto at = j.find(key);
    if (at != j.end() && at->is_string()) return at->get<std::string>();
    fields.fail(where, fmt::format("'{}' is missing or not a string", where), "missing_field");
    return {};
  };
  if (const Json* j = fields.find("response_format"); j && !fields.failed) {
    if (fields.has("grammar")) fields.fail("grammar", "'grammar' and 'response_format' exclude one another");
    const std::string type = text_of(*j, "type", "response_format.type");
    if (type == "text" || fields.failed) return {};
    if (type == "json_object") return GrammarSource{GrammarSource::json_object, {}};
    if (type != "json_schema") {
      fields.fail("response_format.type",
                  fmt::format("'response_format.type' is '{}'; use text, json_object or json_schema", type));
      return {};
    }
    const auto outer = j->find("json_schema");
    if (outer == j->end() || !outer->is_object() || !outer->contains("schema") || !(*outer)["schema"].is_object()) {
      fields.fail("response_format.json_schema.schema", "'response_format.json_schema.schema' is missing or no object",
                  "missing_field");
      return {};
    }
    return GrammarSource{GrammarSource::json_schema, (*outer)["schema"].dump()};
  }
  if (const Json* j = fields.find("grammar"); j && !fields.failed) {
    const std::string type = text_of(*j, "type", "grammar.type"), value = text_of(*j, "value", "grammar.value");
    if (fields.failed) return {};
    if (type == "regex") return GrammarSource{GrammarSource::regex, value};
    if (type == "gbnf") return GrammarSource{GrammarSource::gbnf, value};
    fields.fail("grammar.type", fmt::format("'grammar.type' is '{}'; use gbnf or regex", type));
  }
  return {};
}

void read_grammar(FieldReader& fields, const ServedModel& model, GenerateRequest* r) {
  const auto source = grammar_source(fields);
  if (!source || fields.failed) return;
  const char* field = fields.has("grammar") ? "grammar" : "response_format";
  if (r->ignore_end) return fields.fail("ignore_eos", fmt::format("'ignore_eos' would go past the end of '{}'", field));
  auto grammar = model.grammars->compile(*source);
  if (!grammar.ok())
    return fields.fail(field, grammar.status().message(),
                       grammar.status().code() == Code::unsupported ? "unsupported_grammar" : "invalid_grammar");
  r->grammar = std::move(*grammar);
}

/// Which tools may or must be called, and how the text has to look where one must.
void read_tools(FieldReader& fields, const ServedModel& model, const Json* tools, const Json* choice,
                CompletionRequest* out, GenerateRequest* r) {
  out->parallel_calls = fields.boolean("parallel_tool_calls", true);
  if (fields.failed) return;
  if (!tools) {
    if (choice && *choice != "none" && *choice != "auto") fields.fail("tool_choice", "'tool_choice' needs tools");
    return;
  }
  if (auto wrong = check_tools(*tools)) {
    fields.failed = std::move(*wrong);
    return;
  }
  if (model.tools == nullptr)
    return fields.fail(
        "tools",
        "the chat template of this model does not know tools; use one that does, or serve with --chat-template",
        "model_has_no_tools");
  out->tools = model.tools;
  r->spoken = model.spoken;
  ToolChoice what{false, out->parallel_calls, {}};
  if (choice && choice->is_object()) {
    const auto f = choice->find("function");
    if (f != choice->end() && f->is_object()) what.only = f->value("name", "");
    const auto named = [&](const Json& t) { return t["function"]["name"] == what.only; };
    if (what.only.empty() || std::none_of(tools->begin(), tools->end(), named))
      return fields.fail("tool_choice", "'tool_choice' names no function of 'tools'");
    what.required = true;
  } else if (choice && *choice != "auto") {
    if (*choice != "required")
      return fields.fail("tool_choice",
                         fmt::format("'tool_choice' is {}; use none, auto, required or a function", choice->dump()));
    what.required = true;
  }
  if (what.required && r->grammar)
    return fields.fail("tool_choice", "a call that must be made and 'response_format' exclude one another");
  if (r->grammar || r->ignore_end) return;  // that is what the text keeps to, or it has no end
  GrammarCompiler& compiler = model.call_grammars ? *model.call_grammars : *model.grammars;
  auto grammar = compiler.compile(tool_call_grammar(*model.tools, *tools, what));
  if (grammar.ok()) {
    r->grammar = std::move(*grammar);
    return;
  }
  // A schema that cannot be kept to is refused where it must be; where calls are free, so are their arguments.
  const auto strict = [](const Json& t) { return t["function"].value("strict", Json()) == true; };
  if (what.required || std::any_of(tools->begin(), tools->end(), strict))
    fields.fail("tools", grammar.status().message(), "unsupported_grammar");
}

/// What both routes have.
GenerateRequest read_common(FieldReader& fields, const ServedModel& model, CompletionRequest* out) {
  GenerateRequest r;
  const SamplingDefaults& files = model.worker->loaded().sampling;
  SamplingParams& p = r.sampling;
  if (files.says_how())
    p = default_sampling(files);
  else
    p.temperature = 1;
  p.temperature = float(fields.number("temperature", p.temperature, 0, 2));
  if (const Json* j = fields.find("top_p"); j && !fields.failed) {
    p.top_p = float(fields.number("top_p", 1, 0, 1));
    p.top_p = std::max(p.top_p, 1e-6f);  // 0: the likeliest alone
  }
  p.presence_penalty = float(fields.number("presence_penalty", p.presence_penalty, -2, 2));
  p.frequency_penalty = float(fields.number("frequency_penalty", p.frequency_penalty, -2, 2));
  p.top_k = uint32_t(fields.integer("top_k", p.top_k, 0, 1 << 24));
  p.min_p = float(fields.number("min_p", p.min_p, 0, 1));
  p.typical_p = float(fields.number("typical_p", p.typical_p, 1e-6, 1));
  p.repetition_penalty = float(fields.number("repetition_penalty", p.repetition_penalty, 0.01, 100));
  read_bias(fields, model.tokenizer(), &p);
  if (const Json* seed = fields.find("seed"); seed && !fields.failed) {
    p.seed = seed->is_number_unsigned() ? seed->get<uint64_t>() : uint64_t(seed->get<int64_t>());
    out->seeded = true;
  } else {
    p.seed = random_seed();
  }
  r.stop = fields.texts("stop", kMostStops);
  for (const std::string& stop : r.stop)
    if (stop.empty()) fields.fail("stop", "'stop' has an empty string");
  r.ignore_end = fields.boolean("ignore_eos", false);
  out->n = uint32_t(fields.integer("n", 1, 1, kMostAnswers));
  out->best_of = out->n;
  out->stream = fields.boolean("stream", false);
  if (const Json* options = fields.find("stream_options"); options && !fields.failed) {
    if (!out->stream) fields.fail("stream_options", "'stream_options' needs stream: true");
    for (const auto& [key, value] : options->items()) {
      const bool known = key == "include_usage" || (key == "include_obfuscation" && value == false);
      if (!known || !value.is_boolean())
        fields.fail("stream_options." + key, fmt::format("'stream_options.{}' is not supported", key),
                    "unsupported_field");
      else if (key == "include_usage")
        out->include_usage = value.get<bool>();
    }
  }
  out->priority = 0;
  if (const Json* j = fields.find("priority"); j && !fields.failed)
    out->priority = int(fields.number("priority", 0, -100, 100));
  if (const std::string tier = fields.text("service_tier", "auto"); tier == "priority")
    out->priority += 1000;
  else if (tier == "flex")
    out->priority -= 1000;
  else if (tier != "auto" && tier != "default")
    fields.fail("service_tier", fmt::format("'service_tier' is '{}'; use auto, default, priority or flex", tier));
  out->salt = fields.text("cache_salt");
  if (out->salt.size() > kMostSalt)
    fields.fail("cache_salt", fmt::format("'cache_salt' has {} bytes, at most {}", out->salt.size(), kMostSalt));
  out->timeout_ms = fields.integer("timeout_ms", 0, 1, 86'400'000);
  out->token_ids = fields.boolean("return_token_ids", false);
  if (const Json* own = fields.find("vibee"); own && !fields.failed)
    for (const auto& [key, value] : own->items()) {
      if (key == "timings" && value.is_boolean())
        out->timings = value.get<bool>();
      else
        fields.fail("vibee." + key, fmt::format("unknown field 'vibee.{}'", key), "unknown_field");
    }
  read_grammar(fields, model, &r);
  return r;
}

/// Refuses a prompt that cannot be answered, with its length and the limit; it is never cut.
void check_prompt(FieldReader& fields, std::string_view param, const ServedModel& model,
                  std::span<const int32_t> tokens) {
  const uint32_t context = model.worker->loaded().session->options().context;
  if (tokens.empty()) return fields.fail(std::string(param), fmt::format("'{}' has no tokens", param));
  if (tokens.size() < context) return;
  fields.fail(
      std::string(param),
      fmt::format(
          "the prompt has {} tokens; this model's context is {}, one of which the answer needs: shorten it by {}",
          tokens.size(), context, tokens.size() - context + 1),
      "context_length_exceeded");
}

void add_parts(CompletionRequest* out, const GenerateRequest& common, std::vector<int32_t> prompt) {
  for (uint32_t i = 0; i < out->best_of; ++i) {
    out->parts.push_back(common);
    out->parts.back().prompt = prompt;
    out->parts.back().sampling.seed += i;
  }
}

}  // namespace

std::vector<TextOrTokens> read_inputs(FieldReader& fields, std::string_view name, const Tokenizer& tokenizer,
                                      size_t most) {
  std::vector<TextOrTokens> out;
  const Json* j = fields.find(name);
  if (fields.failed) return out;
  const std::string field(name);
  if (!j) {
    fields.fail(field, fmt::format("'{}' is missing", name), "missing_field");
    return out;
  }
  const auto ids = [&](const Json& list, const std::string& where) {
    TextOrTokens one;
    one.is_text = false;
    for (const Json& id : list) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() >= uint64_t(tokenizer.size())) {
        fields.fail(where, fmt::format("'{}' has {}, which is no token id; they go from 0 to {}", where, id.dump(),
                                       tokenizer.size() - 1));
        return;
      }
      one.tokens.push_back(id.get<int32_t>());
    }
    out.push_back(std::move(one));
  };
  if (j->is_string()) {
    out.push_back({j->get<std::string>(), {}});
  } else if (!j->empty() && (*j)[0].is_number()) {
    ids(*j, field);
  } else {
    if (j->empty()) fields.fail(field, fmt::format("'{}' is empty", name));
    if (j->size() > most) fields.fail(field, fmt::format("'{}' has {} entries, at most {}", name, j->size(), most));
    for (size_t i = 0; i < j->size() && !fields.failed; ++i) {
      const std::string where = fmt::format("{}[{}]", name, i);
      if ((*j)[i].is_string())
        out.push_back({(*j)[i].get<std::string>(), {}});
      else if ((*j)[i].is_array())
        ids((*j)[i], where);
      else
        fields.fail(where, fmt::format("'{}' is neither a string nor a list of token ids", where), "invalid_type");
    }
  }
  return out;
}

bool asks_for_grammar(const Json& body) {
  return std::any_of(std::begin(kGrammarFields), std::end(kGrammarFields),
                     [&](const char* field) { return body.contains(field) && !body[field].is_null(); });
}

std::variant<CompletionRequest, ApiError> read_chat_request(const Json& body, const ServedModel& model) {
  FieldReader fields("chat", body);
  CompletionRequest out;
  out.chat = true;
  if (!fields.failed && !fields.has("messages")) fields.fail("messages", "'messages' is missing", "missing_field");
  if (fields.failed) return *fields.failed;
  GenerateRequest common = read_common(fields, model, &out);
  const uint64_t most = uint64_t(1) << 31;
  const uint64_t old = fields.integer("max_tokens", 0, 1, most);
  const uint64_t asked = fields.integer("max_completion_tokens", old, 1, most);
  if (old != 0 && old != asked)
    fields.fail("max_tokens",
                fmt::format("'max_tokens' is {} and 'max_completion_tokens' {}: they mean the same", old, asked));
  const uint64_t top = fields.integer("top_logprobs", 0, 0, 20);
  if (fields.boolean("logprobs", false))
    out.logprobs = int(top);
  else if (fields.has("top_logprobs"))
    fields.fail("top_logprobs", "'top_logprobs' needs logprobs: true");
  common.sampling.logprobs = uint32_t(std::max(out.logprobs, 0));
  if (const Json* m = fields.find("modalities"); m && !fields.failed && *m != Json::array({"text"}))
    fields.fail("modalities", "'modalities' may be [\"text\"] alone");
  if (const Json* m = fields.find("metadata")) out.metadata = *m;
  const Json* tools = fields.find("tools");
  const Json* choice = fields.find("tool_choice");
  if (tools && tools->empty()) tools = nullptr;
  if (choice && *choice == "none") tools = nullptr;
  read_tools(fields, model, tools, choice, &out, &common);
  Json extra = Json::object();
  if (const Json* j = fields.find("chat_template_kwargs")) extra = *j;
  for (const char* name : {"reasoning_effort", "verbosity"}) {
    const Json* j = fields.find(name);
    if (!j || fields.failed) continue;
    if (!model.chat_template || model.chat_template->source().find(name) == std::string::npos)
      fields.fail(name, fmt::format("'{}' is not read by this model's chat template", name), "unsupported_field");
    extra[name] = *j;
  }
  const PromptEnd end = read_prompt_end(fields);
  if (fields.failed) return *fields.failed;
  auto messages = read_messages(*fields.find("messages"));
  if (auto* wrong = std::get_if<ApiError>(&messages)) return *wrong;
  auto text = render_chat(model, std::get<Json>(messages), tools, &extra, end);
  if (!text.ok()) {
    ApiError e = api_error(text.status());
    e.param = "messages";
    return e;
  }
  auto ids = encode_rendered(model.tokenizer(), *text);
  if (!ids.ok()) return api_error(ids.status());
  check_prompt(fields, "messages", model, *ids);
  if (fields.failed) return *fields.failed;
  const uint64_t room = model.worker->loaded().session->options().context - ids->size();
  common.max_tokens = uint32_t(asked != 0 ? std::min(asked, room) : room);
  add_parts(&out, common, std::move(*ids));
  return out;
}

std::variant<CompletionRequest, ApiError> read_completion_request(const Json& body, const ServedModel& model) {
  FieldReader fields("completions", body);
  CompletionRequest out;
  if (fields.failed) return *fields.failed;
  GenerateRequest common = read_common(fields, model, &out);
  out.echo = fields.boolean("echo", false);
  if (fields.has("logprobs")) out.logprobs = int(fields.integer("logprobs", 0, 0, 20));
  common.sampling.logprobs = uint32_t(std::max(out.logprobs, 0));
  if (out.echo && out.logprobs >= 0) common.prompt_logprobs = uint32_t(out.logprobs);
  const uint64_t asked = fields.integer("max_tokens", 16, common.prompt_logprobs ? 0 : 1, uint64_t(1) << 31);
  out.best_of = uint32_t(fields.integer("best_of", out.n, 1, kMostAnswers));
  if (out.best_of < out.n) fields.fail("best_of", fmt::format("'best_of' is {}, less than n, {}", out.best_of, out.n));
  if (out.stream && out.best_of > out.n)
    fields.fail("best_of", "'best_of' does not go with stream: the best is known at the end");
  const Tokenizer& tokenizer = model.tokenizer();
  std::vector<TextOrTokens> prompts = read_inputs(fields, "prompt", tokenizer, kMostPrompts);
  for (size_t i = 0; i < prompts.size() && !fields.failed; ++i) {
    TextOrTokens& p = prompts[i];
    const std::string where = prompts.size() == 1 ? "prompt" : fmt::format("prompt[{}]", i);
    if (p.is_text) {
      auto ids = encode_prompt(model.model(), p.text);
      if (!ids.ok()) return api_error(ids.status());
      p.tokens = std::move(*ids);
    } else if (out.echo) {
      p.text = decode(tokenizer, p.tokens);
    }
    check_prompt(fields, where, model, p.tokens);
    if (fields.failed) break;
    common.max_tokens =
        uint32_t(std::min<uint64_t>(asked, model.worker->loaded().session->options().context - p.tokens.size()));
    if (out.echo) out.prompts.push_back(std::move(p.text));
    add_parts(&out, common, std::move(p.tokens));
  }
  if (fields.failed) return *fields.failed;
  return out;
}

}  // namespace vibee
