#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Interleaved runs of vibee and llama.cpp; medians of ratios. Called by llama_cpp.sh, which says how."""
import argparse
import json
import os
import statistics
import subprocess
import sys
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
    r = json.loads(output([a.vibee, "bench", model, "--runs", "1", "--threads", str(a.threads), "--json"]))
    first = wall([a.vibee, "run", model, "--raw", PROMPT, "-n", "1", "--greedy", "--quiet", "--threads", str(a.threads), "--ctx", "512"])
    return {"prompt": r["prompt_tokens_per_s"], "generate": r["generate_tokens_per_s"], "together": r["batch_tokens_per_s"],
            "floor": r["generate_fraction"], "bandwidth": (r["bandwidth_before_gb_s"] + r["bandwidth_after_gb_s"]) / 2,
            "start": first, "peak": r["peak_resident_bytes"], "stated": r["stated_bytes"]}


def run_llama(a, model):
    rows = json.loads(output([f"{a.bin}/llama-bench", "-m", model, "-p", "512", "-n", "128", "-t", str(a.threads), "-r", "1", "-o", "json"]))
    speed = {"prompt" if row["n_prompt"] else "generate": row["avg_ts"] for row in rows}
    lines = output([f"{a.bin}/llama-batched-bench", "-m", model, "-npp", "4", "-ntg", "32", "-npl", "16", "-t", str(a.threads),
                    "--output-format", "jsonl"]).splitlines()
    together = [json.loads(line)["speed_tg"] for line in lines if line.startswith("{")]
    first = wall([f"{a.bin}/llama-simple", "-m", model, "-n", "1", PROMPT])
    return {**speed, "together": together[-1], "start": first}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--vibee", required=True)
    p.add_argument("--bin", required=True)
    p.add_argument("--pairs", type=int, default=7)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--json", action="store_true")
    p.add_argument("--out")
    p.add_argument("models", nargs="+", help="NAME=PATH")
    a = p.parse_args()
    rows = []
    for entry in a.models:
        name, path = entry.split("=", 1)
        mine, theirs = [], []
        for i in range(a.pairs):
            for turn in range(2):  # who goes first alternates
                (mine if (turn == 0) == (i % 2 == 0) else theirs).append(
                    run_vibee(a, path) if (turn == 0) == (i % 2 == 0) else run_llama(a, path))
            print(f"{name}: pair {i + 1} of {a.pairs}", file=sys.stderr)
        middle = lambda values: statistics.median(values)
        ratio = lambda key: middle([m[key] / t[key] for m, t in zip(mine, theirs)])
        rows.append({
            "model": name, "pairs": a.pairs,
            "ratio_prompt": ratio("prompt"), "ratio_generate": ratio("generate"), "ratio_together": ratio("together"),
            "ratio_start": middle([t["start"] / m["start"] for m, t in zip(mine, theirs)]),
            "generate_fraction_of_floor": middle([m["floor"] for m in mine]),
            "bandwidth_gb_s": middle([m["bandwidth"] for m in mine]),
            "vibee": {k: middle([m[k] for m in mine]) for k in ("prompt", "generate", "together", "start")},
            "llama_cpp": {k: middle([t[k] for t in theirs]) for k in ("prompt", "generate", "together", "start")},
            "peak_resident_bytes": max(m["peak"] for m in mine), "stated_bytes": mine[0]["stated"], "file_bytes": os.path.getsize(path),
        })
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    result = {"date": time.strftime("%Y-%m-%d", time.gmtime()), "cpu": cpu, "threads": a.threads, "rows": rows}
    if a.out:
        record(result, a.out)
    if a.json:
        print(json.dumps(result))
        return
    print(f"{cpu}, {a.threads} threads; tokens/s, median of {a.pairs} alternating runs; ratios are medians of paired ratios")
    print(f"{'model':<22}{'':<12}{'vibee':>10}{'llama.cpp':>11}{'ratio':>8}")
    for r in rows:
        for key, label in (("prompt", "prompt 512"), ("generate", "generate 128"), ("together", "16 together"), ("start", "start, s")):
            print(f"{r['model']:<22}{label:<12}{r['vibee'][key]:>11.2f}{r['llama_cpp'][key]:>11.2f}{r['ratio_' + key]:>7.2f}x")
        print(f"{'':<22}generation reaches {100 * r['generate_fraction_of_floor']:.0f} % of the floor ({r['bandwidth_gb_s']:.1f} GB/s); "
              f"peak memory {r['peak_resident_bytes'] / 1e6:.0f} MB, file {r['file_bytes'] / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
