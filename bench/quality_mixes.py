#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What mixes of formats lose at the same bytes: a model in float32 whose rows are multiples of 256, its Q4_K_M and Q3_K_M as
llama-quantize writes them (--bin DIR), with an importance matrix and without, mixes of ours within the same bytes, and EXL2 in the bytes that Q3_K_M has for the layers'
linears. KL divergence from the model on a text that nothing was calibrated on. --out writes bench/results/quality_mixes-DATE.json."""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers"))
from record import record  # noqa: E402


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout


def layer_bits(vibee, model):
    """Bits of the layers' matrices in a GGUF file, and their weights."""
    bits = elements = 0
    for t in json.loads(run(vibee, "show", model, "--tensors", "--json")):
        if t["name"].startswith("blk.") and len(t["shape"]) > 1:
            n = 1
            for d in t["shape"]:
                n *= d
            bits += 8 * t["bytes"]
            elements += n
    return bits, elements


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--vibee", default="build/release/bin/vibee")
    p.add_argument("--bin", help="a folder with llama-quantize; without it its recipes are written by vibee")
    p.add_argument("--model", required=True, help="GGUF in f32")
    p.add_argument("--calib", required=True)
    p.add_argument("--text", required=True)
    p.add_argument("--windows", type=int, default=40)
    p.add_argument("--ctx", type=int, default=256)
    p.add_argument("--out")
    a = p.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        def quality(name, path, bytes_, how):
            e = json.loads(run(a.vibee, "eval", path, "--base", a.model, "--text", a.text, "--windows", a.windows, "--ctx", a.ctx,
                               "--act", "f32", "--json"))
            rows.append({"mix": name, "how": how, "bytes": bytes_, "kl": e["kl"], "kl_error": e["kl_error"], "top1": e["top1"]})
            print(f"{name:28} {bytes_:>10} bytes  KL {e['kl']:.5f} +- {e['kl_error']:.5f}  top-1 {100 * e['top1']:.2f} %", flush=True)

        measured, exl2_measured, imatrix = f"{folder}/m.json", f"{folder}/e.json", f"{folder}/imatrix.gguf"
        if a.bin:
            run(a.vibee, "quantize", a.model, f"{folder}/q8_0.gguf", "--format", "q8_0", "--calib", a.calib, "--save-imatrix", imatrix)
        for kind in ("Q4_K_M", "Q3_K_M"):
            theirs = f"{folder}/{kind}.gguf"
            if a.bin:
                run(f"{a.bin}/llama-quantize", a.model, theirs, kind)
            else:
                run(a.vibee, "quantize", a.model, theirs, "--format", kind.lower())
            size = os.path.getsize(theirs)
            quality(kind, theirs, size, "llama-quantize" if a.bin else "vibee quantize --format")
            if a.bin:  # the same, told which inputs are large
                weighed = f"{folder}/{kind}-imatrix.gguf"
                run(f"{a.bin}/llama-quantize", "--imatrix", imatrix, a.model, weighed, kind)
                quality(f"{kind}, imatrix", weighed, os.path.getsize(weighed), "llama-quantize --imatrix")
            for solver in ("search", "gptq"):
                ours = f"{folder}/{kind}-{solver}.gguf"
                run(a.vibee, "quantize", a.model, ours, "--budget", size, "--calib", a.calib, "--ctx", a.ctx, "--measurement", measured,
                    "--solver", solver)
                quality(f"ours within {kind}, {solver}", ours, os.path.getsize(ours), f"vibee quantize --budget {size} --solver {solver}")
            if kind == "Q3_K_M":
                bits, elements = layer_bits(a.vibee, theirs)
                bpw = int(1000 * bits / elements) / 1000
                run(a.vibee, "quantize", a.model, f"{folder}/exl2", "--scheme", "exl2", "--budget", f"{bpw}bpw", "--calib", a.calib,
                    "--ctx", a.ctx, "--measurement", exl2_measured)
                quality("exl2, layers as Q3_K_M's", f"{folder}/exl2", bits // 8, f"--scheme exl2 --budget {bpw}bpw; bytes of layers")
    result = {"date": time.strftime("%Y-%m-%d", time.gmtime()), "model": os.path.basename(a.model), "windows": a.windows, "ctx": a.ctx, "rows": rows}
    if a.out:
        record(result, a.out)


if __name__ == "__main__":
    main()
