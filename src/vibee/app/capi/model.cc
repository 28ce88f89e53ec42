// SPDX-License-Identifier: Apache-2.0
// Models, tokens and logits of vibee.h.
#include "vibee/app/capi/call.h"
#include "vibee/app/jobs/generate.h"
#include "vibee/app/jobs/logits.h"
#include "vibee/model/token/detokenizer.h"

using namespace vibee;

namespace {

/// Rows with logits that a step computes unless the caller says otherwise: what one pass over the head is worth.
constexpr uint32_t kLogitsRows = 32;

Result<LoadConfig> load_config(const char* model, const vibee_load_options* options) {
  VIBEE_TRY(not_null(model, "model"));
  VIBEE_ASSIGN(const vibee_load_options o, read_sized(options, "vibee_load_options"));
  LoadConfig c;
  c.model = model;
  c.threads = o.threads;
  c.context = o.context;
  if (o.batch) c.batch = o.batch;
  if (o.chunk) c.chunk = o.chunk;
  c.logits = o.logits ? o.logits : std::max(kLogitsRows, c.batch);
  if (o.kv) c.kv = o.kv;
  if (o.act) c.act = o.act;
  if (o.isa) c.isa = o.isa;
  if (o.prefix) c.prefix = o.prefix;
  if (o.memory) c.memory = o.memory;
  return c;
}

vibee_model_info describe(const OpenModel& open) {
  const Model& model = *open.loaded.model;
  const ModelConfig& c = model.config();
  const SessionOptions& o = open.loaded.session->options();
  const Tokenizer& t = model.tokenizer();
  vibee_model_info out{};
  out.path = model.path().c_str();
  out.architecture = c.architecture.c_str();
  out.name = c.name.c_str();
  out.kv = open.config.kv.c_str();
  out.isa = name(model.isa()).data();  // a literal
  out.parameters = open.loaded.parameters;
  out.layers = c.layers;
  out.width = c.dim;
  out.heads = c.heads;
  out.kv_heads = c.kv_heads;
  out.head_width = c.head_dim;
  out.vocabulary = c.vocab;
  out.trained_context = c.context;
  out.context = o.context;
  out.batch = o.sequences;
  out.threads = model.team().size();
  out.bos = t.bos();
  out.eos = t.eos();
  out.add_bos = t.add_bos();
  out.chat_template = has_chat_template(model);
  out.weight_bytes = open.loaded.plan.weights;
  out.work_bytes = open.loaded.plan.arena;
  out.kv_bytes = open.loaded.plan.pages;
  out.load_seconds = open.loaded.seconds;
  return out;
}

}  // namespace

vibee_code vibee_load(const char* model, const vibee_load_options* options, vibee_model** out) {
  return call([&]() -> Status {
    VIBEE_TRY(not_null(out, "out"));
    VIBEE_ASSIGN(const LoadConfig config, load_config(model, options));
    auto open = std::make_shared<OpenModel>();
    VIBEE_ASSIGN(open->loaded, load(config));
    open->config = config;
    open->engine.emplace(*open->loaded.session, open->loaded.engine);
    *out = new vibee_model{std::move(open)};
    return {};
  });
}

void vibee_free(vibee_model* model) { delete model; }

vibee_code vibee_info(const vibee_model* model, vibee_model_info* out) {
  return call([&]() -> Status {
    VIBEE_TRY(not_null(model, "model"));
    return write_sized(describe(*model->open), out, "vibee_model_info");
  });
}

vibee_code vibee_tokenize(const vibee_model* model, const char* text, size_t size, int prompt, int32_t* tokens,
                          size_t capacity, size_t* count) {
  return call([&]() -> Status {
    VIBEE_TRY(not_null(model, "model"));
    VIBEE_ASSIGN(const std::span<const char> bytes, read_span(text, size, "text"));
    const Model& m = *model->open->loaded.model;
    const std::string_view view(bytes.data(), bytes.size());
    std::vector<int32_t> ids;
    if (prompt) {
      VIBEE_ASSIGN(ids, encode_prompt(m, std::string(view)));
    } else {
      VIBEE_TRY(m.tokenizer().encode(view, false, &ids));
    }
    return write_some<int32_t>(ids, tokens, capacity, count);
  });
}

vibee_code vibee_detokenize(const vibee_model* model, const int32_t* tokens, size_t count, char* text, size_t capacity,
                            size_t* size) {
  return call([&]() -> Status {
    VIBEE_TRY(not_null(model, "model"));
    const Model& m = *model->open->loaded.model;
    VIBEE_ASSIGN(const std::span<const int32_t> ids, read_tokens(m, tokens, count));
    return write_some<char>(decode(m.tokenizer(), ids), text, capacity, size);
  });
}

vibee_code vibee_tokenize_chat(const vibee_model* model, const vibee_message* messages, size_t message_count,
                               int32_t* tokens, size_t capacity, size_t* count) {
  return call([&]() -> Status {
    VIBEE_TRY(not_null(model, "model"));
    VIBEE_ASSIGN(const std::span<const vibee_message> given, read_span(messages, message_count, "messages"));
    std::vector<ChatMessage> conversation;
    for (const vibee_message& m : given) {
      VIBEE_TRY(not_null(m.role, "a message's role"));
      VIBEE_TRY(not_null(m.content, "a message's content"));
      conversation.push_back({m.role, m.content});
    }
    VIBEE_ASSIGN(const std::vector<int32_t> ids, encode_chat(*model->open->loaded.model, conversation));
    return write_some<int32_t>(ids, tokens, capacity, count);
  });
}

vibee_code vibee_logits(vibee_model* model, const int32_t* tokens, size_t count, size_t first, float* logits,
                        size_t capacity) {
  return call([&]() -> Status {
    VIBEE_TRY(not_null(model, "model"));
    const std::shared_ptr<OpenModel> shared = model->open;  // for as long as it takes
    OpenModel& open = *shared;
    VIBEE_ASSIGN(const std::span<const int32_t> ids, read_tokens(*open.loaded.model, tokens, count));
    const size_t wanted = (count - std::min(first, count)) * open.loaded.model->config().vocab;
    if (wanted > 0) VIBEE_TRY(not_null(logits, "logits"));
    if (capacity < wanted) return error(Code::invalid, "room for {} logits, {} are needed", capacity, wanted);
    const std::lock_guard turn(open.turns);
    VIBEE_TRY(open.engine->make_room(
        (std::min<size_t>(count, open.loaded.session->options().context) + kPageTokens - 1) / kPageTokens));
    return prompt_logits(*open.loaded.session, ids, first, {logits, wanted});
  });
}
