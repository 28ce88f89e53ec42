#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How far `vibee plan train` is from `vibee train` on this machine: rates are measured, six configurations are planned
and then trained for a few steps, and the predicted seconds of a step (median) and peak of the process stand beside the measured.

    bench/plan_train.py VIBEE [--model smollm2-135m.gguf] [--record bench/results/plan_train-DATE.json]

The bounds are 15 % of a step's time and 5 % of the peak. Predictions are of a machine that does nothing else."""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("vibee")
parser.add_argument("--model", default="smollm2-135m", help="what the adapter is trained for")
parser.add_argument("--only", help="one configuration by its name here")
parser.add_argument("--rounds", type=int, default=1, help="how often all are run, with rates measured anew")
parser.add_argument("--keep-rates", action="store_true", help="plan with the rates that are kept, measure none")
parser.add_argument("--folder", help="where data is made, and kept; default: a temporary folder")
parser.add_argument("--record", help="write what was found to this file")
a = parser.parse_args()
a.vibee = str(Path(a.vibee).resolve())

TIME_BOUND, MEMORY_BOUND = 0.15, 0.05
NEW = {"model.tokenizer": "tokenizer/tokenizer.json", "data.stores": ["stories.tokens"], "optimiser.warmup": 2,
       "eval.every": 0, "save.every": 0}
GPT2 = {**NEW, "model.architecture": "gpt2", "model.layers": 6, "model.dim": 384, "model.heads": 6, "model.context": 256,
        "data.length": 256, "train.batch": 8}
LLAMA = {**NEW, "model.architecture": "llama", "model.layers": 8, "model.dim": 256, "model.heads": 4, "model.context": 1024,
         "data.length": 256, "train.batch": 8}
CONFIGURATIONS = {  # keys, options, steps
    "gpt2 6x384, 8x256": (GPT2, [], 12),
    "llama 4x128, 12x64": ({**LLAMA, "model.layers": 4, "model.dim": 128, "data.length": 64, "train.batch": 12}, [], 100),
    "llama 8x256, full, parts of 2": ({**LLAMA, "train.recompute": "full", "train.part": 2}, [], 12),
    "lora of a model, 2x256": ({**NEW, "model.tokenizer": None, "model.from": a.model, "lora.rank": 16,
                                "data.stores": ["adapted.tokens"], "data.length": 256, "train.batch": 2}, [], 8),
    "llama 8x256, 1x1024": ({**LLAMA, "data.length": 1024, "train.batch": 1}, [], 20),
    "llama 6x256, 8x128, 2 ranks": ({**LLAMA, "model.layers": 6, "data.length": 128}, ["--emulate", "2"], 20),
}


def run(*command, folder):
    done = subprocess.run([a.vibee, *map(str, command)], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"vibee {' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


def make_data(folder):
    if not (folder / "stories.tokens").exists():
        run("data", "stories", "stories.txt", "--bytes", 2000000, "--seed", 1, folder=folder)
        run("tokenizer", "train", "tokenizer", "stories.txt", "--separator", "<|endoftext|>", "--vocab", 4096, folder=folder)
        run("data", "build", "stories.tokens", "stories.txt", "--separator", "<|endoftext|>", "--tokenizer",
            "tokenizer/tokenizer.json", folder=folder)
    if not (folder / "adapted.tokens").exists():
        run("data", "build", "adapted.tokens", "stories.txt", "--separator", "<|endoftext|>", "--tokenizer", a.model,
            folder=folder)


def toml(keys):
    """`table.key = value` a line; lists and texts have JSON's form."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items() if value is not None)


def measure(folder, name, keys, options, steps):
    out = folder / f"run-{time.time_ns()}"
    config = folder / "train.toml"
    config.write_text(f'out = "{out}"\n' + toml({**keys, "train.steps": steps}))
    planned = json.loads(run("plan", "train", config, *options, "--json", folder=folder))
    with open(folder / "train.log", "w") as log:
        child = subprocess.Popen([a.vibee, "train", str(config), *options, "--json"], cwd=folder, stdout=log, stderr=log)
        _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"{name}: {(folder / 'train.log').read_text().strip()}")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    seconds = [planned["tokens"] / line["tokens_per_second"] for line in lines if "tokens_per_second" in line]
    step, peak = statistics.median(seconds[1:]), usage.ru_maxrss * 1024
    return {"configuration": name, "keys": {k: v for k, v in keys.items() if v is not None}, "options": options, "steps": steps,
            "planned": planned, "measured_step_seconds": step, "measured_peak_bytes": peak,
            "step_error": planned["step_seconds"] / step - 1, "peak_error": planned["peak_bytes"] / peak - 1,
            "load_average": os.getloadavg()[0]}


def measure_all(folder):
    make_data(folder)
    found = []
    for round_number in range(a.rounds):
        for name, (keys, options, steps) in CONFIGURATIONS.items():
            if a.only and a.only not in name:
                continue
            if not a.keep_rates and not found:
                config = folder / "train.toml"
                config.write_text(toml(GPT2))
                run("plan", "train", config, "--again", folder=folder)
            f = measure(folder, name, keys, options, steps)
            f["round"] = round_number
            found.append(f)
            print(f"{name:<32}{1e3 * f['planned']['step_seconds']:>10.1f}{1e3 * f['measured_step_seconds']:>10.1f} ms"
                  f"{100 * f['step_error']:>7.1f} %{f['planned']['peak_bytes'] / 2**20:>9.0f}"
                  f"{f['measured_peak_bytes'] / 2**20:>8.0f} MiB{100 * f['peak_error']:>7.1f} %", flush=True)
    return found


print(f"{'configuration':<32}{'planned':>10}{'measured':>10}   {'error':>8}{'planned':>10}{'measured':>9}    {'error':>8}")
if a.folder:
    Path(a.folder).mkdir(parents=True, exist_ok=True)
    found = measure_all(Path(a.folder).resolve())
else:
    with tempfile.TemporaryDirectory() as folder:
        found = measure_all(Path(folder))
within = sum((abs(f["step_error"]) <= TIME_BOUND) + (abs(f["peak_error"]) <= MEMORY_BOUND) for f in found)
print(f"{within} of {2 * len(found)} figures within their bounds")
if a.record:
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    Path(a.record).write_text(json.dumps(
        {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "cpu": cpu, "cores": os.cpu_count(),
         "system": platform.system() + " " + platform.machine(), "command": "bench/plan_train.py VIBEE",
         "bounds": {"step": TIME_BOUND, "peak": MEMORY_BOUND}, "runs": found}, indent=1) + "\n")
