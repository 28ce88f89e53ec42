#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every row of the precision branch, switched on by its flag, on models of your own: what it costs in KL divergence from the model as it is, or
what a few steps of training lose with it beside the same steps in float32.

    bench/precision_rows.py VIBEE smollm2-135m gemma3-270m [PATH.gguf] --text held_out.txt --calib calibration.txt [--record bench/results/precision_rows-DATE.json]

A row that fails is shown with its error, and the script ends with 1. Nothing here is timed: it may run beside other work."""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from record import record  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("vibee")
parser.add_argument("models", nargs="+", help="GGUF files or names")
parser.add_argument("--text", required=True, help="what divergence is measured over")
parser.add_argument("--calib", required=True)
parser.add_argument("--windows", type=int, default=4)
parser.add_argument("--ctx", type=int, default=256)
parser.add_argument("--steps", type=int, default=4)
parser.add_argument("--only", action="append", help="rows by their ids")
parser.add_argument("--record", help="write what was found to this file")
a = parser.parse_args()
a.vibee = str(Path(a.vibee).resolve())

# Options of a verb that reads a model.
OPTIONS = [
    ("v1735", "--weights fp8"), ("v1737", "--weights mxfp8"), ("v1737", "--weights mxfp6"), ("v1737", "--weights mxfp4"), ("v1739", "--weights nvfp4"),
    ("v1740", "--weights nf4"), ("v1741", "--weights int8 --act llm_int8"), ("v1744", "--weights int4"), ("v1773", "--weights w4a4 --kv int4"),
    ("v1774", "--weights qoq --kv int4"), ("v1775", "--weights fp6"), ("v1775", "--weights fp6e3m2"),
]
# Files and directories that `vibee quantize` writes; CALIB stands for the text, and what follows the bar are options of running them.
WRITTEN = [
    ("v1739", "--format nvfp4", ""), ("v1742", "--scheme quanto:qint4", ""), ("v1742", "--scheme quanto:qint8", ""),
    ("v1744", "--scheme gptq --calib CALIB", ""), ("v1745", "--scheme exl2 --budget 4.5bpw --calib CALIB", ""),
    ("v1772", "--scheme any", "--bits 8"), ("v1772", "--scheme any", "--bits 4"), ("v1773", "--scheme atom --calib CALIB", "--kv int4"),
    ("v1774", "--format q8_0 --smooth-attention --calib CALIB", "--weights qoq --kv int4"), ("v1740", "--scheme bitsandbytes:nf4", ""),
]
# Keys of training, of the model in float32; NF4 stands for the directory that v1740 wrote.
TRAINED = [
    ("v1730", "train.recompute=full"), ("v1731", "train.act_compress=int4"), ("v1732", "precision.compute=bf16 precision.master=split"),
    ("v1733", "precision.compute=f16 precision.loss_scale=dynamic"), ("v1734", "precision.compute=bf16 precision.master=none precision.bf16_update=sr"),
    ("v1736", "precision.products=fp8-hybrid"), ("v1737", "precision.products=mxfp8-hybrid"), ("v1738", "precision.products=int8-switchback"),
    ("v1741", "optimiser.moments=8bit optimiser.paged=67108864"), ("v1743", "precision.qat=q4_0"), ("v1740", "model.from=NF4 lora.rank=8"),
]


class Failed(Exception):
    pass


def run(*command):
    done = subprocess.run([a.vibee, *map(str, command)], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed((done.stderr or done.stdout).strip()[-300:])
    return done.stdout


def divergence(model, base, options):
    e = json.loads(run("eval", model, "--base", base, "--text", a.text, "--windows", a.windows, "--ctx", a.ctx, "--json", *options.split()))
    return {"kl": e["kl"], "kl_error": e["kl_error"], "top1": e["top1"]}


def last_loss(folder, keys):
    """The loss of the last step."""
    out = f"{folder}/run"
    subprocess.run(["rm", "-rf", out], check=True)
    config = {"model.from": f"{folder}/f32.gguf", "data.stores": f"{folder}/t.tokens", "data.length": 64, "train.steps": a.steps, "train.batch": 2,
              "train.seed": 1, "optimiser.rate": 1e-4, "eval.every": 0, "save.every": 0, "out": out}
    for pair in keys.split():
        key, value = pair.split("=", 1)
        config[key] = f"{folder}/nf4" if value == "NF4" else int(value) if value.isdigit() else value
    with open(f"{folder}/t.toml", "w") as f:
        f.writelines(f"{key} = {json.dumps(value)}\n" for key, value in config.items())
    run("train", f"{folder}/t.toml")
    steps = [json.loads(line) for line in open(f"{out}/metrics.jsonl")]
    return [s["loss"] for s in steps if "loss" in s][-1]


def rows_of(model, folder):
    run("convert", model, f"{folder}/f32.gguf", "--format", "f32")
    run("data", "build", f"{folder}/t.tokens", a.calib, "--tokenizer", model)
    wanted = lambda row: not a.only or row in a.only
    base = f"{folder}/f32.gguf"
    written = {}
    for row, options in OPTIONS:
        if wanted(row):
            yield row, options, lambda: divergence(base, base, options)
    for row, how, options in WRITTEN:
        if not wanted(row):
            continue

        def write_and_read():
            if how not in written:
                to = f"{folder}/nf4" if "nf4" in how else f"{folder}/w{len(written)}" + ("" if "--scheme" in how else ".gguf")
                run("quantize", base, to, *how.replace("CALIB", a.calib).split(), *(["--ctx", a.ctx] if "CALIB" in how else []))
                written[how] = to
            return divergence(written[how], base, options)
        yield row, f"quantize {how}" + (f", then {options}" if options else ""), write_and_read
    plain = {}
    for row, keys in TRAINED:
        if not wanted(row):
            continue

        def beside_plain():
            rank = " ".join(k for k in keys.split() if k.startswith("lora."))  # the same adapter, of a model in float32
            if rank not in plain:
                plain[rank] = last_loss(folder, rank)
            loss = last_loss(folder, keys)
            return {"loss": loss, "loss_f32": plain[rank], "relative": loss / plain[rank] - 1}
        yield row, "train " + keys, beside_plain


def main():
    rows, failed = [], 0
    for model in a.models:
        with tempfile.TemporaryDirectory() as folder:
            for row, how, measure in rows_of(model, folder):
                entry = {"model": os.path.basename(model), "row": row, "how": how.replace(a.calib, "TEXT")}
                try:
                    entry |= measure()
                    said = (f"KL {entry['kl']:.5f} +- {entry['kl_error']:.5f}, top-1 {100 * entry['top1']:.1f} %" if "kl" in entry else
                            f"loss {entry['loss']:.4f} after {a.steps} steps, {100 * entry['relative']:+.2f} % of f32's")
                except Failed as e:
                    failed += 1
                    entry["error"] = said = str(e)
                rows.append(entry)
                print(f"{entry['model']:20} {row} {entry['how']:70} {said}", flush=True)
    if a.record:
        record({"date": time.strftime("%Y-%m-%d", time.gmtime()), "windows": a.windows, "ctx": a.ctx, "steps": a.steps, "rows": rows}, a.record)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
