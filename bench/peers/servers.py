#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Interleaved runs of `vibee serve` and another server under `vibee bench serve`; medians. Called by llama_server.sh and vllm_cpu.sh, which say how."""
import argparse
import contextlib
import json
import os
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from record import record

# name, path in the report, whether more is better
FIGURES = [
    ("output tokens/s", ("output_throughput",), True),
    ("requests/s", ("request_throughput",), True),
    ("goodput, requests/s", ("goodput", "request_goodput"), True),
    ("TTFT p50, ms", ("ttft_ms", "p50"), False),
    ("TTFT p95, ms", ("ttft_ms", "p95"), False),
    ("TPOT p50, ms", ("tpot_ms", "p50"), False),
    ("ITL p95, ms", ("itl_ms", "p95"), False),
    ("ITL p99, ms", ("itl_ms", "p99"), False),
    ("ITL by time p99, ms", ("itl_by_time_ms", "p99"), False),
    ("longest gap, ms", ("longest_gap_ms", "max"), False),
]


def free_port():
    with contextlib.closing(socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def peak_bytes(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))


def measure(a, who):
    port, per_sequence, environment = free_port(), a.context // a.slots, dict(os.environ)
    if who == "vibee":
        command = [a.vibee, "serve", a.model, "--port", str(port), "--batch", str(a.slots), "--ctx", str(per_sequence), "--threads", str(a.threads)]
        command += shlex.split(a.vibee_args)
    elif who == "vllm":
        # As many tokens of keys and values as the others have; the directory holds the same weights, unpacked.
        command = [f"{a.bin}/vllm", "serve", a.peer_model, "--served-model-name", "peer", "--host", "127.0.0.1", "--port", str(port), "--dtype", "bfloat16",
                   "--max-model-len", str(per_sequence), "--max-num-seqs", str(a.slots)]
        environment.update(VLLM_CPU_KVCACHE_SPACE="2", OMP_NUM_THREADS=str(a.threads), HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1")
    else:
        command = [f"{a.bin}/llama-server", "-m", a.model, "--host", "127.0.0.1", "--port", str(port), "-np", str(a.slots), "-c", str(a.context),
                   "-t", str(a.threads)]
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/log", "w") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            out = f"{folder}/report.json"
            bench = [a.vibee, "bench", "serve", "--url", f"http://127.0.0.1:{port}", "--wait", "600", "--workload", a.workload, "--tokenizer", a.model,
                     "--goodput", a.goodput, "--json-out", out] + shlex.split(a.bench_args)
            done = subprocess.run(bench, capture_output=True, text=True)
            if done.returncode != 0:
                with open(f"{folder}/log") as log:
                    sys.exit(f"{who}: {done.stderr.strip()[-500:]}{done.stdout[-1000:]}\n{log.read()[-1000:]}")
            with open(out) as f:
                report = json.load(f)
            if report["measures"]["failed"]:
                sys.exit(f"{who}: {report['measures']['failed']} requests failed: {report['errors']}")
            if report["client_was_bottleneck"]:
                print(f"{who}: requests were sent late; the machine was busy with something else", file=sys.stderr)
            report["peak_resident_bytes"] = peak_bytes(server.pid)
            return report
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def figure(report, path):
    value = report["measures"]
    for key in path:
        value = value[key]
    return value


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--vibee", required=True)
    p.add_argument("--bin", required=True)
    p.add_argument("--workload", default="W-32")
    p.add_argument("--pairs", type=int, default=5)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--slots", type=int, default=32)
    p.add_argument("--context", type=int, default=16384, help="tokens of all slots together")
    p.add_argument("--goodput", default="ttft:1500,tpot:80@0.9")
    p.add_argument("--vibee-args", default="")
    p.add_argument("--bench-args", default="")
    p.add_argument("--peer", choices=["llama-server", "vllm"], default="llama-server")
    p.add_argument("--peer-model", help="of vllm: the model as a directory")
    p.add_argument("--only", choices=["vibee", "peer"])
    p.add_argument("--json", action="store_true")
    p.add_argument("--out")
    p.add_argument("model")
    a = p.parse_args()
    who = {"vibee": ["vibee"], "peer": [a.peer]}.get(a.only, ["vibee", a.peer])
    runs = {w: [] for w in who}
    for i in range(a.pairs):
        for w in who if i % 2 == 0 else reversed(who):  # who goes first alternates
            runs[w].append(measure(a, w))
            print(f"run {i + 1} of {a.pairs}: {w} {figure(runs[w][-1], ('output_throughput',)):.1f} output tokens/s", file=sys.stderr)
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    rows = []
    for name, path, more in FIGURES:
        values = {w: [figure(r, path) for r in runs[w]] for w in who}
        row = {"figure": name, **{w: statistics.median(values[w]) for w in who}, "runs": values}
        if len(who) == 2:  # how many times better vibee is
            pairs = [(m, t) if more else (t, m) for m, t in zip(values["vibee"], values[a.peer])]
            if all(y > 0 for _, y in pairs):
                row["ratio"] = statistics.median(x / y for x, y in pairs)
        rows.append(row)
    result = {"date": time.strftime("%Y-%m-%d", time.gmtime()), "cpu": cpu, "threads": a.threads, "workload": a.workload, "pairs": a.pairs,
              "model": os.path.basename(a.model), "slots": a.slots, "context": a.context, "vibee_args": a.vibee_args, "bench_args": a.bench_args,
              "rows": rows, "peak_resident_bytes": {w: max(r["peak_resident_bytes"] for r in runs[w]) for w in who}}
    if a.out:
        record(result, a.out)
    if a.json:
        print(json.dumps(result))
        return
    print(f"{cpu}, {a.threads} threads; {a.workload} on {result['model']}, medians of {a.pairs} alternating runs")
    print(f"{'':<24}" + "".join(f"{w:>14}" for w in who) + ("   better by" if len(who) == 2 else ""))
    for row in rows:
        ratio = f"{row['ratio']:>11.2f}x" if "ratio" in row else ""
        print(f"{row['figure']:<24}" + "".join(f"{row[w]:>14.2f}" for w in who) + ratio)
    print(f"{'peak memory, MB':<24}" + "".join(f"{result['peak_resident_bytes'][w] / 1e6:>14.0f}" for w in who))


if __name__ == "__main__":
    main()
