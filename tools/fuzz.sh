#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Replays every fuzz target's committed corpus (fuzz/<target>/), then fuzzes it for SECONDS, under the address and undefined
# sanitizers. With --record the figures go to bench/results/fuzz-DATE.json. A finding is left in build/fuzz/findings and is exit 1.
set -euo pipefail
cd "$(dirname "$0")/.."
usage() { echo "usage: tools/fuzz.sh SECONDS [--record] [TARGET...]" >&2; exit 2; }
[[ ${1:-} =~ ^[0-9]+$ ]] || usage
seconds=$1; shift
record=
[ "${1:-}" = --record ] && { record=1; shift; }

cmake --preset asan > /dev/null  # whose libraries are instrumented for both
if [ $# -gt 0 ]; then targets=("$@"); else
  mapfile -t targets < <(find src -name '*_fuzz.cc' -exec basename {} .cc \; | sort)
fi
[ ${#targets[@]} -gt 0 ] || { echo "no fuzz targets"; exit 0; }
ninja $([ -t 1 ] || echo --quiet) -C build/asan -j "$(nproc)" "${targets[@]}"
mkdir -p build/fuzz/findings

limits=(-rss_limit_mb=2048 -malloc_limit_mb=1024 -timeout=10 -print_final_stats=1)
fuzz_one() {  # target: replay, then fuzz; prints one line, writes its figures to build/fuzz/<target>.json
  local target=$1 seeds=fuzz/$1 found=build/fuzz/corpus/$1 log=build/fuzz/$1.log
  [ -n "$(ls -A "$seeds" 2> /dev/null)" ] || { echo "tools/fuzz.sh: $seeds has no committed corpus" >&2; return 1; }
  mkdir -p "$found"
  local run=(build/asan/bin/"$target" "${limits[@]}" -artifact_prefix=build/fuzz/findings/"$target"-)
  if ! "${run[@]}" -runs=0 "$seeds" > "$log" 2>&1 || ! "${run[@]}" -max_total_time="$seconds" "$found" "$seeds" > "$log" 2>&1; then
    tail -n 40 "$log" >&2
    echo "tools/fuzz.sh: $target has a finding; input in build/fuzz/findings, log in $log" >&2
    return 1
  fi
  local inputs peak paths
  inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  peak=$(sed -n 's/^stat::peak_rss_mb: *//p' "$log")
  paths=$(ls "$found" "$seeds" | grep -c .)
  printf '  %-28s %10s inputs  %6s paths  %5s MiB  no finding\n' "$target" "$inputs" "$paths" "$peak"
  printf '{"target": "%s", "seconds": %s, "inputs": %s, "paths": %s, "peak_mib": %s, "findings": 0}' \
    "$target" "$seconds" "$inputs" "$paths" "$peak" > "build/fuzz/$target.json"
}

# As many at a time as there are cores.
failed=0 running=0
for target in "${targets[@]}"; do
  if [ "$running" -ge "$(nproc)" ]; then wait -n || failed=1; running=$((running - 1)); fi
  fuzz_one "$target" & running=$((running + 1))
done
while [ "$running" -gt 0 ]; do wait -n || failed=1; running=$((running - 1)); done
[ "$failed" -eq 0 ] || exit 1

if [ -n "$record" ]; then
  mkdir -p bench/results
  out=bench/results/fuzz-$(date -u +%Y-%m-%d).json
  {
    printf '{"date": "%s", "commit": "%s", "sanitizers": "address,undefined", "targets": [' "$(date -u +%F)" "$(git rev-parse --short HEAD)"
    separator='\n  '
    for target in "${targets[@]}"; do printf "$separator%s" "$(cat "build/fuzz/$target.json")"; separator=',\n  '; done
    printf '\n]}\n'
  } > "$out"
  echo "wrote $out"
fi
