// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/catalog/catalog.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "vibee/base/text/edit_distance.h"
#include "vibee/core/technique/context.h"

namespace vibee {
namespace {

/// data/tree.csv, one literal a line, written at configure time (cmake/tree.cmake).
constexpr std::string_view kTreeLines[] = {
#include "vibee/tree_lines.inc"
};
constexpr size_t kColumns = 9;

/// Fields of one line of CSV (RFC 4180 without line breaks inside quotes).
Result<std::vector<std::string>> split_csv(std::string_view line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted && c == '"' && i + 1 < line.size() && line[i + 1] == '"') {
      fields.back() += c;
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  if (quoted) return error(Code::corrupt, "a quote is not closed");
  return fields;
}

std::string join(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : ", ") + part;
  return out;
}

/// What the row's check says about itself.
Status describe(const Technique& technique, std::span<const std::string> devices, CatalogEntry& entry) {
  CheckContext context(RunSettings{}, true);
  Status status = technique.check(context);
  if (!status.ok()) return status;
  if (!context.findings().empty())
    return error(Code::invalid, "check_{} ran although only asked to describe", technique.id);
  entry.status = TreeStatus::runs_here;
  std::vector<std::string> needs;
  for (const DeviceNeed& need : context.device_needs())
    if (std::find(devices.begin(), devices.end(), need.device) == devices.end()) needs.push_back(text(need));
  if (!needs.empty()) {
    entry.status = TreeStatus::needs_device;
    entry.detail = join(needs);
  }
  if (!context.missing_parts().empty()) {
    entry.status = TreeStatus::partial;
    entry.detail = "not built: " + join(context.missing_parts()) + (needs.empty() ? "" : "; " + join(needs));
  }
  if (context.modelled()) entry.status = TreeStatus::modelled_only;
  return {};
}

Status fill(const Technique& technique, std::span<const std::string> devices, CatalogEntry& entry) {
  entry.technique = &technique;
  entry.folder = technique.folder;
  if (entry.promise_text.empty() || entry.promise != name(technique.promise))
    entry.promise_text = name(technique.promise);
  entry.promise = name(technique.promise);
  entry.switches = technique.switches;
  entry.summary = technique.summary;
  entry.source = technique.source;
  return describe(technique, devices, entry);
}

}  // namespace

std::string text(const DeviceNeed& need) {
  const std::string proved = need.last_proved.empty() ? "never proved" : "last proved: " + need.last_proved;
  return fmt::format("a part needs {} ({})", need.device, proved);
}

std::string_view name(TreeStatus status) {
  constexpr std::string_view names[] = {"runs here", "partial", "needs a device", "modelled only", "missing"};
  return names[static_cast<uint8_t>(status)];
}

Result<std::vector<CatalogEntry>> make_catalog(std::span<const std::string_view> tree_lines,
                                               std::span<const Technique> techniques,
                                               std::span<const std::string> devices) {
  std::map<std::string_view, const Technique*, std::less<>> by_id;
  for (const Technique& technique : techniques)
    if (!by_id.emplace(technique.id, &technique).second)
      return error(Code::invalid, "techniques.inc: two rows are called {}; ids are unique", technique.id);
  std::vector<CatalogEntry> catalog;
  for (size_t i = 1; i < tree_lines.size(); ++i) {  // line 0 names the columns
    Result<std::vector<std::string>> fields = split_csv(tree_lines[i]);
    if (!fields.ok()) return fields.take_status().within(fmt::format("data/tree.csv line {}", i + 1));
    if (fields->size() != kColumns)
      return error(Code::corrupt, "data/tree.csv line {}: {} fields instead of {}", i + 1, fields->size(), kColumns);
    std::vector<std::string>& f = *fields;
    CatalogEntry entry;
    entry.version = std::move(f[0]);
    entry.name = std::move(f[1]);
    entry.branch = std::move(f[2]);
    entry.group = std::move(f[3]);
    entry.title = std::move(f[4]);
    entry.folder = std::move(f[5]);
    entry.promise = std::move(f[6]);
    entry.promise_text = std::move(f[7]);
    entry.switches = std::move(f[8]);
    const auto row = by_id.find(entry.name);
    if (row != by_id.end()) {
      const Technique& technique = *row->second;
      if (fmt::format("v{}", technique.version) != entry.version || technique.folder != entry.folder)
        return error(Code::invalid, "techniques.inc: {} is {} of {} in data/tree.csv, its row says v{} and lies in {}",
                     technique.id, entry.version, entry.folder, technique.version, technique.folder);
      VIBEE_TRY(fill(technique, devices, entry));
      by_id.erase(row);
    }
    catalog.push_back(std::move(entry));
  }
  for (const Technique& technique : techniques) {  // in the order of the folders, not of the map
    if (!by_id.contains(technique.id)) continue;
    if (technique.version != 0)
      return error(Code::invalid,
                   "techniques.inc: {} has version {}, which is not in data/tree.csv under that name; use 0",
                   technique.id, technique.version);
    CatalogEntry entry;
    entry.name = technique.id;
    entry.branch = "other";
    entry.title = technique.summary;
    VIBEE_TRY(fill(technique, devices, entry));
    catalog.push_back(std::move(entry));
  }
  return catalog;
}

std::vector<CatalogEntry> make_catalog(std::span<const std::string> devices) {
  Result<std::vector<CatalogEntry>> catalog = make_catalog(kTreeLines, all_techniques(), devices);
  VIBEE_CHECK(catalog.ok(), "{}",
              catalog.status().message());  // built-in data: a mistake of ours, and a test finds it first
  return std::move(*catalog);
}

Result<const CatalogEntry*> find_entry(std::span<const CatalogEntry> catalog, std::string_view id) {
  const CatalogEntry* nearest = nullptr;
  size_t distance = 4;  // farther is no likely slip of the fingers
  for (const CatalogEntry& entry : catalog) {
    if (id == entry.name ||
        (!entry.version.empty() && (id == entry.version || id == std::string_view(entry.version).substr(1))))
      return &entry;
    const size_t d = id.size() > 64 ? distance : edit_distance(id, entry.name);
    if (d < distance) {
      distance = d;
      nearest = &entry;
    }
  }
  if (nearest != nullptr)
    return error(Code::not_found, "there is no technique '{}'; did you mean {}?", id, nearest->name);
  return error(Code::not_found, "there is no technique '{}'; `vibee tree --grep WORD` searches them", id);
}

}  // namespace vibee
