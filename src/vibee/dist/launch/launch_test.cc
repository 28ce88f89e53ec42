// SPDX-License-Identifier: Apache-2.0
#include "vibee/dist/launch/launch.h"

#include <gtest/gtest.h>

namespace vibee {
namespace {

const std::string kDashes(74, '-');

TEST(LaunchLines, NamesTheRankThatASignalEnded) {
  LaunchLines lines;
  for (const std::string& line :
       {kDashes, std::string("Primary job  terminated normally, but 1 process returned"),
        std::string("a non-zero exit code. Per user-direction, the job has been aborted."), kDashes, kDashes,
        std::string("mpirun noticed that process rank 2 with PID 4711 on node here exited on signal 9 (Killed)."),
        kDashes})
    EXPECT_FALSE(lines.take(line)) << line;
  EXPECT_EQ(lines.lost(), "rank 2 was ended by signal 9 (Killed)");
  LaunchLines two_lines;
  two_lines.take(kDashes);
  two_lines.take("mpirun noticed that process rank 11 with PID 1 on node");
  two_lines.take("a-long-name exited on signal 15 (Terminated).");
  EXPECT_EQ(two_lines.lost(), "rank 11 was ended by signal 15 (Terminated)");
}

TEST(LaunchLines, SaysOnceWhatAllRanksSay) {
  LaunchLines lines;
  EXPECT_TRUE(lines.take("step 1 of 2"));
  EXPECT_TRUE(lines.take("step 1 of 2"));
  EXPECT_FALSE(lines.rank_spoke());
  EXPECT_TRUE(lines.take("vibee train: no such file"));
  EXPECT_FALSE(lines.take("vibee train: no such file"));
  EXPECT_TRUE(lines.take("vibee train: another"));
  EXPECT_FALSE(lines.take(""));
  EXPECT_FALSE(lines.take("mpirun: Forwarding signal 10 to job"));
  EXPECT_TRUE(lines.rank_spoke());
  EXPECT_EQ(lines.lost(), "");
  lines.take(kDashes);
  lines.take("There are not enough slots");
  lines.take("available.");
  lines.take(kDashes);
  EXPECT_EQ(lines.said(), "There are not enough slots available.");
}

}  // namespace
}  // namespace vibee
