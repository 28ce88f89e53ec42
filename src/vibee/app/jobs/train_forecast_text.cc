// SPDX-License-Identifier: Apache-2.0
// A forecast for people and for programs.
#include <fmt/format.h>

#include "vibee/app/jobs/train_forecast.h"
#include "vibee/base/text/json_object.h"

namespace vibee {
namespace {

std::string duration(double s) {
  if (s >= 2 * 86400) return fmt::format("{:.1f} days", s / 86400);
  if (s >= 2 * 3600) return fmt::format("{:.1f} h", s / 3600);
  if (s >= 120) return fmt::format("{:.1f} min", s / 60);
  return s >= 1 ? fmt::format("{:.2f} s", s) : fmt::format("{:.2f} ms", 1e3 * s);
}
double mib(uint64_t bytes) { return double(bytes) / (1 << 20); }

std::vector<std::pair<std::string_view, uint64_t>> reasons(const TrainForecast::Memory& m) {
  return {{"weights", m.weights}, {"frozen", m.frozen},         {"moments", m.moments},   {"gradients", m.gradients},
          {"arena", m.arena},     {"checkpoint", m.checkpoint}, {"exchange", m.exchange}, {"program", m.program}};
}

}  // namespace

std::string forecast_text(const TrainForecast& f) {
  std::string out =
      fmt::format("{}; {} tokens a step, {} rows at once, recompute {}", f.model, f.tokens, f.part, f.recompute);
  out += f.ranks > 1 ? fmt::format(", {} ranks of {} threads\n", f.ranks, f.threads)
                     : fmt::format(", {} threads\n", f.threads);
  out += fmt::format("{}\n\n", f.data);
  out +=
      fmt::format("a step       {:>10}   {:.0f} tokens/s, {:.1f} GFLOP, {:.0f} % of {:.0f} GFLOP/s, {:.2f} GB moved\n",
                  duration(f.step_seconds), f.tokens_per_second(), f.flops / 1e9, 100 * f.peak_share(),
                  f.peak_flops / 1e9, f.bytes / 1e9);
  for (size_t i = 0; i < kReasons; ++i)
    if (f.step.seconds[i] > 0)
      out += fmt::format("  {:<14} {:>9.2f} ms {:>5.1f} %\n", name(Reason(i)), 1e3 * f.step.seconds[i],
                         100 * f.step.seconds[i] / f.step_seconds);
  out += fmt::format("\nthe run      {:>10}   {} steps", duration(f.run_seconds), f.steps);
  if (f.evaluations > 0) out += fmt::format(", {} evaluations of {}", f.evaluations, duration(f.evaluation_seconds));
  out += fmt::format(", at most {} checkpoints of {}\n\n", f.checkpoints, duration(f.checkpoint_seconds));
  out += fmt::format("memory       {:>6.0f} MiB   {:.0f} MiB are available\n", mib(f.memory.sum()), mib(f.allowed));
  for (const auto& [reason, bytes] : reasons(f.memory))
    if (bytes > 0) out += fmt::format("  {:<14} {:>9.1f} MiB\n", reason, mib(bytes));
  if (f.disk > 0)
    out +=
        fmt::format("disk         {:>6.0f} MiB   moments that are paged, read and written every step\n", mib(f.disk));
  if (!f.fits)
    out += f.settings.empty() ? "it does not fit, whatever train.part and train.recompute\n"
                              : "it does not fit; what would:\n";
  for (const FittingPart& s : f.settings)
    out += f.fits ? fmt::format("train.part can be {} at most ({:.0f} MiB)\n", s.part, mib(s.bytes))
                  : fmt::format("  train.recompute = \"{}\", train.part = {} ({:.0f} MiB)\n", s.recompute, s.part,
                                mib(s.bytes));
  return out;
}

std::string forecast_json(const TrainForecast& f) {
  JsonObject step, memory;
  for (size_t i = 0; i < kReasons; ++i) step.number(name(Reason(i)), f.step.seconds[i]);
  for (const auto& [reason, bytes] : reasons(f.memory)) memory.integer(reason, bytes);
  std::vector<std::string> settings;
  for (const FittingPart& s : f.settings)
    settings.push_back(
        JsonObject().text("recompute", s.recompute).integer("part", s.part).integer("bytes", s.bytes).str());
  return JsonObject()
      .text("model", f.model)
      .text("data", f.data)
      .integer("trained", f.trained)
      .integer("frozen", f.frozen)
      .integer("ranks", f.ranks)
      .integer("threads", f.threads)
      .text("recompute", f.recompute)
      .integer("part", f.part)
      .integer("tokens", f.tokens)
      .number("flops", f.flops)
      .number("bytes", f.bytes)
      .number("step_seconds", f.step_seconds)
      .raw("step_by_reason", step.str())
      .number("tokens_per_second", f.tokens_per_second())
      .number("peak_flops", f.peak_flops)
      .number("peak_share", f.peak_share())
      .integer("steps", f.steps)
      .number("run_seconds", f.run_seconds)
      .integer("evaluations", f.evaluations)
      .number("evaluation_seconds", f.evaluation_seconds)
      .integer("checkpoints", f.checkpoints)
      .number("checkpoint_seconds", f.checkpoint_seconds)
      .integer("peak_bytes", f.memory.sum())
      .raw("memory_by_reason", memory.str())
      .integer("moments_on_disk", f.disk)
      .integer("memory_allowed", f.allowed)
      .boolean("fits", f.fits)
      .raw("settings", json_array(settings))
      .str();
}

}  // namespace vibee
