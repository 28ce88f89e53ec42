// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace vibee {

/// Seconds that the threads of this process were ready to run and had no core, all together so far: what others took.
/// 0 where the system does not count it.
double run_delay();

}  // namespace vibee
