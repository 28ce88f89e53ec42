// SPDX-License-Identifier: Apache-2.0
// What `vibee quantize` says when it is done: in words, and with --json as an object.
#pragma once

#include <string>

#include "vibee/app/jobs/quantize_any.h"
#include "vibee/app/jobs/quantize_atom.h"
#include "vibee/app/jobs/quantize_exl2.h"
#include "vibee/app/jobs/quantize_groups.h"
#include "vibee/app/jobs/quantize_quanto.h"
#include "vibee/app/jobs/quantize_torchao.h"

namespace vibee {

std::string quantized_text(const QuantizeConfig& config, const QuantizeResult& result);
std::string quantized_text(const QuantizeConfig& config, const SchemeResult<AnyPrecisionReport>& result);
std::string quantized_text(const QuantizeConfig& config, const SchemeResult<AtomReport>& result);
std::string quantized_text(const QuantizeConfig& config, const SchemeResult<Exl2Report>& result);
std::string quantized_text(const QuantizeConfig& config, const SchemeResult<GroupReport>& result);
std::string quantized_text(const QuantizeConfig& config, const SchemeResult<LinearReport>& result);

std::string quantized_json(const QuantizeConfig& config, const QuantizeResult& result);
std::string quantized_json(const QuantizeConfig& config, const SchemeResult<AnyPrecisionReport>& result);
std::string quantized_json(const QuantizeConfig& config, const SchemeResult<AtomReport>& result);
std::string quantized_json(const QuantizeConfig& config, const SchemeResult<Exl2Report>& result);
std::string quantized_json(const QuantizeConfig& config, const SchemeResult<GroupReport>& result);
std::string quantized_json(const QuantizeConfig& config, const SchemeResult<LinearReport>& result);

}  // namespace vibee
