#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How far `vibee plan serve` is from `vibee serve` on this machine: the times are measured, four workloads are sent to a
server that was just started, each is planned with the same options, and the errors are printed and written.

    bench/plan_serve.py VIBEE MODEL --trace AzureLLMInferenceTrace_conv.csv --out bench/results/plan_serve-DATE.json

The bounds are those of the plan's own report: 10 % of medians and rates, 15 % of 95th percentiles."""
import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("vibee")
parser.add_argument("model")
parser.add_argument("--trace", help="a CSV or JSONL trace for the fourth workload; without it a twin of one is sent")
parser.add_argument("--port", type=int, default=8137)
parser.add_argument("--rounds", type=int, default=1, help="how often all four are run")
parser.add_argument("--only", help="one workload by its name here")
parser.add_argument("--keep-times", action="store_true", help="plan with the times that are kept, measure none")
parser.add_argument("--serve", default="", help="more options of both `vibee serve` and `vibee plan serve`")
parser.add_argument("--out", help="write what was found to this file")
a = parser.parse_args()

WORKLOADS = {
    "closed": ["--workload", "W-32"],
    "open": ["--workload", "W-open", "--rate", "12", "--requests", "240"],
    "prefixes": ["--workload", "W-mix", "--requests", "256"],
    "trace": ["--file", a.trace, "--requests", "200", "--length-scale", "0.125", "--time-scale", "0.6"]
             if a.trace else ["--workload", "W-chat", "--rate", "8"],
}
options = a.serve.split()
found = []


def run(*command):
    done = subprocess.run([a.vibee, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"vibee {' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


with tempfile.TemporaryDirectory() as folder:
    times = Path(folder) / "times.json"
    for round_number in range(a.rounds):
        measure = [] if a.keep_times else ["--measure"]
        run("plan", "serve", a.model, *options, *measure, "--requests", 1, "--write-times", times)
        for name, workload in WORKLOADS.items():
            if a.only and name != a.only:
                continue
            measured, log = Path(folder) / "measured.json", Path(folder) / "schedule.txt"
            server = subprocess.Popen([a.vibee, "serve", a.model, "--port", str(a.port), "--record", str(log), *options],
                                      stderr=subprocess.DEVNULL)
            try:
                run("bench", "serve", "--url", f"http://127.0.0.1:{a.port}", "--wait", 60, "--tokenizer", a.model, *workload,
                    "--json-out", measured)
            finally:
                server.send_signal(signal.SIGTERM)
                server.wait(60)
            planned = json.loads(run("plan", "serve", a.model, *options, *workload, "--step-times", times, "--against",
                                     measured, "--json"))
            replayed = json.loads(run("plan", "serve", "--replay", log, "--json"))
            found.append({"workload": name, "options": workload[2:] if a.trace and name == "trace" else workload,
                          "round": round_number, "error": planned["error"], "replay": replayed,
                          "load_average": os.getloadavg()[0]})
            print(f"{name}: replayed {replayed['steps']} steps, "
                  f"{'every decision the same' if replayed['same'] else 'decisions DIFFER'}")
            for f in planned["error"]:
                print(f"  {f['figure']:<20}{f['measured']:>12.2f}{f['planned']:>12.2f}{100 * f['error']:>8.1f} %"
                      f"{'' if f['within'] else '  beyond ' + str(round(100 * f['bound'])) + ' %'}", flush=True)
    kept = json.loads(times.read_text())

if a.out:
    kept.pop("model", None)
    result = {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "model": Path(a.model).name, "cpu": kept["cpu"],
              "system": platform.system() + " " + platform.machine(), "cores": os.cpu_count(),
              "command": "bench/plan_serve.py VIBEE MODEL", "options": options, "times": kept, "runs": found}
    Path(a.out).write_text(json.dumps(result, indent=1) + "\n")
within = sum(f["within"] for r in found for f in r["error"])
print(f"{within} of {sum(len(r['error']) for r in found)} figures within their bounds")
