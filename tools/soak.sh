#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs a server under load and planted faults for SERVER minutes (tests/soak.py, recorded in bench/results), then the release tests in
# random order, again and again, for TESTS minutes; stops at the first failure.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} =~ ^[0-9]+$ && ${2:-} =~ ^[0-9]+$ ]] || { echo "usage: tools/soak.sh SERVER TESTS (minutes; 0: not)" >&2; exit 2; }
if [ "$1" -gt 0 ]; then
  vibee=build/release/bin/vibee
  "$vibee" pull smollm2-135m > /dev/null
  out=bench/results/soak-$(date -u +%F).json
  python3 tests/soak.py "$vibee" smollm2-135m --minutes "$1" --clients 4 --pause 0.5 --adapters --faults build/release/lib/libfault_inject.so --record "$out" \
    > /dev/null || { cat "$out" >&2; exit 1; }
  echo "soak: a server for $1 minutes, $out"
fi
end=$((SECONDS + 60 * $2)) rounds=0
while [ "$SECONDS" -lt "$end" ]; do
  (cd build/release && ctest --schedule-random -j "$(nproc)" -LE slow --output-on-failure > soak.log 2>&1) || { cat build/release/soak.log; exit 1; }
  rounds=$((rounds + 1))
done
[ "$2" = 0 ] || echo "soak: $rounds rounds of the tests in $2 minutes, no failure"
