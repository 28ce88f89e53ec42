// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/traffic/presets.h"

#include <algorithm>

namespace vibee {
namespace {

Lengths lengths(std::string_view text) {
  Result<Lengths> parsed = parse_lengths(text);
  VIBEE_CHECK(parsed.ok(), "{}", text);
  return std::move(*parsed);
}

LatencyLimits interactive() {
  LatencyLimits limits;
  limits.ttft = 1.5;
  limits.tpot = 0.08;
  return limits;
}

TrafficConfig one_part(WorkloadConfig workload, Arrivals arrivals) {
  TrafficConfig c;
  c.parts = {PartConfig{"requests", std::move(workload), arrivals, false}};
  return c;
}

Arrivals closed(uint32_t clients) {
  Arrivals a;
  a.clients = clients;
  return a;
}

Arrivals at_rate(double rate, double burstiness = 1) {
  Arrivals a;
  a.kind = Arrivals::Kind::rate;
  a.rate = a.rate_end = rate;
  a.burstiness = burstiness;
  return a;
}

WorkloadConfig assistants(uint32_t conversations) {
  WorkloadConfig w;
  w.conversations = conversations;
  w.prefix = 150;
  w.prompt = lengths("30");
  w.output = lengths("64");
  return w;
}

TrafficConfig preset_w32() { return one_part(assistants(160), closed(32)); }

TrafficConfig preset_open() {
  TrafficConfig c = one_part(assistants(200), at_rate(4));
  c.warmup = 4;
  c.limits = interactive();
  return c;
}

TrafficConfig preset_mix() {
  WorkloadConfig w = assistants(320);
  w.prefix = 400;
  w.groups = 16;
  w.zipf = 1;
  TrafficConfig c = one_part(w, closed(64));
  c.limits = interactive();
  return c;
}

// Quantiles and the variation of gaps of the two traces that Azure published for Splitwise (ISCA 2024), CC-BY; the ends
// beyond the 1st and 99th percentile are cut. The traces themselves are read by --file.
TrafficConfig preset_chat() {
  WorkloadConfig w;
  w.conversations = 200;
  w.prompt = lengths("quantiles:0=100,0.1=207,0.25=396,0.5=1020,0.75=1189,0.9=2735,0.99=4142,1=4200");
  w.output = lengths("quantiles:0=20,0.1=54,0.25=85,0.5=129,0.75=395,0.9=424,0.99=601,1=700");
  w.length_scale = 1.0 / 8;
  TrafficConfig c = one_part(w, at_rate(4, 1 / (1.09 * 1.09)));
  c.limits = interactive();
  return c;
}

TrafficConfig preset_code() {
  WorkloadConfig w;
  w.conversations = 200;
  w.prompt = lengths("quantiles:0=50,0.1=147,0.25=578,0.5=1469,0.75=2745,0.9=5194,0.99=7436,1=7500");
  w.output = lengths("quantiles:0=5,0.1=7,0.25=9,0.5=13,0.75=24,0.9=55,0.99=252,1=300");
  w.length_scale = 1.0 / 8;
  TrafficConfig c = one_part(w, at_rate(1, 1 / (13.0 * 13.0)));
  c.limits = interactive();
  return c;
}

TrafficConfig preset_long() {
  TrafficConfig c;
  c.parts.resize(2);
  PartConfig& prompts = c.parts[0];
  prompts.name = "long prompts";
  prompts.workload.conversations = 5;
  prompts.workload.prompt = lengths("4096");
  prompts.workload.output = lengths("16");
  prompts.arrivals = at_rate(1.0 / 20, 1e6);  // hardly any variation: one every 20 s
  PartConfig& streams = c.parts[1];
  streams.name = "streams";
  streams.background = true;
  streams.arrivals = closed(8);
  streams.workload.conversations = 32;
  streams.workload.prompt = lengths("64");
  streams.workload.output = lengths("512");
  return c;
}

TrafficConfig preset_agent() {
  WorkloadConfig w;
  w.conversations = 8;
  w.turns = 20;
  w.prompt = lengths("136");
  w.output = lengths("64");
  return one_part(w, closed(8));
}

constexpr Preset kPresets[] = {
#define VIBEE_PRESET(id, summary, name) {id, summary, preset_##name},
#include "vibee/app/traffic/presets.inc"
#undef VIBEE_PRESET
};

}  // namespace

std::span<const Preset> all_presets() { return kPresets; }

Result<const Preset*> find_preset(std::string_view id) {
  std::string known;
  for (const Preset& p : kPresets) {
    if (p.id == id) return &p;
    known += (known.empty() ? "" : ", ") + std::string(p.id);
  }
  return error(Code::invalid, "--workload {}: unknown; there are {}", id, known);
}

}  // namespace vibee
