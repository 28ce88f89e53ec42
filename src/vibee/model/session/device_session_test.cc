// SPDX-License-Identifier: Apache-2.0
// Sessions on a device, run by the host's driver under the shim: they generate what those on the CPU do, keep their
// sequences apart, and lose nothing when the device fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "vibee/graph/device/device_plan.h"
#include "vibee/kit/tiny_model.h"
#include "vibee/kit/trial_runtime.h"
#include "vibee/model/session/session.h"

namespace vibee {
namespace {

using testing::HasSubstr;

struct Machine {
  Machine(const TinyModel& tiny, std::shared_ptr<DeviceRuntime> runtime, const SessionOptions& options) : file(tiny) {
    ModelOptions load{1, detected_isa(), {}, false};
    load.device = std::move(runtime);
    model = made(Model::load(file.path(), load));
    session = made(Session::create(*model, options));
  }
  TinyModelFile file;
  std::unique_ptr<Model> model;
  std::unique_ptr<Session> session;
};

SessionOptions small(KvFormat kv) {
  SessionOptions o;
  o.context = 64, o.sequences = 2, o.max_rows = 24, o.max_logits = 2, o.kv = kv;
  return o;
}

int32_t likeliest(std::span<const float> logits) {
  return int32_t(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

/// Logits of the last rows of every step: a prompt in two chunks beside a shorter one, then tokens one by one.
std::vector<float> run(Session& session, std::vector<int32_t>* greedy) {
  SequenceState a = session.new_sequence(), b = session.new_sequence();
  std::vector<int32_t> first, rest, other = {7, 1, 9};
  for (int32_t i = 0; i < 17; ++i) (i < 10 ? first : rest).push_back(i * 5 % 48);
  std::vector<float> all;
  const auto step = [&](const std::vector<StepRows>& rows) {
    const std::span<float> logits = made(session.step(rows));
    all.insert(all.end(), logits.begin(), logits.end());
  };
  step({{&a, first, 1}});
  step({{&a, rest, 1}, {&b, other, 1}});
  for (int i = 0; i < 6; ++i) {
    const size_t width = 48;
    const int32_t of_a = likeliest({all.end() - 2 * width, all.end() - width}),
                  of_b = likeliest({all.end() - width, all.end()});
    greedy->insert(greedy->end(), {of_a, of_b});
    const std::vector<int32_t> next_a = {of_a}, next_b = {of_b};
    step({{&a, next_a, 1}, {&b, next_b, 1}});
  }
  return all;
}

TEST(DeviceSession, GeneratesWhatTheCpuDoes) {
  for (const char* architecture : {"llama", "gemma3"})
    for (const auto& [format, kv] : {std::pair{Format::f32, KvFormat::f32},
                                     {Format::bf16, KvFormat::f32},
                                     {Format::q8_0, KvFormat::f32},
                                     {Format::f32, KvFormat::q8_0}}) {
      if (VIBEE_SANITIZE_BUILD != 0 && kv == KvFormat::q8_0 && architecture != std::string("llama")) continue;
      TinyModel tiny;
      tiny.architecture = architecture;
      tiny.format = format;
      if (kv == KvFormat::q8_0) tiny.heads = 1, tiny.head_dim = 32;
      std::vector<int32_t> want_tokens, tokens;
      Machine cpu(tiny, nullptr, small(kv));
      const std::vector<float> want = run(*cpu.session, &want_tokens);
      TrialRuntime trial(1);
      {
        Machine device(tiny, made(trial.open()), small(kv));
        const std::vector<float> got = run(*device.session, &tokens);
        EXPECT_EQ(tokens, want_tokens) << architecture;
        ASSERT_EQ(got.size(), want.size());
        // Bounds of rounding are graph/device's; here models are wired alike.
        double most = 0, size = 0;
        for (size_t i = 0; i < got.size(); ++i) {
          most = std::max(most, std::fabs(double(got[i]) - want[i]));
          size = std::max(size, std::fabs(double(want[i])));
        }
        EXPECT_LT(most, size * (format == Format::f32 ? 1e-4 : 5e-2)) << architecture;
        EXPECT_GT(device.session->device_plan()->recorded_steps(), 0u);
      }
      EXPECT_EQ(trial.finish(), std::vector<std::string>{});
    }
}

TEST(DeviceSession, StatesItsMemoryToTheByte) {
  if (TrialRuntime::real()) GTEST_SKIP() << "of the host's driver";
  TrialRuntime trial;
  {
    const auto runtime = made(trial.open());
    const uint64_t before = made(runtime->device->memory()).free;
    const TinyModelFile file{TinyModel{}};
    Checkpoint checkpoint = made(open_checkpoint(file.path()));
    const ModelConfig config = made(read_config(checkpoint));
    ModelOptions load{1, detected_isa(), {}, false};
    load.device = runtime;
    const MemoryPlan plan = made(Session::plan_memory(checkpoint, config, load, small(KvFormat::f16)));
    const auto model = made(Model::load(std::move(checkpoint), load));
    const auto session = made(Session::create(*model, small(KvFormat::f16)));
    const uint64_t taken = before - made(runtime->device->memory()).free;
    EXPECT_EQ(
        DevicePool::taken(plan.weights) + DevicePool::taken(plan.arena + DevicePool::taken(plan.pages + kKvSlack)),
        taken);
  }
  EXPECT_EQ(trial.finish(), std::vector<std::string>{});
}

/// Two that begin alike write into copies of their last common page.
TEST(DeviceSession, ForksDoNotDisturbOneAnother) {
  TrialRuntime trial;
  {
    Machine m({}, made(trial.open()), small(KvFormat::f32));
    const std::vector<int32_t> prompt(19, 3), left = {1, 2}, right = {30, 31};
    const auto alone = [&](const std::vector<int32_t>& rest) {
      SequenceState s = m.session->new_sequence();
      const std::vector<StepRows> begin = {{&s, prompt, 1}}, end = {{&s, rest, 1}};
      EXPECT_TRUE(m.session->step(begin).ok());
      const std::span<float> logits = made(m.session->step(end));
      return std::vector<float>(logits.begin(), logits.end());
    };
    const std::vector<float> want_left = alone(left), want_right = alone(right);
    SequenceState a = m.session->new_sequence();
    const std::vector<StepRows> begin = {{&a, prompt, 1}};
    ASSERT_TRUE(m.session->step(begin).ok());
    SequenceState b = a.fork();
    const std::vector<StepRows> both = {{&a, left, 1}, {&b, right, 1}};
    const std::span<float> got = made(m.session->step(both));
    ASSERT_EQ(got.size(), want_left.size() + want_right.size());
    EXPECT_EQ(0, std::memcmp(got.data(), want_left.data(), want_left.size() * 4));
    EXPECT_EQ(0, std::memcmp(got.data() + want_left.size(), want_right.data(), want_right.size() * 4));
  }
  EXPECT_EQ(trial.finish(), std::vector<std::string>{});
}

TEST(DeviceSession, AFailedStepLeavesSequencesAsTheyWere) {
  if (TrialRuntime::real()) GTEST_SKIP() << "of the host's driver";
  TrialRuntime trial;
  {
    Machine m({}, made(trial.open()), small(KvFormat::f32));
    SequenceState s = m.session->new_sequence();
    const std::vector<int32_t> prompt(5, 3);
    const std::vector<StepRows> rows = {{&s, prompt, 1}};
    ASSERT_TRUE(m.session->step(rows).ok());
    const uint32_t free = m.session->pages().free_pages();
    trial.trial.host.fail(4, CudaResult::launch_out_of_resources, HostCudaDriver::Fault::refused, "cuLaunchKernel");
    const Status failed = m.session->step(rows).status();
    EXPECT_THAT(failed.message(), HasSubstr("cuLaunchKernel"));
    EXPECT_EQ(s.length(), 5u);
    EXPECT_EQ(m.session->pages().free_pages(), free);
    ASSERT_TRUE(m.session->step(rows).ok());
    EXPECT_EQ(s.length(), 10u);
    trial.trial.host.fail(1, CudaResult::illegal_address, HostCudaDriver::Fault::refused, "cuGraphLaunch");
    EXPECT_THAT(m.session->step(rows).status().message(), HasSubstr("is lost"));
    EXPECT_THAT(m.session->step(rows).status().message(), HasSubstr("is lost"));
    EXPECT_EQ(s.length(), 10u);
  }
  (void)trial.finish();  // a lost device keeps what it had
}

TEST(DeviceSession, RefusesWhatDoesNotFit) {
  if (TrialRuntime::real()) GTEST_SKIP() << "of the host's driver";
  TrialRuntime trial(0, size_t(1) << 20);
  {
    const TinyModelFile file{TinyModel{}};
    ModelOptions load{1, detected_isa(), {}, false};
    load.device = made(trial.open());
    const auto model = made(Model::load(file.path(), load));
    SessionOptions large = small(KvFormat::f32);
    large.context = 4096, large.sequences = 64;
    const Status refused = Session::create(*model, large).status();
    EXPECT_EQ(refused.code(), Code::no_memory);
    EXPECT_THAT(refused.message(), HasSubstr("cuda device 0"));
    SessionOptions floats = small(KvFormat::f32);
    floats.row_form = RowForm::floats;
    EXPECT_THAT(Session::create(*model, floats).status().message(), HasSubstr("--act int8"));
    SessionOptions bytes = small(KvFormat::f32);
    bytes.kv = KvFormat::int4;
    EXPECT_FALSE(Session::create(*model, bytes).ok());
  }
  EXPECT_EQ(trial.finish(), std::vector<std::string>{});
}

}  // namespace
}  // namespace vibee
