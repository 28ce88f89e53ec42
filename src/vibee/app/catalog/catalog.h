// SPDX-License-Identifier: Apache-2.0
// The tree: the 131 techniques of data/tree.csv joined with the rows that are built. Nobody writes a status down: it is
// computed from whether there is a row, and from what the row's check says is not built, needs a device or is modelled.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/core/technique/context.h"
#include "vibee/core/technique/technique.h"

namespace vibee {

enum class TreeStatus : uint8_t { runs_here, partial, needs_device, modelled_only, missing };
inline constexpr TreeStatus kTreeStatuses[] = {TreeStatus::runs_here, TreeStatus::partial, TreeStatus::needs_device,
                                               TreeStatus::modelled_only, TreeStatus::missing};
std::string_view name(TreeStatus status);
/// "a part needs cuda (last proved: H100, 2026-05-01)".
std::string text(const DeviceNeed& need);

/// One line of `vibee tree`.
struct CatalogEntry {
  std::string version;       ///< "v1671"; empty for a row that is not one of the 131
  std::string name;          ///< "memory_efficient_attn", the name everywhere
  std::string branch;        ///< one of the nine; "other" outside the tree
  std::string group, title;  ///< as in data/tree.csv
  std::string folder;        ///< "src/vibee/kernels/attention"
  std::string promise;       ///< exact, bounded, distribution, trades_quality, modelled
  std::string promise_text;  ///< the promise in words
  TreeStatus status = TreeStatus::missing;
  std::string detail;  ///< why the status is not "runs here", in words
  std::string switches, summary, source;
  const Technique* technique = nullptr;  ///< nullptr: missing
};

/// All rows of all families, in the order of their folders.
std::span<const Technique> all_techniques();

/// The 131 in the order of the tree, then rows outside it. `devices` are the devices of this machine ("cuda", ...): a
/// technique that needs another one says so. The same arguments give the same catalog.
std::vector<CatalogEntry> make_catalog(std::span<const std::string> devices);

/// The same from given lines of tree.csv and given rows; an error names the line.
Result<std::vector<CatalogEntry>> make_catalog(std::span<const std::string_view> tree_lines,
                                               std::span<const Technique> techniques,
                                               std::span<const std::string> devices);

/// By name, "v1671" or "1671"; an error says what was probably meant.
Result<const CatalogEntry*> find_entry(std::span<const CatalogEntry> catalog, std::string_view id);

/// docs/techniques.md. It does not depend on the machine when the catalog was made without devices.
std::string catalog_markdown(std::span<const CatalogEntry> catalog);
/// An array of objects, one a line. Entries outside the tree have an empty id.
std::string catalog_json(std::span<const CatalogEntry> catalog);

}  // namespace vibee
