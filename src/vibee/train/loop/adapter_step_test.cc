// SPDX-License-Identifier: Apache-2.0
// Steps that train an adapter: the model's own loss at the beginning, a frozen base in any format computes what its
// decoded floats do, bit for bit, and stays; the file that is written is the adapter; what is refused.
#include <gtest/gtest.h>

#include <cstring>

#include "vibee/kit/temp_folder.h"
#include "vibee/model/adapter/merge_adapter.h"
#include "vibee/model/arch/arch.h"
#include "vibee/train/loop/new_model.h"
#include "vibee/train/loop/run_state.h"
#include "vibee/train/loop/trained_model.h"

namespace vibee {
namespace {

struct Batch {
  std::vector<int32_t> tokens, targets, documents;
  std::vector<float> weights;
  Batch() {
    for (int32_t r = 0; r < 12; ++r) {
      tokens.push_back((5 * r + 3) % 90);
      targets.push_back(r % 4 == 1 ? -1 : (7 * r + 11) % 90);
      documents.push_back(r < 7 ? 0 : 7);
      weights.push_back(1.0f / 9);
    }
  }
  operator TrainBatch() const { return {tokens, targets, documents, weights}; }
};

/// A model file of random weights in a format.
class AdapterStep : public testing::Test {
 protected:
  static NewModel small(const std::string& architecture) {
    NewModel m;
    m.architecture = architecture;
    m.vocab = 90, m.dim = 64, m.layers = 2, m.heads = 2, m.ff = 96, m.context = 16, m.spread = 0.3, m.seed = 5;
    if (architecture == "llama") m.kv_heads = 1;
    return m;
  }
  std::string model(const std::string& architecture, Format format) { return model(small(architecture), format); }
  std::string model(const NewModel& m, Format format) {
    auto file = new_checkpoint(m, {});
    VIBEE_CHECK(file.ok(), "{}", file.status().message());
    return write(*file, format, fmt::format("{}-{}.gguf", m.architecture, info(format).name));
  }
  std::string write(const Checkpoint& file, Format format, const std::string& name, RecastEdit edit = {}) {
    auto recast = Recast::create(file, {.format = all_in(format), .edit = std::move(edit)});
    VIBEE_CHECK(recast.ok(), "{}", recast.status().message());
    std::string path = folder_.path() + "/" + name;
    const Status written = write_gguf(path, file.metadata(), recast->tensors(), recast->reader());
    VIBEE_CHECK(written.ok(), "{}", written.message());
    return path;
  }
  static Result<std::unique_ptr<TrainStep>> start(const std::string& path, uint32_t rank,
                                                  std::vector<std::string> targets = {}, uint32_t threads = 2,
                                                  Format compute = Format::f32) {
    VIBEE_ASSIGN(const Checkpoint file, open_checkpoint(path));
    VIBEE_ASSIGN(const ModelConfig config, read_config(file));
    TrainStepOptions options;
    options.max_rows = 12;
    options.threads = threads;
    options.isa = detected_isa();
    options.optimiser.rate = 0.02;
    options.precision.activations = compute;
    options.lora = {rank, 2.0 * rank, std::move(targets), 3};
    return TrainStep::create(file, config, options);
  }
  static std::vector<uint8_t> bytes(TrainStep& step) {
    std::vector<uint8_t> all;
    for (const StatePart& part : step.state()) all.insert(all.end(), part.bytes.begin(), part.bytes.end());
    return all;
  }
  TempFolder folder_;
};

TEST_F(AdapterStep, BeginsAsTheModelAndLearns) {
  for (const char* architecture : {"llama", "gpt2"}) {
    const std::string base = model(architecture, Format::f32);
    auto whole = start(base, 0), step = start(base, 4);
    ASSERT_TRUE(whole.ok() && step.ok()) << step.status().message();
    auto want = (*whole)->evaluate(Batch()), first = (*step)->run(Batch());
    ASSERT_TRUE(want.ok() && first.ok());
    EXPECT_EQ(*want, *first);
    float last = 0;
    for (int t = 0; t < 30; ++t) last = *(*step)->run(Batch());
    EXPECT_LT(last, *first / 2) << architecture;
    for (const TrainStep::Weight& w : (*step)->weights())
      EXPECT_EQ(w.trained, w.name.find(".lora_") != std::string::npos) << w.name;
    EXPECT_LT((*step)->state()[0].bytes.size(), (*whole)->state()[0].bytes.size() / 2);
  }
}

TEST_F(AdapterStep, AFrozenBaseComputesWhatItsFloatsDo) {
  const auto expect = [&](const NewModel& m, const NumericFormat& format, int steps, Format compute = Format::f32) {
    const std::string packed = model(m, format.format);
    auto file = open_checkpoint(packed);
    ASSERT_TRUE(file.ok());
    auto a = start(packed, 4, {}, 2, compute), b = start(write(*file, Format::f32, "floats.gguf"), 4, {}, 1, compute);
    ASSERT_TRUE(a.ok() && b.ok()) << a.status().message();
    for (int t = 0; t < steps; ++t) {
      auto mine = (*a)->run(Batch()), want = (*b)->run(Batch());
      ASSERT_TRUE(mine.ok() && want.ok());
      EXPECT_EQ(*mine, *want) << format.name;
    }
    EXPECT_TRUE(bytes(**a) == bytes(**b)) << m.architecture << " " << format.name;
    uint64_t frozen = 0;
    for (const TrainStep::Weight& w : (*a)->weights()) frozen += w.format == format.format;
    EXPECT_GE(frozen, 7u) << format.name;
  };
  for (const char* architecture : {"llama", "gpt2"})
    for (const NumericFormat& format : all_formats()) {
      if (!format.encode || !format.in_gguf() || format.format == Format::f32) continue;
      NewModel m = small(architecture);
      if (m.dim % format.block_elems != 0) m.dim = m.ff = format.block_elems, m.layers = 1;
      expect(m, format, 3);
    }
  for (const Format compute : {Format::bf16, Format::f16})  // activations of 16 bits, and a base that has them or not
    for (const Format format : {Format::bf16, Format::q8_0}) expect(small("llama"), info(format), 3, compute);
  NewModel blocks = small("llama");  // matrices that are decoded in several blocks
  blocks.vocab = blocks.ff = (1 << 20) / 64 + 40, blocks.layers = 1;
  expect(blocks, info(Format::q8_0), 1);
}

TEST_F(AdapterStep, TheFileIsTheAdapter) {
  for (const char* architecture : {"llama", "gpt2"}) {
    const std::string base = model(architecture, Format::f32), path = folder_.path() + "/adapter.gguf";
    auto step = start(base, 3, {"attn_output", architecture == std::string("gpt2") ? "attn_qkv" : "attn_q"});
    ASSERT_TRUE(step.ok()) << step.status().message();
    for (int t = 0; t < 5; ++t) ASSERT_TRUE((*step)->run(Batch()).ok());
    ASSERT_TRUE(write_adapter(path, architecture, **step).ok());
    auto file = open_checkpoint(base);
    ASSERT_TRUE(file.ok());
    auto config = read_config(*file);
    ASSERT_TRUE(config.ok());
    auto graph = DecoderBuilder(
                     *config, [](std::string_view) { return Format::f32; }, 8)
                     .build();
    ASSERT_TRUE(graph.ok());
    auto read = read_adapter(path, *config, adapted_products(*graph), 8);
    ASSERT_TRUE(read.ok()) << read.status().message();
    EXPECT_EQ(read->matrices.size(), 4u);
    for (const auto& [tensor, m] : read->matrices) {
      EXPECT_EQ(m.rank, 3u);
      EXPECT_EQ(m.scale, 2.0f);
    }
    // Merged, the model computes what base and adapter do.
    const ScaledAdapter merged[] = {{std::move(*read), 1}};
    auto alone = start(write(*file, Format::f32, "merged.gguf", merging(merged)), 0);
    ASSERT_TRUE(alone.ok());
    auto want = (*step)->evaluate(Batch()), got = (*alone)->evaluate(Batch());
    ASSERT_TRUE(want.ok() && got.ok());
    EXPECT_NEAR(*got, *want, 1e-5) << architecture;
    auto before = start(base, 0);
    ASSERT_TRUE(before.ok());
    EXPECT_GT(std::abs(*(*before)->evaluate(Batch()) - *want), 0.01);
  }
}

TEST_F(AdapterStep, GoesOnFromAFileOfTheAdapterAlone) {
  const std::string base = model("llama", Format::q8_0), path = folder_.path() + "/3.run";
  auto whole = start(base, 4), later = start(base, 4), other = start(base, 4, {"attn_q"});
  ASSERT_TRUE(whole.ok() && later.ok() && other.ok());
  for (int t = 0; t < 3; ++t) ASSERT_TRUE((*whole)->run(Batch()).ok());
  ASSERT_TRUE(save_run(path, **whole, {3, 1, "line"}).ok());
  EXPECT_LT(std::filesystem::file_size(path), 4 * (*whole)->state()[0].bytes.size());
  ASSERT_TRUE(load_run(path, later->get()).ok());
  ASSERT_TRUE((*whole)->run(Batch()).ok() && (*later)->run(Batch()).ok());
  EXPECT_EQ(bytes(**whole), bytes(**later));
  EXPECT_NE(load_run(path, other->get()).status().message().find("of other weights"), std::string::npos);
}

TEST_F(AdapterStep, SaysWhatDoesNotFit) {
  const std::string base = model("llama", Format::q4_1);
  const auto refused = [&](uint32_t rank, std::vector<std::string> targets) {
    const Status status = start(base, rank, std::move(targets)).take_status();
    EXPECT_EQ(status.message().find('\n'), std::string::npos);
    return status.message();
  };
  EXPECT_NE(refused(4, {"attn_q", "q_proj"})
                .find("\"q_proj\" is no product of a layer that an adapter can change; this model has attn_k, "
                      "attn_output, attn_q, attn_v, ffn_down, ffn_gate, ffn_up"),
            std::string::npos)
      << refused(4, {"q_proj"});
  EXPECT_NE(refused(33, {}).find("an adapter of rank 33: blk.0.attn_k.weight is 32 x 64"), std::string::npos);
  EXPECT_EQ(refused(33, {"attn_q"}), "");
  EXPECT_NE(refused(0, {}).find("is in q4_1, which is not trained itself: train an adapter of the model (lora.rank)"),
            std::string::npos)
      << refused(0, {});
}

}  // namespace
}  // namespace vibee
