#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Greedy text of a real model against llama.cpp's (data/golden/greedy): equal for 48 tokens, or at the first difference the two likeliest
tokens lie closer than 0.02 in log-probability. Both sides multiply float rows: rounding activations to 8 bits moves our logits
by some 0.1, which decides close calls. tests/greedy.py VIBEE NAME MODEL"""
import json
import pathlib
import subprocess
import sys

vibee, name, model = sys.argv[1:]
golden = json.loads((pathlib.Path(__file__).parent.parent / f"data/golden/greedy/{name}.json").read_text())
failed = 0
for row in golden["rows"]:
    out = subprocess.run([vibee, "run", model, "--raw", row["prompt"], "-n", str(golden["tokens"]), "--greedy", "--act", "f32", "--logprobs", "2", "--json"],
                         capture_output=True, check=True, text=True).stdout
    result = json.loads(out)["results"][0]
    want, text, verdict = row["text"], "", "equal"
    for token in result["tokens"]:
        if want.startswith(text + token["text"]) or (text + token["text"]).startswith(want) and want:
            text += token["text"]
            continue
        gap = token["top"][0]["logprob"] - token["top"][1]["logprob"]
        verdict = f"differs after {len(text)} characters, top two {gap:.4f} apart"
        if gap >= 0.02:
            verdict += ": FAILED"
            failed += 1
        break
    print(f"  {name}: {row['prompt'][:40]!r}: {verdict}")
sys.exit(1 if failed else 0)
