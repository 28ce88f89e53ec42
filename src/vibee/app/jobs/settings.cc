// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/settings.h"

#include <algorithm>
#include <charconv>
#include <thread>

#include "vibee/graph/pass/pass.h"

namespace vibee {
namespace {

enum class Promise { exact, lossy };
struct Row {
  const char *option, *value;
  Promise promise;
  const char* summary;
};
constexpr Row kSettings[] = {
#define VIBEE_SETTING(option, value, promise, summary) {option, value, Promise::promise, summary},
#include "vibee/app/jobs/settings.inc"
#undef VIBEE_SETTING
};

/// The field of a config that an option sets: one of the two.
struct Field {
  const char* option;
  std::string LoadConfig::*text;
  uint32_t LoadConfig::*number;
};
constexpr Field kFields[] = {{"--threads", nullptr, &LoadConfig::threads}, {"--isa", &LoadConfig::isa, nullptr},
                             {"--chunk", nullptr, &LoadConfig::chunk},     {"--weights", &LoadConfig::weights, nullptr},
                             {"--kv", &LoadConfig::kv, nullptr},           {"--act", &LoadConfig::act, nullptr},
                             {"--bits", nullptr, &LoadConfig::bits}};

const Field* field_of(const std::string& option) {
  for (const Field& f : kFields)
    if (option == f.option) return &f;
  return nullptr;
}

/// What of this the machine does not have.
bool is_out_of_reach(const Setting& s, uint32_t cores) {
  if (s.option == "--threads") return uint32_t(std::atoi(s.value.c_str())) > cores;
  if (s.option == "--isa") return *parse_isa(s.value) > detected_isa();
  return false;
}

/// The value that is used when nothing is said.
std::string value_in(const LoadConfig& c, const std::string& option, uint32_t cores) {
  if (option == "--threads") return std::to_string(c.threads ? c.threads : cores);
  if (option == "--isa") return c.isa.empty() ? std::string(name(detected_isa())) : c.isa;
  const Field* f = field_of(option);
  return f->text ? c.*f->text : std::to_string(c.*f->number);
}

}  // namespace

std::string settings_text(const std::vector<Setting>& settings) {
  std::string out;
  for (const Setting& s : settings) out += (out.empty() ? "" : " ") + s.text();
  return out.empty() ? "the defaults" : out;
}

Status apply(const Setting& s, LoadConfig* config) {
  if (s.option == "--disable") {
    config->disable.push_back(s.value);
    return {};
  }
  const Field* f = field_of(s.option);
  if (!f) return error(Code::invalid, "{}: is no option that can be tuned", s.option);
  if (f->text) {
    if (f->text == &LoadConfig::act) config->outlier_threshold.reset();  // it is of the one that was
    config->*f->text = s.value;
    return {};
  }
  uint32_t n = 0;
  const auto [end, failed] = std::from_chars(s.value.data(), s.value.data() + s.value.size(), n);
  if (failed != std::errc() || end != s.value.data() + s.value.size() || n == 0)
    return error(Code::invalid, "{} {}: is no number from 1", s.option, s.value);
  config->*f->number = n;
  return {};
}

Status apply_defaults(const std::vector<Setting>& settings, LoadConfig* config) {
  const LoadConfig said = *config, defaults;
  for (const Setting& s : settings) {
    const Field* f = field_of(s.option);
    if (f && f->text && said.*f->text != defaults.*f->text) continue;
    if (f && f->number && said.*f->number != defaults.*f->number) continue;
    VIBEE_TRY(apply(s, config));
  }
  return {};
}

Result<std::vector<TuneOption>> tune_options(const LoadConfig& base) {
  const uint32_t cores = std::max(1u, std::thread::hardware_concurrency());
  VIBEE_ASSIGN(const Resolved plain, resolve(base));
  std::vector<TuneOption> out;
  for (const Row& row : kSettings) {
    const Setting s{row.option, row.value};
    if (is_out_of_reach(s, cores) || value_in(base, s.option, cores) == s.value) continue;
    LoadConfig with = base;
    VIBEE_TRY(apply(s, &with));
    if (!resolve(with).ok()) continue;  // not with this model
    out.push_back({s, row.summary, row.promise == Promise::exact});
  }
  VIBEE_ASSIGN(const Graph graph, Model::graph_of(plain.file, plain.config, plain.model));
  const std::string before = print(graph);
  for (const Pass& pass : all_passes()) {
    const std::string id(pass.id);
    if (std::find(plain.model.disable.begin(), plain.model.disable.end(), id) != plain.model.disable.end()) continue;
    ModelOptions without = plain.model;
    without.disable.push_back(id);
    VIBEE_ASSIGN(const Graph other, Model::graph_of(plain.file, plain.config, without));
    if (print(other) != before) out.push_back({{"--disable", id}, "without: " + std::string(pass.summary), true});
  }
  for (const SessionSwitch& s : session_switches())
    if (plain.session.*s.on && (!s.device || plain.model.device))
      out.push_back({{"--disable", std::string(s.id)}, "without: " + std::string(s.summary), true});
  return out;
}

}  // namespace vibee
