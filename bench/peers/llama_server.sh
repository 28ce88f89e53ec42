#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `vibee serve` beside llama.cpp's llama-server on this machine: both are started alternately on the same model file, each sees a workload
# of `vibee bench serve`, and is stopped. Prints a table, with --json an object; --record writes bench/results/llama_server-DATE.json.
#   --workload W   of `vibee bench serve` (W-32)            --pairs N        interleaved runs of each (5)
#   --model M      of `vibee list`, or a file               --only vibee|peer
#   --vibee-args "..."   more of `vibee serve`              --bench-args "..."   more of `vibee bench serve`
set -euo pipefail
cd "$(dirname "$0")/../.."
model=smollm2-135m bin= args=()
while [ $# -gt 0 ]; do
  case $1 in
    --json) args+=(--json) ;;
    --record) args+=(--out "bench/results/llama_server-$(date -u +%Y-%m-%d).json") ;;
    --model) model=$2; shift ;;
    --bin) bin=$2; shift ;;
    --workload|--pairs|--only|--threads|--slots|--context|--vibee-args|--bench-args) args+=("$1=$2"); shift ;;
    *) sed -n '3,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift
done
vibee=build/release/bin/vibee
[ -x "$vibee" ] || { echo "build first: make build" >&2; exit 1; }
[ -n "$bin" ] || bin=$(bench/peers/build_llama_cpp.sh llama-server)
if [ ! -e "$model" ]; then
  "$vibee" pull "$model" > /dev/null
  model=$("$vibee" list --json | python3 -c 'import json,sys; print(next(m["path"] for m in json.load(sys.stdin) if m["name"]==sys.argv[1]))' "$model")
fi
exec python3 bench/peers/servers.py --vibee "$vibee" --bin "$bin" "${args[@]}" "$model"
