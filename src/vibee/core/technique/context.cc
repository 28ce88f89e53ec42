// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/technique/context.h"

#include <utility>

namespace vibee {

bool ContextBase::passed() const {
  for (const Finding& finding : findings_)
    if (!finding.passed) return false;
  return true;
}

void CheckContext::at_most(std::string name, double value, double bound, std::string unit, std::string note) {
  add({std::move(name), value, std::move(unit), bound, value <= bound, std::move(note)});
}

void CheckContext::at_least(std::string name, double value, double bound, std::string unit, std::string note) {
  add({std::move(name), value, std::move(unit), bound, value >= bound, std::move(note)});
}

void CheckContext::equal(std::string name, double value, double bound, std::string unit, std::string note) {
  add({std::move(name), value, std::move(unit), bound, value == bound, std::move(note)});
}

void BenchContext::figure(std::string name, double value, std::string unit, double ceiling, std::string note) {
  add({std::move(name), value, std::move(unit), ceiling, true, std::move(note)});
}

void BenchContext::target(std::string name, double value, std::string unit, double at_least, std::string note) {
  add({std::move(name), value, std::move(unit), at_least, value >= at_least, std::move(note)});
}

}  // namespace vibee
