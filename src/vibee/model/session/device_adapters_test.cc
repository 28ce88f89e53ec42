// SPDX-License-Identifier: Apache-2.0
// Models with experts and sessions with adapters on a device, run by the host's driver under the shim: the logits that
// transformers and PEFT compute, rows that do not depend on who is beside them, memory to the byte.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "vibee/graph/device/device_plan.h"
#include "vibee/kit/golden_logits.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/kit/tiny_adapter.h"
#include "vibee/kit/trial_runtime.h"
#include "vibee/model/weight/recast.h"

namespace vibee {
namespace {

using testing::HasSubstr;

constexpr bool kFewer = VIBEE_SANITIZE_BUILD != 0;  ///< cases: fibers under sanitizers take their time

const std::string kGoldens = std::string(VIBEE_SOURCE_DIR) + "/data/golden/";

struct Opened {
  std::unique_ptr<Model> model;
  std::unique_ptr<Session> session;
};

/// A model in floats, whose products are those of the golden's.
Opened open(const std::string& path, std::shared_ptr<DeviceRuntime> runtime, uint32_t loras = 0,
            std::vector<std::string> disable = {}) {
  ModelOptions o;
  o.threads = 1;
  o.tokenizer = false;
  o.lora.adapters = loras;
  o.device = std::move(runtime);
  o.disable = std::move(disable);
  Opened out;
  Checkpoint file = made(recast_checkpoint(made(open_checkpoint(path)), all_in(Format::f32)));
  out.model = made(Model::load(std::move(file), o));
  SessionOptions s;
  s.context = s.max_rows = s.max_logits = 64;
  s.sequences = 4;
  s.kv = KvFormat::f32;
  out.session = made(Session::create(*out.model, s));
  return out;
}

TEST(DeviceGolden, ExpertsGiveTheLogitsOfTransformers) {
  for (const std::string name : {"mixtral", "qwen3moe"}) {
    if (kFewer && name != "mixtral") continue;
    const std::string directory = kGoldens + "hf/" + name;
    TrialRuntime trial;
    {
      const Opened o = open(directory, made(trial.open()));
      GoldenLogits(directory).expect(*o.session, 2e-4f);
    }
    EXPECT_EQ(trial.finish(), std::vector<std::string>{}) << name;
  }
}

TEST(DeviceGolden, AdaptersGiveTheLogitsOfPeft) {
  for (const auto& [name, off] : {std::pair<std::string, std::string>{"llama3", ""}, {"gpt2", "merge_lora"}}) {
    if (kFewer && name != "llama3") continue;
    const std::string directory = kGoldens + "lora/" + name;
    TrialRuntime trial;
    {
      const Opened o = open(kGoldens + "hf/" + name, made(trial.open()), 1,
                            off.empty() ? std::vector<std::string>{} : std::vector<std::string>{off});
      const auto adapter = made(o.model->loras()->load(directory));
      GoldenLogits(directory).expect(*o.session, 2e-4f, true, adapter.get());
    }
    EXPECT_EQ(trial.finish(), std::vector<std::string>{}) << name;
  }
}

using Logits = std::vector<std::vector<float>>;  ///< by sequence

/// Prompts of these lengths in one step, then two tokens more of each.
Logits run(Session& session, const std::vector<const LoraAdapter*>& adapters, const std::vector<uint32_t>& lengths) {
  std::vector<SequenceState> states;
  Logits out(adapters.size());
  for (size_t i = 0; i < adapters.size(); ++i) states.push_back(session.new_sequence());
  for (uint32_t round = 0; round < 3; ++round) {
    std::vector<std::vector<int32_t>> tokens(adapters.size());
    std::vector<StepRows> rows;
    for (size_t i = 0; i < adapters.size(); ++i) {
      for (uint32_t t = 0; t < (round ? 1 : lengths[i]); ++t)
        tokens[i].push_back(int32_t((7 * lengths[i] + 5 * t + round) % 48));
      rows.push_back({&states[i], tokens[i], 1, {}, adapters[i]});
    }
    const auto logits = made(session.step(rows));
    for (size_t i = 0; i < adapters.size(); ++i)
      out[i].insert(out[i].end(), logits.begin() + ptrdiff_t(48 * i), logits.begin() + ptrdiff_t(48 * (i + 1)));
  }
  return out;
}

TEST(DeviceAdapterSession, RowsKeepTheBytesOfTheirSoloRun) {
  TempFolder dir;
  TinyModel tiny;
  if (kFewer) tiny.layers = 1;
  const TinyModelFile file(tiny);
  const std::string first = write_adapter(dir.path() + "/one.gguf", tiny, 3, 1),
                    second = write_adapter(dir.path() + "/two.gguf", tiny, 16, 2);
  TrialRuntime trial(2);
  {
    const auto runtime = made(trial.open());
    const Opened plain = open(file.path(), runtime), with = open(file.path(), runtime, 2),
                 cpu = open(file.path(), nullptr, 2);
    auto a = made(with.model->loras()->load(first));
    const auto b = made(with.model->loras()->load(second));
    EXPECT_THAT(with.model->loras()->load(first).status().message(), HasSubstr("--max-loras"));
    const std::vector<const LoraAdapter*> who = {nullptr, a.get(), b.get(), a.get()};
    const std::vector<uint32_t> lengths = {9, 1, 4, 9};
    const Logits all = run(*with.session, who, lengths);
    for (size_t i = kFewer ? 1 : 0; i < (kFewer ? 3 : who.size()); ++i)
      EXPECT_EQ(run(*with.session, {who[i]}, {lengths[i]})[0], all[i]) << i;
    EXPECT_EQ(run(*plain.session, {nullptr}, {9})[0], all[0]);
    EXPECT_NE(all[3], all[0]);
    // As on the CPU, whose sums go otherwise where they are not an adapter's.
    const auto on_cpu_a = made(cpu.model->loras()->load(first)), on_cpu_b = made(cpu.model->loras()->load(second));
    EXPECT_EQ(on_cpu_a->digest(), a->digest());
    const Logits want = run(*cpu.session, {nullptr, on_cpu_a.get(), on_cpu_b.get(), on_cpu_a.get()}, lengths);
    for (size_t i = 0; i < who.size(); ++i)
      for (size_t j = 0; j < want[i].size(); ++j) ASSERT_NEAR(all[i][j], want[i][j], 2e-4) << i << " " << j;
    // A place is free with its adapter, and the next one's matrices lie there.
    a.reset();
    const auto again = made(with.model->loras()->load(second));
    EXPECT_EQ(run(*with.session, {again.get()}, {4})[0], all[2]);
  }
  EXPECT_EQ(trial.finish(), std::vector<std::string>{});
}

/// Another thread brings adapters to the device and lets them go meanwhile.
TEST(DeviceAdapterSession, StepsGoOnWhileAdaptersAreLoaded) {
  TempFolder dir;
  TinyModel tiny;
  tiny.layers = 1;
  const TinyModelFile file(tiny);
  const std::string first = write_adapter(dir.path() + "/one.gguf", tiny, 3, 1),
                    second = write_adapter(dir.path() + "/two.gguf", tiny, 16, 2);
  TrialRuntime trial(4);
  {
    const Opened o = open(file.path(), made(trial.open()), 2);
    const auto mine = made(o.model->loras()->load(first));
    const Logits want = run(*o.session, {mine.get()}, {5});
    std::atomic<bool> stop = false;
    std::atomic<uint32_t> loads = 0, failures = 0;
    std::thread loader([&] {
      while (!stop || loads == 0) {
        failures += !o.model->loras()->load(second).ok();
        ++loads;
      }
    });
    for (int i = 0; i < (kFewer ? 1 : 3); ++i) EXPECT_EQ(run(*o.session, {mine.get()}, {5}), want) << i;
    stop = true;
    loader.join();
    EXPECT_EQ(failures, 0u) << "of " << loads;
  }
  EXPECT_EQ(trial.finish(), std::vector<std::string>{});
}

TEST(DeviceAdapterSession, StatesItsMemoryAndLosesNoPlace) {
  if (TrialRuntime::real()) GTEST_SKIP() << "of the host's driver";
  TempFolder dir;
  const TinyModel tiny;
  const TinyModelFile file(tiny);
  const std::string path = write_adapter(dir.path() + "/one.gguf", tiny, 3, 1);
  TrialRuntime trial;
  {
    const auto runtime = made(trial.open());
    const uint64_t before = made(runtime->device->memory()).free;
    Checkpoint checkpoint = made(open_checkpoint(file.path()));
    const ModelConfig config = made(read_config(checkpoint));
    ModelOptions load;
    load.threads = 1, load.tokenizer = false, load.lora.adapters = 1, load.device = runtime;
    SessionOptions s;
    s.context = 64, s.max_rows = 16;
    const MemoryPlan plan = made(Session::plan_memory(checkpoint, config, load, s));
    EXPECT_GT(plan.adapters, 0u);
    const auto model = made(Model::load(std::move(checkpoint), load));
    const auto session = made(Session::create(*model, s));
    EXPECT_EQ(DevicePool::taken(plan.weights) + DevicePool::taken(plan.adapters) +
                  DevicePool::taken(plan.arena + DevicePool::taken(plan.pages + kKvSlack)),
              before - made(runtime->device->memory()).free);
    // The only place comes back from an adapter whose matrices did not arrive.
    trial.trial.host.fail(2, CudaResult::out_of_memory, HostCudaDriver::Fault::refused, "cuMemcpyHtoDAsync_v2");
    const Status failed = model->loras()->load(path).status();
    EXPECT_THAT(failed.message(), testing::AllOf(HasSubstr("one.gguf"), HasSubstr("CUDA_ERROR_OUT_OF_MEMORY")));
    EXPECT_TRUE(model->loras()->load(path).ok());
    load.lora.adapters = 1024, load.lora.rank = 1024;
    EXPECT_THAT(Model::load(file.path(), load).status().message(),
                testing::AllOf(HasSubstr("--max-loras"), HasSubstr("cuda device 0")));
  }
  EXPECT_EQ(trial.finish(), std::vector<std::string>{});
}

}  // namespace
}  // namespace vibee
