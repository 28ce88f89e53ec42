#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A training run that is killed at random moments and goes on ends with the bytes of one that was not; a disk that fills up during
# a checkpoint costs neither the last checkpoint nor the run.  tests/resume.sh VIBEE [KILLS]
set -euo pipefail
vibee=$(realpath "${1:?usage: tests/resume.sh VIBEE [KILLS]}")
kills=${2:-20}
work=$(mktemp -d)
cd "$work"
mounted=
trap '[ -z "$mounted" ] || umount "$work/small"; rm -rf "$work"' EXIT
say() { printf '  %s\n' "$*"; }
die() { echo "tests/resume.sh: $*" >&2; exit 1; }

"$vibee" data stories stories.txt --bytes 200000 --seed 1 > /dev/null 2>&1
"$vibee" tokenizer train tokenizer stories.txt --separator '<|endoftext|>' --chars > /dev/null 2>&1
"$vibee" data build stories.tokens stories.txt --separator '<|endoftext|>' --tokenizer tokenizer/tokenizer.json > /dev/null 2>&1
cat > train.toml <<T
out = "whole"
model = {tokenizer = "tokenizer/tokenizer.json", dim = 64, layers = 2, heads = 2, context = 64}
data = {stores = "stories.tokens", held_out = "stories.tokens", length = 64}
train = {steps = 400, batch = 8, part = 4, seed = 5}
optimiser = {rate = 3e-3, warmup = 20}
eval = {every = 50, rows = 16}
save = {every = 7, keep = 3}
T
begun=$(date +%s%N)
"$vibee" train train.toml > /dev/null 2>&1
seconds=$(($(date +%s%N) - begun))

# Moments are spread over twice the share of time that a run between two kills has; what cannot go on begins anew.
RANDOM=7
done_kills=0
while [ "$done_kills" -lt "$kills" ]; do
  resume=()
  if compgen -G 'killed/checkpoints/[0-9]*.run' > /dev/null; then resume=(--resume); fi
  "$vibee" train train.toml --set out=killed "${resume[@]}" > log 2>&1 &
  run=$!
  sleep "$(python3 -c "print($RANDOM / 32768 * 2 * max(0.05, $seconds / 1e9 / $kills))")"
  if kill -9 $run 2> /dev/null; then done_kills=$((done_kills + 1)); fi
  code=0
  wait $run 2> /dev/null || code=$?
  [ $code = 137 ] || [ $code = 0 ] || die "a run that goes on ended with $code: $(cat log)"
  if [ $code = 0 ]; then
    cmp whole/model.gguf killed/model.gguf || die "after $done_kills kills the weights differ"
    rm -rf killed
  fi
done
resume=()
if compgen -G 'killed/checkpoints/[0-9]*.run' > /dev/null; then resume=(--resume); fi
"$vibee" train train.toml --set out=killed "${resume[@]}" > log 2>&1 || die "the last part failed: $(cat log)"
cmp whole/model.gguf killed/model.gguf || die "the weights differ"
cmp whole/checkpoints/400.run killed/checkpoints/400.run || die "the last checkpoints differ"
say "killed $kills times, the same weights and the same last checkpoint"

bytes=$(stat -c %s whole/checkpoints/400.run)
mkdir small
if ! mount -t tmpfs -o "size=$((bytes * 5 / 2))" none small 2> /dev/null; then
  say "a full disk: not tried, a small one cannot be mounted here"
  exit 0
fi
mounted=1
code=0
"$vibee" train train.toml --set out=small/run --set eval.every=0 > log 2>&1 || code=$?
[ $code = 1 ] || die "a full disk ended with $code: $(cat log)"
grep -q '^vibee train: .*small/run' log || die "a full disk is not said: $(cat log)"
last=$(find small/run/checkpoints -name '[0-9]*.run' | sort -V | tail -n 1)
[ -n "$last" ] || die "no checkpoint is left of a full disk"
mount -o remount,size=$((bytes * 20)) small
"$vibee" train train.toml --set out=small/run --set eval.every=0 --resume > log 2>&1 || die "a run behind a full disk does not go on: $(cat log)"
cmp whole/model.gguf small/run/model.gguf || die "behind a full disk the weights differ"
say "a disk that was full: $(basename "$last") was left, and the run went on to the same weights"
