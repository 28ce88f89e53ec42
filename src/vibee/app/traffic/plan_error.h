// SPDX-License-Identifier: Apache-2.0
// How far a plan was from the run that it planned.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vibee/app/traffic/measures.h"

namespace vibee {

/// What was measured: of the JSON of `vibee bench serve`, figures by the names that they have there.
struct PlanReference {
  std::vector<std::pair<std::string, double>> figures;
};
Result<PlanReference> parse_plan_reference(std::string_view json, const std::string& name);

struct PlanError {
  struct Figure {
    std::string name;
    double measured = 0, planned = 0;
    double bound = 0;  ///< of the error, as a share: 10 % of medians and rates, 15 % of 95th percentiles
    double error() const { return measured > 0 ? planned / measured - 1 : 0; }
    bool within() const { return error() <= bound && error() >= -bound; }
  };
  std::vector<Figure> figures;
};
PlanError plan_error(const PlanReference& measured, const Measures& planned);
std::string plan_error_text(const PlanError& error);
std::string plan_error_json(const PlanError& error);

}  // namespace vibee
