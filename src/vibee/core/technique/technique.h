// SPDX-License-Identifier: Apache-2.0
// The row type of techniques.inc. A family folder lists its techniques there, one line each:
//   VIBEE_TECHNIQUE(id, version, summary, promise, switches, source, check, bench)
// and everything else (tree, tree check, bench, docs) is generated from the rows (docs/adding.md).
#pragma once

#include <cstdint>
#include <string_view>

#include "vibee/base/status/status.h"

namespace vibee {

class CheckContext;
class BenchContext;

/// What a technique promises about the results, compared with the same run without it.
enum class Promise : uint8_t {
  exact,           ///< the same bytes, or the stated rounding of the same numbers
  bounded,         ///< within a proved error bound
  distribution,    ///< other draws from the same distribution
  trades_quality,  ///< gives quality for speed or memory; the price is measured
  modelled,        ///< computes figures, not results
};

constexpr std::string_view name(Promise promise) {
  constexpr std::string_view names[] = {"exact", "bounded", "distribution", "trades_quality", "modelled"};
  return names[static_cast<uint8_t>(promise)];
}

struct Technique {
  std::string_view id;   ///< = file stem = name on the command line
  uint32_t version = 0;  ///< number in the tree (1645..1775), 0 for a useful row that is not one of the 131
  std::string_view summary;
  Promise promise = Promise::exact;
  std::string_view switches;  ///< how a user chooses it
  std::string_view source;    ///< paper or specification
  std::string_view folder;    ///< "src/vibee/<top>/<sub>"
  Status (*check)(CheckContext&) = nullptr;
  Status (*bench)(BenchContext&) = nullptr;
};

}  // namespace vibee
