// SPDX-License-Identifier: Apache-2.0
// vibee quantize --scheme atom: a directory whose linears multiply rows of four bits (compress/quantize/atom.h).
#pragma once

#include "vibee/app/jobs/quantize.h"
#include "vibee/compress/quantize/atom_model.h"

namespace vibee {

struct AtomResult {
  std::string source;
  AtomReport report;
  std::vector<std::string> warnings;
  double seconds = 0;
};

/// Of the configuration: source, target (a directory that is not there yet), group, calibration, context, threads.
/// Refuses the rest.
Result<AtomResult> quantize_atom(const QuantizeConfig& config, const OnWork& on_work);

}  // namespace vibee
