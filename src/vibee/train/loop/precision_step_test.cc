// SPDX-License-Identifier: Apache-2.0
// Steps by other rules and in other numbers: against torch (data/golden/train), and what a form of weights promises.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "vibee/base/math/half.h"
#include "vibee/dist/transport/local.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/model/arch/arch.h"
#include "vibee/train/loop/new_model.h"
#include "vibee/train/loop/run_state.h"
#include "vibee/train/loop/trained_model.h"

namespace vibee {
namespace {

const std::string kGoldens = VIBEE_SOURCE_DIR "/data/golden/";

nlohmann::json read_json(const std::string& path) {
  std::ifstream text(kGoldens + path);
  return nlohmann::json::parse(text);
}

struct Batch {
  std::vector<int32_t> tokens, targets, documents;
  std::vector<float> weights;
  operator TrainBatch() const { return {tokens, targets, documents, weights}; }
};

Result<std::unique_ptr<TrainStep>> start(const std::string& directory, const TrainStepOptions& options) {
  VIBEE_ASSIGN(const Checkpoint file, open_checkpoint(kGoldens + directory));
  VIBEE_ASSIGN(const ModelConfig config, read_config(file));
  return TrainStep::create(file, config, options);
}

/// A model of data/golden/hf and the batches that it learns.
struct Small {
  std::string name;
  std::vector<Batch> batches;
  TrainStepOptions options;
  explicit Small(const std::string& name) : name(name) {
    const nlohmann::json golden = read_json("train/" + name + "/steps.json");
    for (const auto& b : golden.at("batches"))
      batches.push_back({b.at("tokens"), b.at("targets"), b.at("documents"), b.at("loss_weights")});
    options.max_rows = 16;
    options.threads = 1;
    options.isa = detected_isa();
    options.optimiser = {golden.at("rate"), golden.at("betas")[0], golden.at("betas")[1], golden.at("eps"),
                         golden.at("decay")};
    options.precision.seed = 5;
  }
  std::unique_ptr<TrainStep> step() const {
    auto step = start("hf/" + name, options);
    VIBEE_CHECK(step.ok(), "{}", step.status().message());
    return std::move(*step);
  }
  /// Steps first .. end, of as many parts as the options allow.
  TrainUpdate run(TrainStep& step, int first, int end) const {
    TrainUpdate last{};
    for (int t = first; t < end; ++t) {
      for (uint32_t s = step.shares().first; s < step.shares().end; ++s)
        for (int part = 0; part < (options.accumulate ? 2 : 1); ++part) {
          const Status added = step.add(batches[size_t(t + int(s) + part) % 4], part == (options.accumulate ? 1 : 0));
          VIBEE_CHECK(added.ok(), "{}", added.message());
        }
      auto done = step.update();
      VIBEE_CHECK(done.ok(), "{}", done.status().message());
      last = *done;
    }
    return last;
  }
};

std::vector<uint8_t> bytes(TrainStep& step) {
  std::vector<uint8_t> all;
  for (const StatePart& part : step.state()) all.insert(all.end(), part.bytes.begin(), part.bytes.end());
  return all;
}
std::vector<uint8_t> part(TrainStep& step, std::string_view name) {
  for (const StatePart& part : step.state())
    if (part.name == name) return {part.bytes.begin(), part.bytes.end()};
  return {};
}

/// Every form of weights and of sums, by what a configuration would say.
std::vector<std::pair<std::string, Precision>> precisions() {
  std::vector<std::pair<std::string, Precision>> all;
  const auto add = [&](const char* name, Format weights, Master master, Bf16Sum update = Bf16Sum::nearest) {
    Precision p;
    p.weights = weights, p.master = master, p.update = update, p.seed = 5;
    all.emplace_back(name, p);
  };
  add("f32", Format::f32, Master::f32);
  add("bf16, masters", Format::bf16, Master::f32);
  add("bf16, split", Format::bf16, Master::split);
  add("bf16, rne", Format::bf16, Master::none);
  add("bf16, sr", Format::bf16, Master::none, Bf16Sum::random);
  add("bf16, kahan", Format::bf16, Master::none, Bf16Sum::kahan);
  add("f16, masters", Format::f16, Master::f32);
  all.back().second.loss_scale.kind = LossScaling::Kind::dynamic;
  add("f16", Format::f16, Master::none);
  return all;
}
std::vector<Bf16Sum> sums() { return {Bf16Sum::nearest, Bf16Sum::random, Bf16Sum::kahan}; }

struct Golden {
  std::string model, variant;
};
class PrecisionStepOf : public testing::TestWithParam<Golden> {};

TEST_P(PrecisionStepOf, TwentyStepsAreThoseOfTorch) {
  const auto& [model, variant] = GetParam();
  Small small(model);
  const nlohmann::json golden = read_json("train/" + model + "-" + variant + "/steps.json");
  Optimiser& o = small.options.optimiser;
  o.rule = find_rule(golden.at("rule").get<std::string>())->rule;
  o.rate = golden.at("rate"), o.decay = golden.at("decay");
  if (o.rule == RuleId::sgd) o.momentum = golden.at("momentum"), o.nesterov = golden.at("nesterov");
  if (variant == "bf16") small.options.precision.weights = Format::bf16;
  auto mine = small.step();
  auto end = start("train/" + model + "-" + variant, {}), begin = start("hf/" + model, {});
  ASSERT_TRUE(end.ok() && begin.ok()) << end.status().message();
  const auto losses = golden.at("losses").get<std::vector<double>>();
  for (size_t t = 0; t < losses.size(); ++t) {
    auto loss = mine->run(small.batches[t % 4]);
    ASSERT_TRUE(loss.ok()) << loss.status().message();
    EXPECT_NEAR(*loss / losses[t], 1, variant == "bf16" ? 3e-4 : 1e-5) << "step " << t;
  }
  double moved = 0;
  for (size_t i = 0; i < mine->weights().size(); ++i) {
    const auto& weight = mine->weights()[i];
    EXPECT_EQ(weight.format, variant == "bf16" && weight.matrix ? Format::bf16 : Format::f32) << weight.name;
    const auto got = mine->values(weight), want = (*end)->values((*end)->weights()[i]),
               old = (*begin)->values((*begin)->weights()[i]);
    for (size_t e = 0; e < got.size(); ++e) {
      // A master beside the border of two numbers of bf16 has the other copy than torch's.
      ASSERT_NEAR(got[e], want[e], variant == "bf16" ? 1e-3 : 1e-4) << weight.name << " at " << e;
      moved = std::max(moved, std::fabs(double(got[e]) - old[e]));
    }
  }
  EXPECT_GT(moved, 0.01);
}
INSTANTIATE_TEST_SUITE_P(Rules, PrecisionStepOf,
                         testing::Values(Golden{"gpt2", "sgd"}, Golden{"gpt2", "nesterov"}, Golden{"llama3", "bf16"}),
                         [](const auto& info) { return info.param.model + "_" + info.param.variant; });

TEST(PrecisionStep, SplitMastersHaveTheBytesOfMasters) {
  Small small("llama3");
  small.options.precision.weights = Format::bf16;
  auto whole = small.step();
  small.options.precision.master = Master::split;
  auto split = small.step();
  for (int t = 0; t < 500; t += 50) {
    small.run(*whole, t, t + 50), small.run(*split, t, t + 50);
    ASSERT_EQ(part(*whole, "weights"), part(*split, "weights")) << t;
    for (size_t i = 0; i < whole->weights().size(); ++i) {
      const auto a = whole->values(whole->weights()[i]), b = split->values(split->weights()[i]);
      ASSERT_EQ(0, std::memcmp(a.data(), b.data(), 4 * a.size())) << whole->weights()[i].name;
    }
  }
  EXPECT_EQ(part(*whole, "first moments"), part(*split, "first moments"));
  EXPECT_EQ(part(*whole, "masters").size(), 2 * part(*split, "lower halves").size());
}

/// An update of a hundred-thousandth of a weight: masters move, and copies behind some steps; without them nothing
/// does.
TEST(PrecisionStep, SmallUpdatesNeedMasters) {
  Small small("gpt2");
  small.options.precision.weights = Format::bf16;
  small.options.optimiser.rate = 1e-7;
  small.options.optimiser.decay = 0;
  const auto moved = [&](Master master, Bf16Sum update) {
    small.options.precision.master = master;
    small.options.precision.update = update;
    auto step = small.step();
    const auto matrix = std::find_if(step->weights().begin(), step->weights().end(),
                                     [](const TrainStep::Weight& w) { return w.name.find("ffn_up.w") != w.name.npos; });
    VIBEE_CHECK(matrix != step->weights().end());
    const auto before = step->values(*matrix);
    small.run(*step, 0, 20);
    const auto after = step->values(*matrix);
    double sum = 0;  // of the large ones, of which an update is less than half a unit
    for (size_t i = 0; i < before.size(); ++i)
      if (std::fabs(before[i]) > 1e-2) sum += std::fabs(double(after[i]) - before[i]);
    return sum;
  };
  EXPECT_GT(moved(Master::f32, Bf16Sum::nearest), 0);
  EXPECT_EQ(moved(Master::none, Bf16Sum::nearest), 0);
  EXPECT_GT(moved(Master::none, Bf16Sum::random), 0);
}

/// Whoever computes: threads and instruction sets, one part or shares.
TEST(PrecisionStep, TheSameBytesWhoeverComputes) {
  size_t k = 0;
  for (auto& [name, precision] : precisions()) {
    Small small("llama3");
    small.options.precision = precision;
    small.options.precision.gradients = Format::bf16;
    small.options.precision.gradient_sums = sums()[k++ % 3];
    small.options.accumulate = true;
    small.options.shares = 2;
    small.options.clip = 0.5;
    std::vector<uint8_t> first;
    for (const auto& [isa, threads] : {std::pair{Isa::scalar, 1u}, {detected_isa(), 2u}}) {
      small.options.isa = isa;
      small.options.threads = threads;
      auto step = small.step();
      small.run(*step, 0, 1);
      if (first.empty()) first = bytes(*step);
      ASSERT_EQ(bytes(*step), first) << name;
    }
  }
}

TEST(PrecisionStep, RanksHaveTheBytesOfOne) {
  for (auto& [name, precision] : precisions()) {
    Small small("gpt2");
    small.options.precision = precision;
    small.options.threads = 1;
    small.options.shares = 2;
    auto one = small.step();
    small.run(*one, 0, 3);
    auto ends = local_network(2);
    std::vector<std::thread> threads;
    for (uint32_t r = 0; r < 2; ++r)
      threads.emplace_back([&, r, name = name] {
        CommThread comm(std::move(ends[r]));
        Small mine = small;
        mine.options.ranks = &comm;
        auto step = mine.step();
        mine.run(*step, 0, 3);
        EXPECT_TRUE(bytes(*step) == bytes(*one)) << name << ", rank " << r;
      });
    for (std::thread& thread : threads) thread.join();
  }
}

TEST(PrecisionStep, GoesOnWithTheBytes) {
  const TempFolder folder;
  const std::string path = folder.path() + "/x.run", model = folder.path() + "/model.gguf";
  auto file = open_checkpoint(kGoldens + "hf/llama3");
  ASSERT_TRUE(file.ok());
  std::string before;  // the file of the numbers before
  for (const RuleId rule : {RuleId::adamw, RuleId::sgd, RuleId::lion})
    for (auto& [name, precision] : precisions()) {
      Small small("llama3");
      small.options.optimiser.rule = rule;
      small.options.precision = precision;
      auto whole = small.step();
      small.run(*whole, 0, 3);
      ASSERT_TRUE(save_run(path, *whole, {3, 1, "line"}).ok());
      small.run(*whole, 3, 6);
      auto later = small.step();
      auto state = load_run(path, later.get());
      ASSERT_TRUE(state.ok()) << name << ": " << state.status().message();
      small.run(*later, 3, 6);
      ASSERT_EQ(bytes(*whole), bytes(*later)) << name;
      // The model that is written is what the optimiser moves.
      ASSERT_TRUE(write_trained(model, *file, file->metadata(), *whole).ok());
      auto written = open_checkpoint(model);
      ASSERT_TRUE(written.ok());
      auto again = TrainStep::create(*written, *read_config(*written), {});
      ASSERT_TRUE(again.ok()) << again.status().message();
      for (size_t i = 0; i < whole->weights().size(); ++i)
        ASSERT_EQ(whole->values(whole->weights()[i]), (*again)->values((*again)->weights()[i])) << name;
      // A run of other numbers is refused by what it lacks; numbers that are rounded at random lack nothing.
      if (!before.empty() && rule == RuleId::adamw && name != "bf16, sr") {
        const Status other = load_run(before, later.get()).take_status();
        EXPECT_NE(other.message().find("this configuration keeps"), std::string::npos) << name << other.message();
      }
      before = folder.path() + "/before.run";
      ASSERT_TRUE(save_run(before, *later, {3, 1, "line"}).ok());
    }
}

TEST(PrecisionStep, NamesAMasterThatIsNotItsCopys) {
  const TempFolder folder;
  Small small("gpt2");
  small.options.precision.weights = Format::bf16;
  auto step = small.step();
  small.run(*step, 0, 1);
  const TrainStep::Weight& weight = step->weights()[4];
  for (const TrainStep::Weight& w : step->weights())
    if (w.form == WeightForm::bf16_master && w.rest_at > 0) {
      step->state()[0].bytes[w.at + 9] ^= 0x10;
      ASSERT_TRUE(save_run(folder.path() + "/x.run", *step, {1, 1, "line"}).ok());
      const Status status = load_run(folder.path() + "/x.run", small.step().get()).take_status();
      EXPECT_NE(status.message().find("the master of '" + w.name + "' and its copy in 16 bits disagree"),
                std::string::npos)
          << status.message();
      return;
    }
  FAIL() << weight.name;
}

/// A run that version 1 wrote: GPT-2, 300 tokens, behind two steps.
TEST(PrecisionStep, GoesOnFromAFileOfVersion1) {
  NewModel model;
  model.architecture = "gpt2";
  model.vocab = 300, model.dim = 8, model.layers = 1, model.heads = 1, model.ff = 16, model.context = 16,
  model.seed = 1;
  auto file = new_checkpoint(model, {});
  ASSERT_TRUE(file.ok());
  TrainStepOptions options;
  options.max_rows = 16;
  auto step = TrainStep::create(*file, *read_config(*file), options);
  ASSERT_TRUE(step.ok()) << step.status().message();
  const std::string path = kGoldens + "train/version1.run";
  auto state = load_run(path, step->get());
  ASSERT_TRUE(state.ok()) << state.status().message();
  EXPECT_EQ(state->steps, 2u);
  EXPECT_EQ(state->sampler, "seed 1, 1311 rows x 1, next 8");
  options.precision.weights = Format::bf16;
  step = TrainStep::create(*file, *read_config(*file), options);
  ASSERT_TRUE(step.ok());
  EXPECT_NE(load_run(path, step->get()).status().message().find("of version 1"), std::string::npos);
}

/// Powers of two change no byte, and small gradients of f16 are there with them.
TEST(PrecisionStep, AScaledLossGivesTheSameBytes) {
  Small small("llama3");
  small.options.accumulate = true;
  small.options.clip = 0.5;
  auto plain = small.step();
  const TrainUpdate want = small.run(*plain, 0, 4);
  for (const double scale : {0.5, 1024.0, 16777216.0}) {
    small.options.precision.loss_scale.kind = LossScaling::Kind::fixed;
    small.options.precision.loss_scale.scale = scale;
    auto scaled = small.step();
    const TrainUpdate got = small.run(*scaled, 0, 4);
    EXPECT_EQ(got.loss, want.loss);
    EXPECT_EQ(got.norm, want.norm);
    EXPECT_EQ(got.loss_scale, scale);
    for (const char* name : {"weights", "first moments", "second moments"})
      EXPECT_EQ(part(*scaled, name), part(*plain, name)) << scale << " " << name;
  }
}

/// One element that overflows on one rank: no rank changes anything but the scale, which is the same on both.
TEST(PrecisionStep, AnOverflowIsSkippedOnAllRanks) {
  Small small("gpt2");
  small.options.threads = 1;
  small.options.shares = 2;
  small.options.precision.loss_scale.kind = LossScaling::Kind::dynamic;
  auto ends = local_network(2);
  std::vector<std::thread> threads;
  std::vector<uint8_t> after[2];
  for (uint32_t r = 0; r < 2; ++r)
    threads.emplace_back([&, r] {
      CommThread comm(std::move(ends[r]));
      Small mine = small;
      mine.options.ranks = &comm;
      auto step = mine.step();
      const std::vector<uint8_t> weights = part(*step, "weights"), moments = part(*step, "second moments");
      Batch batch = mine.batches[r];
      const auto learnt =
          size_t(std::find_if(batch.targets.begin(), batch.targets.end(), [](int32_t t) { return t >= 0; }) -
                 batch.targets.begin());
      if (r == 1) batch.weights[learnt] = 1e35f;  // times 65536 is infinite
      ASSERT_TRUE(step->add(batch).ok());
      auto update = step->update();
      ASSERT_TRUE(update.ok()) << update.status().message();
      EXPECT_TRUE(update->skipped());
      EXPECT_EQ(step->steps(), 0u);
      EXPECT_EQ(step->loss_scale(), 32768);
      EXPECT_EQ(part(*step, "weights"), weights);
      EXPECT_EQ(part(*step, "second moments"), moments);
      mine.run(*step, 0, 2);
      EXPECT_EQ(step->steps(), 2u);
      after[r] = bytes(*step);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(after[0], after[1]);
}

TEST(PrecisionStep, GivesUpWhereNoScaleHelps) {
  Small small("gpt2");
  small.options.precision.loss_scale.kind = LossScaling::Kind::dynamic;
  auto step = small.step();
  Batch batch = small.batches[0];
  for (size_t i = 0; i < batch.targets.size(); ++i) batch.weights[i] = INFINITY;
  Status status;
  int skipped = 0;
  for (; skipped < 1000; ++skipped) {
    auto loss = step->run(batch);
    if (!loss.ok()) {
      status = loss.take_status();
      break;
    }
  }
  EXPECT_EQ(skipped, 16 + int(LossScaler::kMostOverflows) - 1);
  EXPECT_NE(status.message().find("gradients overflow at loss scale 1: first non-finite tensor "), std::string::npos)
      << status.message();
  EXPECT_EQ(step->steps(), 0u);
}

TEST(PrecisionStep, SumsInBf16AreNearThoseOfFloats) {
  const auto gradient = [](Small& small) {
    auto step = small.step();
    small.run(*step, 0, 1);
    std::vector<uint8_t> bytes = part(*step, "first moments");
    std::vector<float> floats(bytes.size() / 4);
    std::memcpy(floats.data(), bytes.data(), bytes.size());
    return floats;
  };
  Small small("llama3");
  small.options.accumulate = true;
  small.options.shares = 5;
  const std::vector<float> want = gradient(small);
  const auto off = [&] {
    const std::vector<float> got = gradient(small);
    double error = 0, all = 0;
    for (size_t i = 0; i < got.size(); ++i)
      error += (double(got[i]) - want[i]) * (double(got[i]) - want[i]), all += double(want[i]) * want[i];
    return std::sqrt(error / all);
  };
  small.options.precision.gradients = Format::bf16;
  const auto memory = [&] {
    auto file = open_checkpoint(kGoldens + "hf/llama3");
    auto memory = TrainStep::memory(*file, *read_config(*file), small.options);
    VIBEE_CHECK(memory.ok());
    return memory->gradients;
  };
  const double plain = off();
  const uint64_t narrow = memory();
  EXPECT_GT(plain, 0);
  EXPECT_LT(plain, 0x1p-7);
  small.options.precision.gradient_sums = Bf16Sum::kahan;
  EXPECT_LT(off(), plain);
  small.options.precision.gradients = Format::f32;
  small.options.precision.gradient_sums = Bf16Sum::nearest;
  EXPECT_LT(double(narrow), 0.6 * double(memory()));
}

TEST(PrecisionStep, RefusesWhatItCannotSum) {
  Small small("gpt2");
  small.options.precision.gradients = Format::bf16;
  EXPECT_NE(start("hf/gpt2", small.options).status().message().find("nothing is summed"), std::string::npos);
  small.options.shares = 2;
  CommThread comm(std::move(local_network(1)[0]));
  small.options.ranks = &comm;
  EXPECT_NE(start("hf/gpt2", small.options).status().message().find("sums over ranks are f32"), std::string::npos);
  small.options.precision.gradients = Format::f32;
  small.options.precision.master = Master::none;
  EXPECT_NE(start("hf/gpt2", small.options).status().message().find("weights are f32 here"), std::string::npos);
}

}  // namespace
}  // namespace vibee
