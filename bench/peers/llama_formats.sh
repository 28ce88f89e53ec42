#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Number formats beside llama.cpp: prompt and generation of SmolLM2 and Gemma 3 in Q4_0, Q8_0 and MXFP4, of random weights in the shape
# of Llama-3.2-1B in K-quants, each file run by both alternately; and vibee quantize beside llama-quantize. Prints a table, --record
# writes bench/results/llama_formats-DATE.json. --bin DIR uses a llama.cpp that is built already; --pairs N; --large no: without the
# 1B shape; --act FORM: how rows meet the weights of vibee's runs.
set -euo pipefail
cd "$(dirname "$0")/../.."
record= bin= pairs=7 threads=$(nproc) large=yes act=int8
while [ $# -gt 0 ]; do
  case $1 in
    --record) record=1 ;;
    --bin) bin=$2; shift ;;
    --pairs) pairs=$2; shift ;;
    --threads) threads=$2; shift ;;
    --large) large=$2; shift ;;
    --act) act=$2; shift ;;
    *) echo "usage: bench/peers/llama_formats.sh [--record] [--bin DIR] [--pairs N] [--threads N] [--large yes|no] [--act FORM]" >&2; exit 2 ;;
  esac
  shift
done
vibee=build/release/bin/vibee
[ -x "$vibee" ] || { echo "build first: make build" >&2; exit 1; }
[ -n "$bin" ] || bin=$(bench/peers/build_llama_cpp.sh llama-bench llama-quantize)
work=${XDG_CACHE_HOME:-$HOME/.cache}/vibee/peers/formats
mkdir -p "$work"
entries=()
make_file() {  # MODEL SOURCE FORMAT: every matrix in the one format, or what takes its place
  local path=$work/$1-$3.gguf
  [ -e "$path" ] || "$vibee" quantize "$2" "$path" --format "$3" --pure > /dev/null
  entries+=("$1 $3=$path")
}
for model in smollm2-135m gemma3-270m; do
  "$vibee" pull "$model" > /dev/null || { echo "$model could not be fetched" >&2; continue; }
  for format in q4_0 q8_0 mxfp4; do make_file "$model" "$model" "$format"; done
done
if [ "$large" = yes ]; then
  [ -e "$work/llama-1b/tokenizer_config.json" ] || python3 bench/peers/random_llama.py "$work/llama-1b"
  for format in q4_k q5_k q6_k q3_k q2_k; do make_file llama-1b "$work/llama-1b" "$format"; done
fi
f16=$work/smollm2-135m-f16.gguf
[ -e "$f16" ] || "$vibee" convert smollm2-135m "$f16" --format f16 > /dev/null
out=()
[ -n "$record" ] && out=(--out "bench/results/llama_formats-$(date -u +%Y-%m-%d).json")
exec python3 bench/peers/llama_cpp.py --vibee "$vibee" --bin "$bin" --pairs "$pairs" --threads "$threads" --act "$act" --speed-alone --quantize "$f16" \
  "${out[@]}" "${entries[@]}"
