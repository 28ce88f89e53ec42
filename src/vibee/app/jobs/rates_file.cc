// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/rates_file.h"

#include <ctime>
#include <filesystem>

#include "vibee/app/jobs/tuned_file.h"
#include "vibee/base/memory/huge_buffer.h"
#include "vibee/base/text/json_object.h"
#include "vibee/base/text/quote.h"
#include "vibee/hw/device/probe.h"
#include "vibee/model/weight/json.h"
#include "vibee/plan/train/measure_rates.h"
#include "vibee/version.h"

namespace vibee {
namespace {

constexpr size_t kMostPoints = 100'000, kMostGrids = 1000;
constexpr double kMostSeconds = 3600;

std::string own_version() { return fmt::format("{} rates 3", kVersion); }

std::string list(const std::vector<double>& numbers) {
  std::vector<std::string> out;
  for (const double n : numbers) out.push_back(fmt::format("{}", n));
  return json_array(out);
}

/// Positive numbers, at most `most`.
Result<std::vector<double>> numbers(const JsonValue* v, const std::string& what, double most) {
  const Status wrong = error(Code::invalid, "{} is no list of positive numbers", what);
  if (v == nullptr || !v->is(JsonValue::Kind::array) || v->items.empty() || v->items.size() > kMostPoints) return wrong;
  std::vector<double> out;
  for (const JsonValue& item : v->items) {
    if (!item.is_number() || !(item.number > 0 && item.number <= most)) return wrong;
    out.push_back(item.number);
  }
  return out;
}

Result<RateGrid> grid(const std::string& kind, const JsonValue& v) {
  const std::string said = quote(kind, 40);
  RateGrid out;
  const JsonValue* axes = v.find("sizes");
  if (axes == nullptr || !axes->is(JsonValue::Kind::array) || axes->items.size() != axes_of(kind))
    return error(Code::invalid, "{}: sizes are {} lists", said, axes_of(kind));
  size_t points = 1;
  for (const JsonValue& axis : axes->items) {
    VIBEE_ASSIGN(std::vector<double> sizes, numbers(&axis, fmt::format("{}: sizes", said), 1e15));
    for (size_t i = 1; i < sizes.size(); ++i)
      if (sizes[i] <= sizes[i - 1]) return error(Code::invalid, "{}: sizes do not ascend", said);
    points *= sizes.size();
    if (points > kMostPoints) return error(Code::invalid, "{}: more than {} points", said, kMostPoints);
    out.axes.push_back(std::move(sizes));
  }
  VIBEE_ASSIGN(out.rates, numbers(v.find("seconds"), fmt::format("{}: seconds", said), kMostSeconds));
  if (out.rates.size() != points)
    return error(Code::invalid, "{}: {} rates for {} points", said, out.rates.size(), points);
  return out;
}

Result<std::string> path_of(const MachineRates& wanted) {
  return tuned_path({fmt::format("machine/{} {}", wanted.cpu, wanted.isa), 0, wanted.cpu},
                    fmt::format("{}.rates.json", wanted.threads));
}

MachineRates wanted_rates(uint32_t threads) {
  MachineRates wanted;
  wanted.cpu = cpu_name();
  wanted.isa = name(detected_isa());
  wanted.version = own_version();
  wanted.threads = threads;
  return wanted;
}

Result<MachineRates> kept(const std::string& path, const MachineRates& wanted) {
  VIBEE_ASSIGN(const std::string text, read_tuned(path));
  VIBEE_ASSIGN(MachineRates found, parse_rates(text, path));
  if (found.cpu != wanted.cpu || found.isa != wanted.isa || found.threads != wanted.threads ||
      found.version != wanted.version)
    return error(Code::not_found, "{}: is of another machine or version", path);
  return found;
}

}  // namespace

std::string rates_text(const MachineRates& r) {
  JsonObject grids;
  for (const auto& [kind, grid] : r.grids) {
    std::vector<std::string> axes;
    for (const std::vector<double>& axis : grid.axes) axes.push_back(list(axis));
    grids.raw(kind, JsonObject().raw("sizes", json_array(axes)).raw("seconds", list(grid.rates)).str());
  }
  return JsonObject()
             .text("cpu", r.cpu)
             .text("isa", r.isa)
             .integer("threads", r.threads)
             .text("version", r.version)
             .text("date", r.date)
             .raw("fma_flops", fmt::format("{}", r.fma_flops))
             .raw("barrier", fmt::format("{}", r.barrier))
             .raw("cache", fmt::format("{}", r.cache))
             .raw("read_rate", fmt::format("{}", r.read_rate))
             .raw("own_cache", fmt::format("{}", r.own_cache))
             .raw("cache_rate", fmt::format("{}", r.cache_rate))
             .raw("grids", grids.str())
             .str() +
         "\n";
}

Result<MachineRates> parse_rates(std::string_view text, const std::string& name) {
  const auto json = parse_json(text);
  if (!json.ok()) return error(Code::invalid, "{}: {}", name, json.status().message());
  MachineRates out;
  for (const auto& [key, to] : {std::pair("cpu", &out.cpu), std::pair("isa", &out.isa),
                                std::pair("version", &out.version), std::pair("date", &out.date)}) {
    const JsonValue* v = json->find(key);
    if (v == nullptr || !v->is(JsonValue::Kind::text))
      return error(Code::invalid, "{}: \"{}\" is missing or no text", name, key);
    *to = v->text;
  }
  const JsonValue* threads = json->find("threads");
  if (threads == nullptr || !threads->is(JsonValue::Kind::integer) || threads->integer < 1 || threads->integer > 65536)
    return error(Code::invalid, "{}: \"threads\" is no number from 1 to 65536", name);
  out.threads = uint32_t(threads->integer);
  for (const auto& [key, to, most] :
       {std::tuple("fma_flops", &out.fma_flops, 1e18), std::tuple("barrier", &out.barrier, kMostSeconds),
        std::tuple("cache", &out.cache, 1e15), std::tuple("read_rate", &out.read_rate, 1e18),
        std::tuple("own_cache", &out.own_cache, 1e15), std::tuple("cache_rate", &out.cache_rate, 1e18)}) {
    const JsonValue* v = json->find(key);
    if (v == nullptr || !v->is_number() || !(v->number > 0 && v->number <= most))
      return error(Code::invalid, "{}: \"{}\" is missing or no positive number", name, key);
    *to = v->number;
  }
  const JsonValue* grids = json->find("grids");
  if (grids == nullptr || !grids->is(JsonValue::Kind::object) || grids->items.size() > kMostGrids)
    return error(Code::invalid, "{}: \"grids\" is missing or no object", name);
  for (size_t i = 0; i < grids->items.size(); ++i) {
    auto found = grid(grids->names[i], grids->items[i]);
    if (!found.ok()) return found.take_status().within(name);
    out.grids[grids->names[i]] = std::move(*found);
  }
  for (const std::string_view kind : needed_rates())
    if (!out.has(kind)) return error(Code::invalid, "{}: has no rate of \"{}\"", name, kind);
  return out;
}

Result<MachineRates> kept_rates(uint32_t threads) {
  const MachineRates wanted = wanted_rates(threads);
  VIBEE_ASSIGN(const std::string path, path_of(wanted));
  auto found = kept(path, wanted);
  return found.ok() ? std::move(found) : error(Code::not_found, "{}: {}", path, found.status().message());
}

Result<MachineRates> machine_rates(uint32_t threads, bool again,
                                   const std::function<bool(std::string_view)>& progress) {
  const MachineRates wanted = wanted_rates(threads);
  VIBEE_ASSIGN(const std::string path, path_of(wanted));
  if (!again) {
    auto found = kept(path, wanted);
    if (found.ok()) return found;
  }
  const std::string folder = std::filesystem::path(path).parent_path().string();
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) return error(Code::io, "{}: {}", folder, failed.message());
  VIBEE_ASSIGN(MachineRates rates, measure_rates(threads, detected_isa(), folder, progress));
  rates.version = wanted.version;
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char date[32];
  std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
  rates.date = date;
  VIBEE_TRY(write_tuned(path, rates_text(rates)));
  return_free_memory();
  return rates;
}

}  // namespace vibee
