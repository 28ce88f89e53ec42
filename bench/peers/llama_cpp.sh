#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# VIBEE beside llama.cpp on this machine: builds llama.cpp from the source package of llama-cpp-python (once, native flags), makes a
# Q8_0 of SmolLM2 with its llama-quantize, and runs both alternately. Prints a table, with --json an object; --record writes
# bench/results/llama_cpp-DATE.json. --bin DIR uses a llama.cpp that is built already. Takes about ten minutes after the first build.
set -euo pipefail
cd "$(dirname "$0")/../.."
json= record= bin= pairs=7 threads=$(nproc)
while [ $# -gt 0 ]; do
  case $1 in
    --json) json=--json ;;
    --record) record=1 ;;
    --bin) bin=$2; shift ;;
    --pairs) pairs=$2; shift ;;
    --threads) threads=$2; shift ;;
    *) echo "usage: bench/peers/llama_cpp.sh [--json] [--record] [--bin DIR] [--pairs N] [--threads N]" >&2; exit 2 ;;
  esac
  shift
done
cache=${XDG_CACHE_HOME:-$HOME/.cache}/vibee/peers
vibee=build/release/bin/vibee
[ -x "$vibee" ] || { echo "build first: make build" >&2; exit 1; }

[ -n "$bin" ] || bin=$(bench/peers/build_llama_cpp.sh llama-bench llama-batched-bench llama-quantize llama-simple llama-perplexity)

for model in smollm2-135m gemma3-270m; do "$vibee" pull "$model" > /dev/null; done
path_of() { "$vibee" list --json | python3 -c 'import json,sys; print(next(m["path"] for m in json.load(sys.stdin) if m["name"]==sys.argv[1]))' "$1"; }
mkdir -p "$cache"
q8=$cache/smollm2-135m-q8_0.gguf
[ -e "$q8" ] || { "$bin/llama-quantize" --allow-requantize "$(path_of smollm2-135m)" "$q8.part" Q8_0 "$threads" > "$cache/quantize.log" 2>&1; mv "$q8.part" "$q8"; }
out=()
[ -n "$record" ] && out=(--out "bench/results/llama_cpp-$(date -u +%Y-%m-%d).json")
exec python3 bench/peers/llama_cpp.py --vibee "$vibee" --bin "$bin" --pairs "$pairs" --threads "$threads" $json "${out[@]}" \
  "smollm2-135m Q4_1=$(path_of smollm2-135m)" "smollm2-135m Q8_0=$q8" "gemma3-270m Q4_K_M=$(path_of gemma3-270m)"
