#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Greedy continuations by llama.cpp: tools/make_greedy_goldens.py LLAMA_BIN NAME=MODEL.gguf... writes data/golden/greedy/NAME.json.
LLAMA_BIN holds llama-simple of llama-cpp-python 0.3.36 (bench/peers/llama_cpp.sh builds it). The models are first written in F32
by its llama-quantize, so that llama.cpp does not round activations to 8 bits."""
import json
import pathlib
import subprocess
import sys

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea,",
    "def fibonacci(n):",
    "The three most important inventions of the twentieth century were",
    "Water boils at a temperature of",
]


def continuation(binary, model, prompt, tokens):
    out = subprocess.run([f"{binary}/llama-simple", "-m", model, "-n", str(tokens), prompt], capture_output=True, check=True).stdout.decode()
    at = out.find(prompt)
    return out[at + len(prompt):].rstrip("\n")


def main():
    binary, models = sys.argv[1], sys.argv[2:]
    folder = pathlib.Path(__file__).parent.parent / "data/golden/greedy"
    folder.mkdir(parents=True, exist_ok=True)
    for entry in models:
        name, path = entry.split("=", 1)
        rows = [{"prompt": p, "text": continuation(binary, path, p, 48)} for p in PROMPTS]
        (folder / f"{name}.json").write_text(json.dumps({"by": "llama.cpp of llama-cpp-python 0.3.36", "tokens": 48, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
