#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Interleaved runs of vibee and llama.cpp; medians of ratios. Called by llama_cpp.sh and
llama_formats.sh, which say how."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from record import record

PROMPT = "The quick brown fox jumps over the lazy dog and then it runs back to the old house by"


def output(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def wall(command):
    begin = time.perf_counter()
    output(command)
    return time.perf_counter() - begin


def run_vibee(a, model):
    r = json.loads(output([a.vibee, "bench", model, "--runs", "1", "--threads", str(a.threads), "--act", a.act, "--json"]))
    first = 0 if a.speed_alone else wall([a.vibee, "run", model, "--raw", PROMPT, "-n", "1", "--greedy", "--quiet", "--threads", str(a.threads),
                                          "--ctx", "512"])
    return {"prompt": r["prompt_tokens_per_s"], "generate": r["generate_tokens_per_s"], "together": r["batch_tokens_per_s"],
            "floor": r["generate_fraction"], "bandwidth": (r["bandwidth_before_gb_s"] + r["bandwidth_after_gb_s"]) / 2,
            "start": first, "peak": r["peak_resident_bytes"], "stated": r["stated_bytes"]}


def run_llama(a, model):
    rows = json.loads(output([f"{a.bin}/llama-bench", "-m", model, "-p", "512", "-n", "128", "-t", str(a.threads), "-r", "1", "-o", "json"]))
    speed = {"prompt" if row["n_prompt"] else "generate": row["avg_ts"] for row in rows}
    if a.speed_alone:
        return speed
    lines = output([f"{a.bin}/llama-batched-bench", "-m", model, "-npp", "4", "-ntg", "32", "-npl", "16", "-t", str(a.threads),
                    "--output-format", "jsonl"]).splitlines()
    together = [json.loads(line)["speed_tg"] for line in lines if line.startswith("{")]
    first = wall([f"{a.bin}/llama-simple", "-m", model, "-n", "1", PROMPT])
    return {**speed, "together": together[-1], "start": first}


def quantize_pairs(a):
    """Seconds that both take to write a file in each type, a certificate in ours, alternately."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("Q4_K_M", "Q8_0", "Q6_K", "Q4_0"):
            mine, theirs = [], []
            for i in range(min(a.pairs, 5)):
                target = f"{folder}/{kind}.gguf"
                ours = [a.vibee, "quantize", a.quantize, target, "--format", kind.lower(), "--threads", str(a.threads)]
                other = [f"{a.bin}/llama-quantize", a.quantize, target, kind, str(a.threads)]
                for command, to in ((ours, mine), (other, theirs)) if i % 2 == 0 else ((other, theirs), (ours, mine)):
                    to.append(wall(command))
                    os.remove(target)
            rows.append({"type": kind, "seconds": statistics.median(mine), "llama_quantize_seconds": statistics.median(theirs),
                         "ratio": statistics.median([t / m for m, t in zip(mine, theirs)])})
    return rows


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--vibee", required=True)
    p.add_argument("--bin", required=True)
    p.add_argument("--pairs", type=int, default=7)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--act", default="int8", help="how rows meet the weights of vibee's runs")
    p.add_argument("--speed-alone", action="store_true", help="of prompts and of generation; neither many together nor the start")
    p.add_argument("--quantize", help="a model in f16 that both quantise too")
    p.add_argument("--json", action="store_true")
    p.add_argument("--out")
    p.add_argument("models", nargs="+", help="NAME=PATH")
    a = p.parse_args()
    keys = ("prompt", "generate") if a.speed_alone else ("prompt", "generate", "together", "start")
    rows = []
    for entry in a.models:
        name, path = entry.split("=", 1)
        mine, theirs = [], []
        for i in range(a.pairs):
            for turn in range(2):  # who goes first alternates
                (mine if (turn == 0) == (i % 2 == 0) else theirs).append(
                    run_vibee(a, path) if (turn == 0) == (i % 2 == 0) else run_llama(a, path))
            print(f"{name}: pair {i + 1} of {a.pairs}; prompt {mine[-1]['prompt'] / theirs[-1]['prompt']:.2f}x, "
                  f"generation {mine[-1]['generate'] / theirs[-1]['generate']:.2f}x", file=sys.stderr)
        middle = lambda values: statistics.median(values)
        ratio = lambda key: middle([m[key] / t[key] for m, t in zip(mine, theirs)])
        rows.append({
            "model": name, "pairs": a.pairs,
            **{f"ratio_{k}": middle([t[k] / m[k] for m, t in zip(mine, theirs)]) if k == "start" else ratio(k) for k in keys},
            "generate_fraction_of_floor": middle([m["floor"] for m in mine]),
            "bandwidth_gb_s": middle([m["bandwidth"] for m in mine]),
            "vibee": {k: middle([m[k] for m in mine]) for k in keys},
            "llama_cpp": {k: middle([t[k] for t in theirs]) for k in keys},
            "peak_resident_bytes": max(m["peak"] for m in mine), "stated_bytes": mine[0]["stated"], "file_bytes": os.path.getsize(path),
        })
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    result = {"date": time.strftime("%Y-%m-%d", time.gmtime()), "cpu": cpu, "threads": a.threads, "act": a.act, "rows": rows}
    if a.quantize:
        result["quantize"] = quantize_pairs(a)
    if a.out:
        record(result, a.out)
    if a.json:
        print(json.dumps(result))
        return
    print(f"{cpu}, {a.threads} threads; tokens/s, median of {a.pairs} alternating runs; ratios are medians of paired ratios")
    print(f"{'model':<22}{'':<12}{'vibee':>10}{'llama.cpp':>11}{'ratio':>8}")
    for r in rows:
        for key, label in (("prompt", "prompt 512"), ("generate", "generate 128"), ("together", "16 together"), ("start", "start, s"))[: len(keys)]:
            print(f"{r['model']:<22}{label:<12}{r['vibee'][key]:>11.2f}{r['llama_cpp'][key]:>11.2f}{r['ratio_' + key]:>7.2f}x")
        print(f"{'':<22}generation reaches {100 * r['generate_fraction_of_floor']:.0f} % of the floor ({r['bandwidth_gb_s']:.1f} GB/s); "
              f"peak memory {r['peak_resident_bytes'] / 1e6:.0f} MB, file {r['file_bytes'] / 1e6:.0f} MB")
    for r in result.get("quantize", []):
        print(f"quantize to {r['type']:<10} {r['seconds']:.2f} s, llama-quantize {r['llama_quantize_seconds']:.2f} s, {r['ratio']:.2f}x")


if __name__ == "__main__":
    main()
