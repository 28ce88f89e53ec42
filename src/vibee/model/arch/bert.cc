// SPDX-License-Identifier: Apache-2.0
// BERT (Devlin et al. 2018, arXiv:1810.04805): attention in both directions, learned positions, token types, layer
// norms of the sums. It embeds texts, or scores pairs of them when a classifier stands on its pooler; the head over the
// vocabulary that it was trained with is left out.
#include <algorithm>

#include "vibee/model/arch/arch.h"

namespace vibee {
namespace {
constexpr HfFixedKey kFixed[] = {{"hidden_act", "\"gelu\""},
                                 {"position_embedding_type", "\"absolute\""},
                                 {"is_decoder", "false"},
                                 {"add_cross_attention", "false"}};
constexpr HfKeyRule kKeys[] = {
    {"vocab_size", "vocab_size", GgufType::u32, {}},
    {"hidden_size", "embedding_length", GgufType::u32, 768},
    {"num_hidden_layers", "block_count", GgufType::u32, 12},
    {"num_attention_heads", "attention.head_count", GgufType::u32, 12},
    {"intermediate_size", "feed_forward_length", GgufType::u32, 3072},
    {"max_position_embeddings", "context_length", GgufType::u32, 512},
    {"layer_norm_eps", "attention.layer_norm_epsilon", GgufType::f32, 1e-12},
};
constexpr HfTensorRule kTensors[] = {
    {"bert.embeddings.word_embeddings.weight", "token_embd.weight"},
    {"bert.embeddings.token_type_embeddings.weight", "token_types.weight"},
    {"bert.embeddings.position_embeddings.weight", "position_embd.weight"},
    {"bert.embeddings.LayerNorm.weight", "token_embd_norm.weight"},
    {"bert.embeddings.LayerNorm.bias", "token_embd_norm.bias"},
    {"bert.embeddings.LayerNorm.gamma", "token_embd_norm.weight"},  // names of the first checkpoints
    {"bert.embeddings.LayerNorm.beta", "token_embd_norm.bias"},
    {"bert.embeddings.position_ids", ""},
    {"bert.encoder.layer.{}.attention.self.query.weight", "blk.{}.attn_q.weight"},
    {"bert.encoder.layer.{}.attention.self.query.bias", "blk.{}.attn_q.bias"},
    {"bert.encoder.layer.{}.attention.self.key.weight", "blk.{}.attn_k.weight"},
    {"bert.encoder.layer.{}.attention.self.key.bias", "blk.{}.attn_k.bias"},
    {"bert.encoder.layer.{}.attention.self.value.weight", "blk.{}.attn_v.weight"},
    {"bert.encoder.layer.{}.attention.self.value.bias", "blk.{}.attn_v.bias"},
    {"bert.encoder.layer.{}.attention.output.dense.weight", "blk.{}.attn_output.weight"},
    {"bert.encoder.layer.{}.attention.output.dense.bias", "blk.{}.attn_output.bias"},
    {"bert.encoder.layer.{}.attention.output.LayerNorm.weight", "blk.{}.attn_output_norm.weight"},
    {"bert.encoder.layer.{}.attention.output.LayerNorm.bias", "blk.{}.attn_output_norm.bias"},
    {"bert.encoder.layer.{}.attention.output.LayerNorm.gamma", "blk.{}.attn_output_norm.weight"},
    {"bert.encoder.layer.{}.attention.output.LayerNorm.beta", "blk.{}.attn_output_norm.bias"},
    {"bert.encoder.layer.{}.intermediate.dense.weight", "blk.{}.ffn_up.weight"},
    {"bert.encoder.layer.{}.intermediate.dense.bias", "blk.{}.ffn_up.bias"},
    {"bert.encoder.layer.{}.output.dense.weight", "blk.{}.ffn_down.weight"},
    {"bert.encoder.layer.{}.output.dense.bias", "blk.{}.ffn_down.bias"},
    {"bert.encoder.layer.{}.output.LayerNorm.weight", "blk.{}.layer_output_norm.weight"},
    {"bert.encoder.layer.{}.output.LayerNorm.bias", "blk.{}.layer_output_norm.bias"},
    {"bert.encoder.layer.{}.output.LayerNorm.gamma", "blk.{}.layer_output_norm.weight"},
    {"bert.encoder.layer.{}.output.LayerNorm.beta", "blk.{}.layer_output_norm.bias"},
    {"bert.pooler.dense.weight", "cls.weight"},
    {"bert.pooler.dense.bias", "cls.bias"},
    {"classifier.weight", "cls.output.weight"},
    {"classifier.bias", "cls.output.bias"},
    {"cls.predictions.bias", ""},
    {"cls.predictions.decoder.weight", ""},
    {"cls.predictions.decoder.bias", ""},
    {"cls.predictions.transform.dense.weight", ""},
    {"cls.predictions.transform.dense.bias", ""},
    {"cls.predictions.transform.LayerNorm.weight", ""},
    {"cls.predictions.transform.LayerNorm.bias", ""},
    {"cls.predictions.transform.LayerNorm.gamma", ""},
    {"cls.predictions.transform.LayerNorm.beta", ""},
    {"cls.seq_relationship.weight", ""},
    {"cls.seq_relationship.bias", ""},
};

/// A cross-encoder of sentence-transformers names the activation of its scores.
Status check(const JsonValue& config, GgufMetadata* metadata) {
  const JsonValue* activation = config.find("sbert_ce_default_activation_function");
  if (const JsonValue* own = config.find("sentence_transformers"); own && own->find("activation_fn"))
    activation = own->find("activation_fn");
  if (activation == nullptr) return {};
  const std::string_view name = activation->text;
  const bool identity = name.ends_with(".Identity");
  if (!identity && !name.ends_with(".Sigmoid"))
    return error(Code::unsupported, "its activation of scores is {}; Sigmoid and Identity are built",
                 activation->describe());
  (*metadata)["vibee.score.sigmoid"] = gguf_bool(!identity);
  return {};
}

void complete(const Checkpoint& file, JsonObject* config) {
  const TensorInfo *types = file.find("token_types.weight"), *classifier = file.find("cls.output.weight");
  config->integer("type_vocab_size", types ? types->rows() : 0);
  if (classifier == nullptr) return;
  JsonObject labels;
  for (uint64_t i = 0; i < classifier->rows(); ++i) labels.text(std::to_string(i), fmt::format("LABEL_{}", i));
  config->raw("id2label", labels.str());
}

constexpr HfArchitecture kHf[] = {{.model_type = "bert",
                                   .class_name = "BertModel",
                                   .classifier_name = "BertForSequenceClassification",
                                   .id = "bert",
                                   .keys = kKeys,
                                   .tensors = kTensors,
                                   .fixed = kFixed,
                                   .rope = {.none = true},
                                   .tied = true,
                                   .prefix = "bert.",
                                   .check = check,
                                   .complete = complete}};

}  // namespace

Status configure_bert(const Checkpoint& file, ModelConfig* c) {
  c->layer_norm = c->learned_positions = c->sum_norms = c->embedding_norm = true;
  c->pre_norms = c->output_norm = c->gated = c->causal = c->generates = false;
  c->activation = Gate::gelu;
  VIBEE_TRY(read_common(file, c));
  VIBEE_ASSIGN(const bool causal, file.get_bool_or("bert.attention.causal", false));
  if (causal) return error(Code::unsupported, "{}: key 'bert.attention.causal' is true, false is built", file.path());
  if (const TensorInfo* types = file.find("token_types.weight"))
    c->token_types = uint32_t(std::min<uint64_t>(types->rows(), UINT32_MAX));
  c->output = Output::embedding;
  const TensorInfo* classifier = file.find("cls.output.weight");
  if (classifier == nullptr) return {};
  if (file.find("cls.weight") == nullptr)
    return error(Code::unsupported,
                 "{}: has a classifier ('cls.output.weight') without the pooler below it ('cls.weight'), which some "
                 "converters drop; its scores would be wrong: convert the original directory with `vibee convert`",
                 file.path());
  c->labels = uint32_t(std::min<uint64_t>(classifier->rows(), UINT32_MAX));
  c->output = Output::scores;
  return {};
}

std::span<const HfArchitecture> hf_bert() { return kHf; }

}  // namespace vibee
