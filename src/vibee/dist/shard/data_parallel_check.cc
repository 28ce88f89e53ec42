// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_training.h"

namespace vibee {

Status check_data_parallel(CheckContext& context) {
  context.not_built("ZeRO 1 to 3 (--zero)");
  context.not_built("bf16 buckets, hierarchical reductions, local SGD");
  context.not_built("ranks on several machines (vibee launch starts them on one)");
  context.not_built("goldens of torch DDP");
  if (context.describe_only()) return {};

  size_t verified = 0, programs = 0;
  for (uint32_t ranks = 1; ranks <= 16; ++ranks)
    for (uint32_t shares = ranks; shares <= 2 * ranks + 1; ++shares, ++programs)
      verified += verify(direct_all_reduce(shares, ranks)).ok();
  context.equal("programs of 1 to 16 ranks that are the tree's sum", double(verified), double(programs));

  // (ranks, shares, rows, masked row): even, uneven, a share whose rows have nothing to be learnt.
  struct Case {
    uint32_t ranks, shares, rows, masked;
  };
  for (const Case c :
       {Case{1, 1, 2, UINT32_MAX}, {2, 2, 4, UINT32_MAX}, {2, 3, 3, UINT32_MAX}, {3, 4, 5, UINT32_MAX}, {4, 4, 4, 3}}) {
    TrialTraining trial;
    trial.options.shares = c.shares;
    trial.options.clip = 0.5;
    trial.rows = c.rows;
    trial.masked = c.masked;
    trial.steps = 20;
    VIBEE_ASSIGN(const TrialTraining::Run one, trial.run(0));
    VIBEE_ASSIGN(const TrialTraining::Run ranks, trial.run(c.ranks));
    context.equal(fmt::format("{} rows in {} shares on {} ranks, 20 steps: bytes equal to one rank's{}", c.rows,
                              c.shares, c.ranks, c.masked < c.rows ? ", one share masked" : ""),
                  ranks.state == one.state, 1);
    if (!context.proceed("training", 0.5)) return error(Code::cancelled, "stopped");
  }
  TrialTraining other;
  other.options.shares = 2;
  VIBEE_ASSIGN(const TrialTraining::Run two, other.run(0));
  other.rows = 3;
  VIBEE_ASSIGN(const TrialTraining::Run three, other.run(0));
  context.equal("other rows give other bytes", two.state != three.state, 1);
  return {};
}

}  // namespace vibee
