// SPDX-License-Identifier: Apache-2.0
// Ranks that are processes started by Open MPI (mpirun, or `vibee launch`): its sends and receives, and nothing else of
// it. The library is loaded where a process is such a rank, so that no other run pays for it or needs it.
#pragma once

#include <memory>
#include <optional>

#include "vibee/dist/transport/transport.h"

namespace vibee {

struct MpiRank {
  uint32_t rank, size, on_machine;  ///< ranks of the job, and those of them on this machine
};
/// What Open MPI's launcher told this process; nothing where it was not started by one.
std::optional<MpiRank> mpi_rank();

/// Joins the job; once a process. A rank that is not heard of for kSilence is lost: it hangs, or its machine is gone.
inline constexpr double kSilence = 6;  ///< seconds
Result<std::unique_ptr<Transport>> mpi_transport();

}  // namespace vibee
