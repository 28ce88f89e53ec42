#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the release tests in random order, again and again, for MINUTES; stops at the first failure.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} =~ ^[0-9]+$ ]] || { echo "usage: tools/soak.sh MINUTES" >&2; exit 2; }
end=$((SECONDS + 60 * $1)) rounds=0
while [ "$SECONDS" -lt "$end" ]; do
  (cd build/release && ctest --schedule-random -j "$(nproc)" -LE slow --output-on-failure > soak.log 2>&1) || { cat build/release/soak.log; exit 1; }
  rounds=$((rounds + 1))
done
echo "soak: $rounds rounds in $1 minutes, no failure"
