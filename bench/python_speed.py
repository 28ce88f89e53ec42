#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed of a generation from Python beside the binary's: both print their text as it comes into a pipe, and what counts is the time from
the first piece to the last of 256 tokens. Runs alternate; the medians and the median of the paired ratios are printed.

usage: bench/python_speed.py [MODEL [RUNS]]      after `make build`; needs numpy
"""
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

BUILD = Path(__file__).resolve().parent.parent / "build/release"
TOKENS = 256
PROGRAM = f"""
import sys, vibee
m = vibee.load(sys.argv[1])
for piece in m.stream("Once upon a time", max_tokens={TOKENS}, temperature=0, ignore_end=True):
    print(piece, end="", flush=True)
"""


def rate(command: list[str]) -> tuple[float, bytes]:
    """Tokens a second between the first and the last piece, and the text."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(BUILD / "python")})
    text, first, last = b"", 0.0, 0.0
    while piece := os.read(child.stdout.fileno(), 65536):
        last = time.perf_counter()
        first = first or last
        text += piece
    if child.wait() != 0:
        sys.exit(f"bench/python_speed.py: {command[0]} ended with {child.returncode}")
    return (TOKENS - 1) / (last - first), text.rstrip(b"\n")


def main() -> None:
    if sys.argv[1:2] in (["-h"], ["--help"]):
        sys.exit(__doc__)
    model = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m"
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 11
    binary = [str(BUILD / "bin/vibee"), "run", model, "--raw", "Once upon a time", "--tokens", str(TOKENS), "--greedy", "--ignore-end", "--quiet"]
    python = [sys.executable, "-c", PROGRAM, model]
    pairs = []
    for i in range(runs + 1):
        (a, text), (b, same) = rate(binary), rate(python)
        if text != same:
            sys.exit("bench/python_speed.py: the texts differ")
        if i > 0:  # the first pair warms up
            pairs.append((a, b))
    a, b = (statistics.median(x) for x in zip(*pairs))
    print(f"binary {a:.1f} tokens/s, Python {b:.1f} tokens/s, ratio {statistics.median(q / p for p, q in pairs):.3f} (medians of {runs} pairs)")


if __name__ == "__main__":
    main()
