// SPDX-License-Identifier: Apache-2.0
#include "vibee/hw/device/hardware_profile.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "vibee/base/text/edit_distance.h"

namespace vibee {
namespace {

using Json = nlohmann::json;

constexpr std::pair<std::string_view, double> kUnits[] = {
    {"count", 1}, {"FLOP", 1},   {"GHz", 1e9},   {"TFLOP/s", 1e12}, {"B", 1},     {"MiB", 0x1p20}, {"GiB", 0x1p30},
    {"GB", 1e9},  {"GB/s", 1e9}, {"TB/s", 1e12}, {"ns", 1e-9},      {"us", 1e-6}, {"W", 1},
};
constexpr std::string_view kBytes[] = {"B", "MiB", "GiB", "GB"}, kRates[] = {"GB/s", "TB/s"}, kTimes[] = {"ns", "us"},
                           kCount[] = {"count"}, kClock[] = {"GHz"}, kFlops[] = {"TFLOP/s"}, kFlop[] = {"FLOP"},
                           kWatts[] = {"W"};
constexpr std::string_view kBases[] = {"datasheet", "measured", "fitted", "derived", "assumed"};

template <class Names>
std::string nearest(std::string_view word, const Names& names) {
  std::string best;
  size_t least = SIZE_MAX;
  for (const auto& name : names) {
    const size_t far = edit_distance(word, name);
    if (far < least) least = far, best = name;
  }
  return best;
}

/// Reads objects of a text; the first thing that is wrong ends it.
class Reader {
 public:
  explicit Reader(std::string_view name) : name_(name) {}
  const Status& status() const { return status_; }

  /// An object whose keys are among `known`; `where` is its path.
  bool object(const Json& at, const std::string& where, std::initializer_list<std::string_view> known) {
    if (!status_.ok()) return false;
    if (!at.is_object()) return fail(where, "is no object");
    for (const auto& [key, value] : at.items())
      if (std::find(known.begin(), known.end(), key) == known.end())
        return fail(where, fmt::format("has an unknown key '{}'; did you mean '{}'?", key, nearest(key, known)));
    return true;
  }
  std::string text(const Json& at, const std::string& where, const char* key) {
    if (!status_.ok()) return {};
    if (!at.contains(key) || !at[key].is_string() || at[key].get<std::string>().empty()) {
      fail(where + key, "is no text");
      return {};
    }
    return at[key].get<std::string>();
  }
  uint64_t whole(const Json& at, const std::string& where, const char* key) {
    if (!status_.ok()) return 0;
    if (!at.contains(key) || !at[key].is_number_unsigned() || at[key].get<uint64_t>() == 0) {
      fail(where + key, "is no positive whole number");
      return 0;
    }
    return at[key].get<uint64_t>();
  }
  HardwareNumber number(const Json& at, const std::string& where, const char* key,
                        std::span<const std::string_view> units, bool needed = true) {
    HardwareNumber out;
    if (!status_.ok() || (!needed && !at.contains(key))) return out;
    const std::string here = where + key;
    if (!at.contains(key)) return fail(here, "is missing"), out;
    const Json& n = at[key];
    if (!object(n, here, {"v", "u", "basis", "src", "date"})) return out;
    const std::string unit = text(n, here + ".", "u");
    out.basis = text(n, here + ".", "basis");
    out.source = text(n, here + ".", "src");
    if (!status_.ok()) return out;
    if (std::find(units.begin(), units.end(), unit) == units.end())
      return fail(here, fmt::format("is in {}; use {}", unit, fmt::join(units, ", "))), out;
    if (std::find(std::begin(kBases), std::end(kBases), out.basis) == std::end(kBases))
      return fail(here, fmt::format("rests on '{}'; use {}", out.basis, fmt::join(kBases, ", "))), out;
    if (!n.contains("v") || !n["v"].is_number()) return fail(here, "has no number"), out;
    const double v = n["v"].get<double>();
    if (!(v > 0) || !std::isfinite(v)) return fail(here, fmt::format("is {}; it has to be positive", v)), out;
    out.value =
        v * std::find_if(std::begin(kUnits), std::end(kUnits), [&](const auto& u) { return u.first == unit; })->second;
    return out;
  }
  /// f(entry, its path) for the entries of a list.
  template <class F>
  void each(const Json& at, const char* key, F&& f) {
    if (!status_.ok()) return;
    if (!at.contains(key) || !at[key].is_array()) {
      fail(key, "is no list");
      return;
    }
    for (size_t i = 0; i < at[key].size() && status_.ok(); ++i) f(at[key][i], fmt::format("{}[{}]", key, i));
  }
  /// Both within 1 %.
  void agree(const std::string& where, double a, std::string_view what_a, double b, std::string_view what_b) {
    if (status_.ok() && !(std::fabs(a - b) <= 0.01 * b))
      fail(where, fmt::format("{} is {:.6g}, but {} is {:.6g}", what_a, a, what_b, b));
  }
  bool fail(const std::string& where, const std::string& what) {
    if (status_.ok()) status_ = error(Code::invalid, "{}: {} {}", name_, where, what);
    return false;
  }

 private:
  std::string name_;
  Status status_;
};

HardwareProfile::Compute read_compute(Reader& r, const Json& c, const std::string& where) {
  HardwareProfile::Compute out;
  r.object(c, where, {"unit", "dtype", "accumulator", "rate", "per_core_clock", "clock", "measured", "tiles"});
  const std::string at = where + ".";
  out.unit = r.text(c, at, "unit");
  out.dtype = r.text(c, at, "dtype");
  out.accumulator = r.text(c, at, "accumulator");
  out.rate = r.number(c, at, "rate", kFlops);
  out.per_core_clock = r.number(c, at, "per_core_clock", kFlop);
  out.clock = r.number(c, at, "clock", kClock, false);
  out.measured = r.number(c, at, "measured", kFlops, false);
  if (!r.status().ok()) return out;
  if (!c.contains("tiles") || !c["tiles"].is_array()) return r.fail(at + "tiles", "is no list"), out;
  for (const Json& tile : c["tiles"]) {
    std::array<uint32_t, 3> sizes{};
    if (!tile.is_array() || tile.size() != 3) return r.fail(at + "tiles", "are of m, n and k"), out;
    for (size_t i = 0; i < 3; ++i) {
      if (!tile[i].is_number_unsigned() || tile[i] == 0 || tile[i] > 65536)
        return r.fail(at + "tiles", "are of sizes from 1 to 65536"), out;
      sizes[i] = tile[i].get<uint32_t>();
    }
    out.tiles.push_back(sizes);
  }
  return out;
}

std::vector<HardwareProfile> builtin_profiles() {
  constexpr std::pair<std::string_view, std::string_view> kTexts[] = {
#include "vibee/hardware_profiles.inc"
  };
  std::vector<HardwareProfile> out;
  for (const auto& [id, text] : kTexts) {
    auto profile = parse_hardware_profile(text, id);
    VIBEE_CHECK(profile.ok(), "{}", profile.status().message());
    VIBEE_CHECK(profile->id == id, "data/hw/{}.json is of {}", id, profile->id);
    out.push_back(std::move(*profile));
  }
  return out;
}

}  // namespace

Result<HardwareProfile> parse_hardware_profile(std::string_view text, std::string_view name) {
  const Json j = Json::parse(text, nullptr, false);
  Reader r(name);
  if (j.is_discarded()) return error(Code::invalid, "{}: is no JSON", name);
  HardwareProfile p;
  r.object(j, "it",
           {"schema", "id", "title", "kind", "capability", "device_name", "cores", "clock", "compute", "memory",
            "links", "limits", "power"});
  if (r.whole(j, "", "schema") != 1) r.fail("schema", "is unknown; this build reads 1");
  p.id = r.text(j, "", "id");
  p.title = r.text(j, "", "title");
  p.kind = r.text(j, "", "kind");
  p.capability = r.text(j, "", "capability");
  p.device_name = r.text(j, "", "device_name");
  p.cores = r.number(j, "", "cores", kCount);
  p.clock = r.number(j, "", "clock", kClock);
  p.power = r.number(j, "", "power", kWatts);
  r.each(j, "compute", [&](const Json& c, const std::string& where) {
    p.compute.push_back(read_compute(r, c, where));
    const HardwareProfile::Compute& made = p.compute.back();
    const double clock = made.clock.given() ? made.clock.value : p.clock.value;
    r.agree(where, made.rate.value, "its rate", p.cores.value * made.per_core_clock.value * clock,
            "cores x operations a clock x clock");
  });
  r.each(j, "memory", [&](const Json& m, const std::string& where) {
    r.object(m, where, {"name", "nominal", "usable", "read", "latency", "loaded_latency"});
    const std::string at = where + ".";
    const bool own = p.memory.empty();
    HardwareProfile::Memory made{r.text(m, at, "name"),
                                 r.number(m, at, "nominal", kBytes),
                                 r.number(m, at, "usable", kBytes),
                                 r.number(m, at, "read", kRates, own),
                                 r.number(m, at, "latency", kTimes, own),
                                 r.number(m, at, "loaded_latency", kTimes, own)};
    if (r.status().ok() && made.usable.value > made.nominal.value)
      r.fail(where, fmt::format("has {:.0f} usable bytes of {:.0f}", made.usable.value, made.nominal.value));
    p.memory.push_back(std::move(made));
  });
  if (r.status().ok() && p.memory.empty()) r.fail("memory", "is empty");
  r.each(j, "links", [&](const Json& l, const std::string& where) {
    r.object(l, where, {"peer", "name", "lanes", "per_lane", "total"});
    const std::string at = where + ".";
    HardwareProfile::Link made{r.text(l, at, "peer"), r.text(l, at, "name"), uint32_t(r.whole(l, at, "lanes")),
                               r.number(l, at, "per_lane", kRates), r.number(l, at, "total", kRates)};
    r.agree(where, made.lanes * made.per_lane.value, "lanes x rate", made.total.value, "the total");
    p.links.push_back(std::move(made));
  });
  const Json limits = j.is_object() && j.contains("limits") ? j["limits"] : Json();
  r.object(limits, "limits", {"registers_per_core", "shared_per_core", "shared_per_block", "threads_per_block"});
  p.limits = {r.whole(limits, "limits.", "registers_per_core"), r.whole(limits, "limits.", "shared_per_core"),
              r.whole(limits, "limits.", "shared_per_block"), r.whole(limits, "limits.", "threads_per_block")};
  VIBEE_TRY(r.status());
  return p;
}

const HardwareProfile::Compute* HardwareProfile::find_compute(std::string_view unit, std::string_view dtype) const {
  const auto found = std::find_if(compute.begin(), compute.end(),
                                  [&](const Compute& c) { return c.unit == unit && c.dtype == dtype; });
  return found == compute.end() ? nullptr : &*found;
}

double HardwareProfile::ridge(std::string_view dtype) const {
  const Compute* const matrix = find_compute("matrix", dtype);
  return matrix ? matrix->rate.value / memory[0].read.value : 0;
}

uint64_t HardwareProfile::flight_bytes() const {
  return uint64_t(memory[0].read.value * memory[0].loaded_latency.value / cores.value);
}

std::span<const HardwareProfile> hardware_profiles() {
  static const std::vector<HardwareProfile> profiles = builtin_profiles();
  return profiles;
}

Result<const HardwareProfile*> find_hardware_profile(std::string_view id) {
  std::vector<std::string> ids;
  for (const HardwareProfile& p : hardware_profiles()) {
    if (p.id == id) return &p;
    ids.push_back(p.id);
  }
  return error(Code::not_found, "there is no hardware profile '{}'; the nearest is {}, all are {}", id,
               nearest(id, ids), fmt::join(ids, ", "));
}

const HardwareProfile* profile_of(const DeviceInfo& device) {
  const HardwareProfile* best = nullptr;
  for (const HardwareProfile& p : hardware_profiles()) {
    if (p.capability != device.capability()) continue;
    if (device.name.find(p.device_name) != std::string::npos) return &p;
    const auto far = [&](const HardwareProfile& q) {
      return std::fabs(q.memory[0].usable.value - double(device.memory_bytes));
    };
    if (!best || far(p) < far(*best)) best = &p;
  }
  return best;
}

}  // namespace vibee
