#!/usr/bin/env bash
# Makes the model that the binary carries, from `vibee data stories` alone: data/stories_model.gguf and the figures of
# docs/default_model.md. The same binary on a machine with the same instructions makes the same bytes. 20 to 60 minutes
# on two cores; what is in build/default_model already is gone on with.
set -euo pipefail
cd "$(dirname "$0")/.."
vibee=build/release/bin/vibee work=build/default_model
mkdir -p "$work"
[ -x "$vibee" ] || { echo "tools/default_model.sh: $vibee is not built; make build" >&2; exit 1; }

"$vibee" data stories "$work/stories.jsonl" --bytes 60000000 --seed 1
"$vibee" data stories "$work/held_out.jsonl" --stories 2000 --seed 1 --first 1000000000
"$vibee" tokenizer train "$work/tokenizer" "$work/stories.jsonl" --vocab 2048 --chat-template configs/continue.jinja
for store in stories held_out; do
  "$vibee" data build "$work/$store.tokens" "$work/$store.jsonl" --tokenizer "$work/tokenizer/tokenizer.json"
done
resume=()
if compgen -G "$work/run/checkpoints/[0-9]*.run" > /dev/null; then resume=(--resume); fi
[ -e "$work/run/model.gguf" ] || "$vibee" train configs/default.toml "${resume[@]}"
"$vibee" convert "$work/run/model.gguf" data/stories_model.gguf --format q8_0
tools/describe_default_model "$work"
