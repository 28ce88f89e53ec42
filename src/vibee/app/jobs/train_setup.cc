// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/train_setup.h"

#include <algorithm>
#include <thread>

#include "vibee/app/jobs/open_tokenizer.h"
#include "vibee/app/jobs/records_file.h"
#include "vibee/base/memory/huge_buffer.h"
#include "vibee/base/simd/isa.h"
#include "vibee/base/text/quote.h"
#include "vibee/base/thread/pinned_team.h"
#include "vibee/dist/shard/data_parallel.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/cache/cache.h"
#include "vibee/model/token/gguf_spec.h"
#include "vibee/train/loop/recompute_budget.h"

namespace vibee {
namespace {

/// The tokenizer.* keys of a tokenizer, for an embedding of so many rows.
Status say_tokenizer(const TokenizerSpec& spec, size_t rows, GgufMetadata* metadata) {
  if (!spec.expanded) {  // it came from a GGUF file
    put_tokenizer(spec, metadata);
    return {};
  }
  VIBEE_ASSIGN(const GgufTokenizer said, gguf_tokenizer(spec, rows));
  put_tokenizer(said.spec, metadata);
  return {};
}

Result<Beginning> new_model(const TrainConfig& config) {
  VIBEE_ASSIGN(TokenizerSpec spec, read_tokenizer_spec(config.tokenizer));
  NewModel model = config.model;
  model.vocab = uint32_t(spec.tokens.size());
  GgufMetadata metadata;
  VIBEE_TRY(say_tokenizer(spec, model.vocab, &metadata));
  VIBEE_ASSIGN(auto tokenizer, make_tokenizer(std::move(spec)));
  VIBEE_ASSIGN(Checkpoint file, new_checkpoint(model, std::move(metadata)));
  metadata = file.metadata();
  return Beginning{std::move(file), {}, std::move(metadata), std::move(tokenizer)};
}

Result<Beginning> known_model(const TrainConfig& config) {
  VIBEE_ASSIGN(const std::string path, resolve_model(config.from));
  VIBEE_ASSIGN(Checkpoint file, open_checkpoint(path));
  GgufMetadata metadata = file.metadata();
  std::unique_ptr<Tokenizer> tokenizer;
  if (auto spec = read_tokenizer(file); spec.ok()) {
    if (!file.has("tokenizer.ggml.model")) {
      VIBEE_ASSIGN(const TensorInfo* embedding, file.tensor("token_embd.weight"));
      VIBEE_TRY(say_tokenizer(*spec, size_t(embedding->rows()), &metadata));
    }
    VIBEE_ASSIGN(tokenizer, make_tokenizer(std::move(*spec)));
  }
  return Beginning{std::move(file), {}, std::move(metadata), std::move(tokenizer)};
}

}  // namespace

Result<Beginning> begin_model(const TrainConfig& config) {
  VIBEE_ASSIGN(Beginning begin, config.from.empty() ? new_model(config) : known_model(config));
  VIBEE_ASSIGN(begin.config, read_config(begin.file));
  if (begin.config.learned_positions && config.length > begin.config.context)
    return error(Code::invalid, "key 'data.length': {} tokens; the model has {} positions", config.length,
                 begin.config.context);
  return begin;
}

Result<std::vector<TokenStore>> open_stores(const std::vector<std::string>& paths, const Beginning& model,
                                            uint32_t vocab, uint32_t length) {
  std::vector<TokenStore> stores;
  for (const std::string& path : paths) {
    VIBEE_ASSIGN(TokenStore store, TokenStore::open(path));
    if (model.tokenizer != nullptr) VIBEE_TRY(store.check_tokenizer(*model.tokenizer));
    if (store.vocabulary() > vocab)
      return error(Code::invalid, "{}: its vocabulary has {} tokens, the model {}", store.name(), store.vocabulary(),
                   vocab);
    if (rows_of(store.tokens(), length) == 0)
      return error(Code::invalid, "{}: {} tokens make no row of {}; take a smaller data.length or more text",
                   store.name(), store.tokens(), length);
    stores.push_back(std::move(store));
  }
  return stores;
}

Result<RowSampler> make_sampler(const TrainConfig& config, const std::vector<TokenStore>& stores) {
  std::vector<SampleSource> sources;
  uint64_t all = 0;
  for (const TokenStore& store : stores) all += rows_of(store.tokens(), config.length);
  for (size_t i = 0; i < stores.size(); ++i) {
    const uint64_t rows = rows_of(stores[i].tokens(), config.length);
    // Shares by rows are rounded to thousandths, so that the sampler's period stays short.
    const uint64_t weight = !config.store_weights.empty() ? config.store_weights[i]
                            : stores.size() == 1          ? 1
                                                 : std::max<uint64_t>(1, uint64_t(1000.0 * double(rows) / double(all)));
    sources.push_back({rows, uint32_t(weight)});
  }
  return RowSampler::make(std::move(sources), config.seed);
}

Result<TrainStepOptions> step_options(const TrainConfig& c, uint32_t ranks) {
  if (uint64_t(c.part) * c.length > kMostTrainRows)
    return error(Code::invalid,
                 "train.part ({}) times data.length ({}) is above {} tokens at once; take a smaller part", c.part,
                 c.length, kMostTrainRows);
  if (!c.mesh.empty() && ranks_of_mesh(c.mesh) != ranks)
    return error(Code::invalid, "key 'parallel.mesh': {} asks for other ranks than the {} there are", quote(c.mesh, 40),
                 ranks);
  TrainStepOptions options;
  options.shares = c.shares > 0 ? c.shares : ranks;
  if (options.shares < ranks || options.shares > c.batch)
    return error(Code::invalid,
                 "{} ranks, {} shares of a step of {} rows; take as many shares (parallel.shares) as ranks at least, "
                 "and as many rows (train.batch) as shares",
                 ranks, options.shares, c.batch);
  const uint32_t share_rows = (c.batch + options.shares - 1) / options.shares;
  options.max_rows = std::min(c.part, share_rows) * c.length;
  options.threads = c.threads > 0 ? c.threads : std::max(1u, std::thread::hardware_concurrency());
  options.buckets = {uint64_t(1e6 * c.first_bucket_mb), uint64_t(1e6 * c.bucket_mb)};
  options.overlap = c.overlap;
  options.isa = detected_isa();
  options.optimiser = c.optimiser;
  options.precision = c.precision;
  options.saved = c.saved;
  options.paged = {c.paged, c.out};
  options.clip = c.clip;
  options.spike = c.spike;
  options.accumulate = c.part < share_rows;
  options.lora = c.lora;
  return options;
}

uint64_t allowed_memory(const TrainConfig& config) { return config.memory > 0 ? config.memory : available_memory(); }

uint64_t checkpoint_copy(const TrainConfig& c, const TrainStep::Memory& step, uint64_t allowed) {
  const uint64_t bytes = step.weights + step.rests + step.moments;
  const bool on_the_way = c.save_async && c.save_every > 0 && c.save_every < c.rates.steps && step.moments_file == 0;
  return on_the_way && step.sum() + bytes <= allowed ? bytes : 0;
}

Result<FittingPart> fitting_part(const TrainConfig& c, const Checkpoint& file, const ModelConfig& model,
                                 TrainStepOptions options, const RecomputeName& level, uint32_t ranks,
                                 uint64_t allowed) {
  options.recompute = level.level;
  options.recompute_layers.clear();
  const uint32_t most = kMostTrainRows / c.length;
  FittingPart best{std::string(level.name), 0, 0};
  uint32_t low = 0, high = most + 1, next = std::max(1u, c.part);
  while (low + 1 < high) {  // low fits, high does not
    options.max_rows = next * c.length;
    options.accumulate = next < (c.batch + options.shares - 1) / options.shares;
    VIBEE_ASSIGN(const TrainStep::Memory memory, TrainStep::memory(file, model, options));
    if (ranks * memory.sum() <= allowed) {
      low = best.part = next;
      best.bytes = ranks * memory.sum();
    } else {
      high = next;
    }
    next = high > most ? std::min(2 * low, high - 1) : low + (high - low) / 2;
    if (next == low) break;
  }
  return best;
}

Status choose_products(const TrainConfig& config, const Checkpoint& file, const ModelConfig& model, GemmChoice* choice,
                       TrainStepOptions* options) {
  VIBEE_ASSIGN(*choice, GemmChoice::open(config.gemm_policy));
  if (config.gemm_policy == GemmPolicy::native) return {};
  VIBEE_ASSIGN(const Graph graph, TrainStep::graph(file, model, *options));
  VIBEE_ASSIGN(Records records, machine_records());
  Team team(options->threads);
  const PinnedTeam pinned(team);  // threads that have just begun share a core for a while
  VIBEE_TRY(choice->choose(TrainPlan::products(graph, plan_options(*options)), team, options->isa, &records));
  options->products = choice;
  return {};
}

Status choose_recompute(const TrainConfig& c, const Checkpoint& file, const ModelConfig& model,
                        TrainStepOptions* options) {
  const uint64_t most = c.recompute_budget > 0 ? c.recompute_budget : allowed_memory(c);
  uint64_t least = 0;
  if (c.recompute_budget > 0) {
    auto levels = levels_within(file, model, *options, c.length, most);
    if (!levels.ok() && levels.status().code() != Code::no_memory) return levels.take_status();
    if (levels.ok()) options->recompute_layers = std::move(*levels);
    if (levels.ok()) return {};
  }
  for (const RecomputeName& level : recompute_levels()) {
    const bool asked = c.recompute_budget > 0 ? level.level == Recompute::sqrt : c.recompute == level.name;
    if (c.recompute != "auto" && !asked) continue;
    options->recompute = level.level;
    VIBEE_ASSIGN(const TrainStep::Memory memory, TrainStep::memory(file, model, *options));
    if (memory.sum() <= most) return {};
    least = memory.sum();
  }
  std::string fits;
  for (const RecomputeName& level : recompute_levels()) {
    VIBEE_ASSIGN(const FittingPart part, fitting_part(c, file, model, *options, level, 1, most));
    if (part.part == 0) continue;
    fits += fmt::format("{}train.part = {} with train.recompute = \"{}\"", fits.empty() ? "" : ", or ",
                        std::min(part.part, c.batch), level.name);
    if (part.part >= c.batch) break;  // the whole step at once
  }
  return error(
      Code::no_memory, "training takes {} MiB{}, {} MiB are {}; what fits: {}", least >> 20,
      c.recompute == "auto" || c.recompute_budget > 0 ? " at the least" : " with train.recompute = " + c.recompute,
      most >> 20,
      c.recompute_budget > 0 ? "the budget of train.recompute"
      : c.memory > 0         ? "allowed by train.memory"
                             : "available",
      fits.empty() ? "a smaller model alone" : fits);
}

}  // namespace vibee
