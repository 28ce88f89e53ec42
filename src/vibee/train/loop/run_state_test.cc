// SPDX-License-Identifier: Apache-2.0
// Checkpoints of a run: bytes that come back, and what is refused.
#include "vibee/train/loop/run_saver.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <iterator>

#include "vibee/kit/temp_folder.h"
#include "vibee/model/arch/arch.h"
#include "vibee/train/loop/new_model.h"
#include "vibee/train/loop/trained_model.h"

namespace vibee {
namespace {

std::unique_ptr<TrainStep> step_of(const NewModel& model) {
  auto file = new_checkpoint(model, {});
  VIBEE_CHECK(file.ok(), "{}", file.status().message());
  auto config = read_config(*file);
  VIBEE_CHECK(config.ok(), "{}", config.status().message());
  TrainStepOptions options;
  options.max_rows = 4;
  auto step = TrainStep::create(*file, *config, options);
  VIBEE_CHECK(step.ok(), "{}", step.status().message());
  return std::move(*step);
}
NewModel tiny(const std::string& architecture) {
  NewModel model;
  model.architecture = architecture;
  model.vocab = 32, model.dim = 16, model.layers = 1, model.heads = 2, model.ff = 32, model.context = 16;
  return model;
}
float run_once(TrainStep& step) {
  const std::vector<int32_t> tokens = {1, 2, 3, 4}, targets = {2, 3, 4, 5}, documents = {0, 0, 0, 0};
  const std::vector<float> weights(4, 0.25f);
  auto loss = step.run({tokens, targets, documents, weights});
  VIBEE_CHECK(loss.ok(), "{}", loss.status().message());
  return *loss;
}
std::vector<uint8_t> bytes_of(TrainStep& step) {
  std::vector<uint8_t> all;
  for (const StatePart& part : step.state()) all.insert(all.end(), part.bytes.begin(), part.bytes.end());
  return all;
}
std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void put(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

TEST(RunState, GoesOnWithTheBytes) {
  const TempFolder folder;
  for (const char* architecture : {"llama", "gpt2"}) {
    auto whole = step_of(tiny(architecture)), later = step_of(tiny(architecture));
    run_once(*whole);
    ASSERT_TRUE(save_run(folder.path() + "/x.run", *whole, {1, 2.5, "seed 7, next 9"}).ok());
    auto state = load_run(folder.path() + "/x.run", later.get());
    ASSERT_TRUE(state.ok()) << state.status().message();
    EXPECT_EQ(state->steps, 1u);
    EXPECT_EQ(state->best, 2.5);
    EXPECT_EQ(state->sampler, "seed 7, next 9");
    EXPECT_EQ(later->steps(), 1u);
    EXPECT_EQ(bytes_of(*whole), bytes_of(*later));
    EXPECT_EQ(run_once(*whole), run_once(*later));
    EXPECT_EQ(bytes_of(*whole), bytes_of(*later));
  }
}

/// Files are of the step that they were asked for at, while it goes on; those that cannot be written are told of later.
TEST(RunSaver, WritesWhileTheStepGoesOn) {
  const TempFolder folder;
  const auto path = [&](int i) { return fmt::format("{}/{}.run", folder.path(), i); };
  for (const bool copy : {true, false}) {
    auto step = step_of(tiny("llama"));
    std::vector<std::vector<uint8_t>> states;
    int written = 0;
    {
      RunSaver saver(copy);
      for (int i = 0; i < 6; ++i) {
        run_once(*step);
        states.push_back(bytes_of(*step));
        ASSERT_TRUE(saver.save(path(i), *step, {step->steps(), 1, "at"}, [&] { ++written; }).ok());
      }
    }
    EXPECT_EQ(written, 6);
    for (int i = 0; i < 6; ++i) {
      auto later = step_of(tiny("llama"));
      ASSERT_TRUE(load_run(path(i), later.get()).ok());
      EXPECT_EQ(later->steps(), uint64_t(i + 1));
      EXPECT_EQ(bytes_of(*later), states[size_t(i)]);
    }
    RunSaver saver(copy);
    const std::string nowhere = folder.path() + "/none/x.run";
    Status first = saver.save(nowhere, *step, {1, 1, "at"}), then = saver.wait();
    EXPECT_EQ(first.ok(), copy);
    EXPECT_EQ(then.ok(), !copy);
    EXPECT_TRUE(saver.save(path(9), *step, {1, 1, "at"}).ok());
  }
}

TEST(RunState, RefusesDamageAndOtherModels) {
  const TempFolder folder;
  const std::string path = folder.path() + "/x.run";
  auto step = step_of(tiny("llama"));
  ASSERT_TRUE(save_run(path, *step, {1, 0, "line"}).ok());
  const std::string good = contents(path);
  const auto refused = [&] {
    const Status status = load_run(path, step.get()).take_status();
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(status.message().find('\n'), std::string::npos);
    return status.message();
  };
  for (size_t at = 0; at < good.size(); at += at < 80 ? 1 : 997) {
    std::string bad = good;
    bad[at] = char(bad[at] ^ 0x10);
    put(path, bad);
    refused();
    put(path, good.substr(0, at));
    refused();
  }
  put(path, good + "x");
  EXPECT_NE(refused().find("damaged"), std::string::npos);
  put(path, good);
  EXPECT_TRUE(load_run(path, step.get()).ok());
  NewModel other = tiny("llama");
  other.layers = 2;
  step = step_of(other);
  EXPECT_NE(refused().find("of a model of other weights"), std::string::npos);
}

TEST(NewModel, IsAFunctionOfTheSeed) {
  NewModel model = tiny("llama");
  auto a = new_checkpoint(model, {}), b = new_checkpoint(model, {});
  model.seed = 1;
  auto c = new_checkpoint(model, {});
  ASSERT_TRUE(a.ok() && b.ok() && c.ok());
  const TensorInfo* t = a->find("token_embd.weight");
  ASSERT_NE(t, nullptr);
  std::vector<float> x(t->elements()), y(x), z(x);
  const auto bytes = [](std::vector<float>& v) {
    return std::span(reinterpret_cast<uint8_t*>(v.data()), v.size() * 4);
  };
  ASSERT_TRUE(a->read(*t, 0, bytes(x)).ok() && c->read(*t, 0, bytes(z)).ok());
  // In pieces that cut floats.
  for (size_t at = 0; at < 4 * y.size(); at += 7)
    ASSERT_TRUE(b->read(*t, at, bytes(y).subspan(at, std::min<size_t>(7, 4 * y.size() - at))).ok());
  EXPECT_EQ(x, y);
  EXPECT_NE(x, z);
  double square = 0;
  for (const float v : x) square += double(v) * v;
  EXPECT_NEAR(std::sqrt(square / double(x.size())), 0.02, 0.002);
}

TEST(NewModel, RefusesSizesThatDoNotFit) {
  const auto refused = [](auto change) {
    NewModel model = tiny("llama");
    change(model);
    return new_checkpoint(model, {}).status().message();
  };
  EXPECT_NE(refused([](NewModel& m) { m.heads = 3; }).find("must divide"), std::string::npos);
  EXPECT_NE(refused([](NewModel& m) { m.heads = 4, m.kv_heads = 3; }).find("must divide"), std::string::npos);
  EXPECT_NE(refused([](NewModel& m) { m.architecture = "rwkv"; }).find("llama and gpt2"), std::string::npos);
  EXPECT_NE(refused([](NewModel& m) { m.architecture = "gpt2", m.tied = false; }).find("as its head"),
            std::string::npos);
}

TEST(TrainedModel, HasTheWeightsOfTheStep) {
  const TempFolder folder;
  const std::string path = folder.path() + "/model.gguf";
  for (const char* architecture : {"llama", "gpt2"}) {
    const NewModel model = tiny(architecture);
    auto file = new_checkpoint(model, {});
    ASSERT_TRUE(file.ok());
    auto step = step_of(model);
    run_once(*step);
    ASSERT_TRUE(write_trained(path, *file, file->metadata(), *step).ok());
    auto written = open_checkpoint(path);
    ASSERT_TRUE(written.ok()) << written.status().message();
    auto config = read_config(*written);
    ASSERT_TRUE(config.ok()) << config.status().message();
    auto again = TrainStep::create(*written, *config, TrainStepOptions{});
    ASSERT_TRUE(again.ok());
    const auto want = step->state()[0].bytes, got = (*again)->state()[0].bytes;
    EXPECT_TRUE(std::equal(want.begin(), want.end(), got.begin(), got.end())) << architecture;
  }
}

}  // namespace
}  // namespace vibee
