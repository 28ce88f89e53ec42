#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Training over processes of Open MPI: the bytes of one process, a rank that is killed or stopped, Ctrl-C, and going on
# with other numbers of ranks.  tests/ranks.sh VIBEE
set -euo pipefail
vibee=$(realpath "${1:?usage: tests/ranks.sh VIBEE}")
work=$(mktemp -d)
cd "$work"
trap 'rm -rf "$work"' EXIT
say() { printf '  %s\n' "$*"; }
die() { echo "tests/ranks.sh: $*" >&2; exit 1; }
command -v mpirun > /dev/null || die "no mpirun; tools/install.sh test installs it"

"$vibee" data stories stories.txt --bytes 60000 --seed 1 > /dev/null 2>&1
"$vibee" tokenizer train tokenizer stories.txt --separator '<|endoftext|>' --chars > /dev/null 2>&1
"$vibee" data build stories.tokens stories.txt --separator '<|endoftext|>' --tokenizer tokenizer/tokenizer.json > /dev/null 2>&1
cat > train.toml <<T
out = "one"
model = {tokenizer = "tokenizer/tokenizer.json", dim = 16, layers = 1, heads = 2, context = 32}
data = {stores = "stories.tokens", held_out = "stories.tokens", length = 16}
train = {steps = 12, batch = 4}
parallel = {shares = 4, bucket_mb = 0.01, first_bucket_mb = 0.002}
eval = {every = 6, rows = 4}
save = {every = 1, keep = 100}
T
"$vibee" train train.toml > /dev/null 2>&1
same() { for f in model.gguf checkpoints/12.run checkpoints/best.run; do cmp "one/$f" "$1/$f" || die "$2"; done; }
"$vibee" train train.toml --set out=emulated --emulate 2 --trace step.svg > /dev/null 2>&1
same emulated "two ranks of one process give other bytes than one"
grep -q 'of the communication is hidden' step.svg || die "no trace"
for n in 2 4; do
  "$vibee" launch -n $n -- train train.toml --set "out=mpi$n" > out 2> err || die "$n processes: $(cat err)"
  same "mpi$n" "$n processes give other bytes than one"
  [ "$(grep -c 'steps' out)" = 1 ] || die "other ranks than the first print: $(cat out)"
done
say "2 and 4 processes have the bytes of --emulate and of one"

# $1: a signal for rank 2 of a long run; $2: what is said.
lose() {
  "$vibee" launch -n 3 -- train train.toml --set "out=$1" --set train.steps=100000 > out 2> err &
  local launch=$! begun
  until [ -e "$1/checkpoints/3.run" ]; do kill -0 $launch 2> /dev/null || die "the job ended: $(cat err)"; sleep 0.1; done
  local rank
  rank=$(grep -lz '^OMPI_COMM_WORLD_RANK=2$' $(pgrep -P "$(pgrep -P $launch -x mpirun)" | sed 's|.*|/proc/&/environ|') | cut -d/ -f3)
  begun=$(date +%s)
  kill "-$1" "$rank"
  local code=0
  wait $launch || code=$?
  [ $code = 1 ] || die "a job without rank 2 ended with $code"
  [ $(($(date +%s) - begun)) -le "$3" ] || die "that took $(($(date +%s) - begun)) s"
  grep -q "$2" err || die "'$2' is not said: $(cat err)"
}
# Ten seconds on a machine that has time; a busy one gets more.
lose KILL 'rank 2 was ended by signal 9' 30
lose STOP 'rank 2 has not been heard of' 40
say "a rank that is killed or stopped ends the job, by name"

"$vibee" launch -n 2 -- train train.toml --set out=asked --set train.steps=100000 > out 2> err &
launch=$!
until [ -e asked/checkpoints/3.run ]; do kill -0 $launch 2> /dev/null || die "the job ended: $(cat err)"; sleep 0.1; done
kill -INT $launch
wait $launch || die "an interrupted job failed: $(cat err)"
grep -q 'go on with --resume' out || die "no word of the checkpoint: $(cat out)"
say "Ctrl-C leaves a checkpoint"

mkdir -p other/checkpoints
cp one/checkpoints/5.run other/checkpoints/
"$vibee" launch -n 3 -- train train.toml --set out=other --resume > /dev/null 2> err || die "$(cat err)"
cmp one/model.gguf other/model.gguf || die "a run of one that went on on three gives other bytes"
say "another number of ranks goes on with the same bytes"

code=0
"$vibee" launch -n 2 -- train train.toml --set out=mesh --mesh dp=3 > out 2> err || code=$?
[ $code = 1 ] && [ "$(wc -l < err)" = 1 ] && grep -q 'asks for other ranks than the 2' err || die "--mesh dp=3 on two: $code, $(cat err)"
code=0
"$vibee" launch -n 2 -- run x > out 2> err || code=$?
[ $code = 2 ] || die "launch of another verb ended with $code"
say "what cannot be is one line"
