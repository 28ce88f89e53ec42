// SPDX-License-Identifier: Apache-2.0
// vibee quantize --scheme atom: a directory whose linears multiply rows of four bits (compress/quantize/atom.h).
#pragma once

#include "vibee/app/jobs/quantize_scheme.h"
#include "vibee/compress/quantize/atom_model.h"

namespace vibee {

/// Takes --calib, which it needs, and --group.
Result<SchemeResult<AtomReport>> quantize_atom(const QuantizeConfig& config, const OnWork& on_work);

}  // namespace vibee
