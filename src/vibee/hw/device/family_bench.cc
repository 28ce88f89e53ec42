// SPDX-License-Identifier: Apache-2.0
// A hardware row on the device that it is of: prompt and generation of a model in bf16 with it over without it, turn by
// turn.
#include <algorithm>
#include <chrono>

#include "vibee/core/measure/measure.h"
#include "vibee/core/technique/context.h"
#include "vibee/graph/device/device_runtime.h"
#include "vibee/graph/device/kernel_images.h"
#include "vibee/hw/device/hardware_profile.h"
#include "vibee/model/session/session.h"
#include "vibee/model/weight/builtin_model.h"
#include "vibee/model/weight/recast.h"

namespace vibee {
namespace {

/// What `vibee tree show` states as targets, over the device without the row.
struct HardwareRow {
  std::string_view id, profile;
  bool SessionOptions::*on;
  double prompt, generation;  ///< 0: none
};
constexpr HardwareRow kHardwareRows[] = {
    {"h100_optimization", "h100_sxm5_80", &SessionOptions::hopper, 1.4, 1.15},
    {"h200_optimization", "h200_sxm_141", &SessionOptions::deep_stages, 0, 1.12},
};

constexpr uint32_t kPrompt = 2048, kGenerated = 64;

struct Seconds {
  double prompt = 0, generation = 0;
};
/// One sequence: a prompt in steps of the session's rows, then tokens one at a time.
Result<Seconds> run(Session& session) {
  const auto now = [] { return std::chrono::steady_clock::now(); };
  const auto since = [&](auto start) { return std::chrono::duration<double>(now() - start).count(); };
  SequenceState state = session.new_sequence();
  std::vector<int32_t> tokens(session.options().max_rows);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = int32_t(1 + i * 7919 % (session.model().config().vocab - 1));
  const auto step = [&](uint32_t n) {
    const StepRows rows{&state, std::span(tokens).first(n)};
    return session.step({&rows, 1}).take_status();
  };
  Seconds out;
  const auto begin = now();
  for (uint32_t at = 0; at < kPrompt; at += uint32_t(tokens.size())) VIBEE_TRY(step(uint32_t(tokens.size())));
  out.prompt = since(begin);
  const auto generated = now();
  for (uint32_t i = 0; i < kGenerated; ++i) VIBEE_TRY(step(1));
  out.generation = since(generated);
  return out;
}

}  // namespace

Status bench_family_hw_device(BenchContext& context, std::string_view id) {
  const auto& row = *std::find_if(std::begin(kHardwareRows), std::end(kHardwareRows),
                                  [&](const HardwareRow& r) { return r.id == id; });
  VIBEE_ASSIGN(const HardwareProfile* const wanted, find_hardware_profile(row.profile));
  auto devices = cuda_devices();
  if (!devices.ok()) return devices.take_status().within(std::string("needs an ") + wanted->device_name);
  const auto found =
      std::find_if(devices->begin(), devices->end(), [&](const DeviceInfo& d) { return profile_of(d) == wanted; });
  if (found == devices->end())
    return error(Code::unsupported, "needs an {}; device 0 is {}", wanted->device_name, (*devices)[0].name);
  VIBEE_ASSIGN(auto driver, cuda_driver());
  ModelOptions options;
  options.tokenizer = false;
  VIBEE_ASSIGN(options.device, DeviceRuntime::open(std::move(driver), found->ordinal, kernel_images()));
  const std::string& path = context.settings().model;
  VIBEE_ASSIGN(Checkpoint file, open_checkpoint(path.empty() ? std::string(kBuiltinPath) : path));
  VIBEE_ASSIGN(file, recast_checkpoint(std::move(file), all_in(Format::bf16)));  // products that the row is about
  VIBEE_ASSIGN(const auto model, Model::load(std::move(file), options));
  SessionOptions with;
  with.context = kPrompt + kGenerated;
  SessionOptions without = with;
  without.*row.on = false;
  std::vector<double> prompt, generation;
  const int pairs = context.settings().quick ? 5 : 15;
  for (int i = 0; i < pairs; ++i) {
    if (!context.proceed("with and without", double(i) / pairs)) return error(Code::cancelled, "stopped");
    Seconds took[2];
    for (const bool off : {false, true}) {
      VIBEE_ASSIGN(const auto session, Session::create(*model, off ? without : with));
      VIBEE_TRY(run(*session).take_status());  // first launches are of their own
      VIBEE_ASSIGN(took[off], run(*session));
    }
    prompt.push_back(took[1].prompt / took[0].prompt);
    generation.push_back(took[1].generation / took[0].generation);
  }
  const auto say = [&](const char* what, const std::vector<double>& ratios, double target) {
    const std::string note = fmt::format("median of {} pairs, {}", pairs, found->name);
    if (target > 0)
      context.target(what, median(ratios), "x", target, note);
    else
      context.figure(what, median(ratios), "x", 0, note);
  };
  say("prompt's speed over that without the row", prompt, row.prompt);
  say("generation's speed over that without the row", generation, row.generation);
  return {};
}

}  // namespace vibee
