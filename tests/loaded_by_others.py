#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Directories that `vibee quantize --scheme` writes, loaded by the projects whose layouts they are in: logits beside those of the same directory
as vibee reads it, brought to float32. By hand, for it wants torch, transformers, and of PyPI gptqmodel (gptq, awq), compressed-tensors, bitsandbytes, torchao.

usage: tests/loaded_by_others.py VIBEE MODEL [SCHEME...]
"""
import subprocess
import sys
import tempfile

import torch

torch.ops.load_library = lambda path: None  # of GPUs, which torchao's packing asks for
from transformers import AutoModelForCausalLM  # noqa: E402

SCHEMES = ["gptq", "awq", "compressed-tensors", "bitsandbytes:nf4", "torchao:int8wo", "torchao:intxwo", "torchao:float8wo"]


def load(directory, scheme):
    if scheme in ("gptq", "awq"):
        from gptqmodel import BACKEND, GPTQModel
        backend = BACKEND.GPTQ_TORCH if scheme == "gptq" else BACKEND.AWQ_TORCH
        return GPTQModel.load(directory, device="cpu", backend=backend, dtype=torch.float16).model  # its kernels have no other
    # Weights of torchao keep the type that they were made of.
    return AutoModelForCausalLM.from_pretrained(directory, dtype="auto" if scheme.startswith("torchao") else torch.float32)


def main():
    vibee, model, *schemes = sys.argv[1:]
    far = False
    for scheme in schemes or SCHEMES:
        with tempfile.TemporaryDirectory() as folder:
            run = lambda *command: subprocess.run([vibee, *command], check=True, stdout=subprocess.DEVNULL)
            run("quantize", model, f"{folder}/a", "--scheme", scheme)
            run("convert", f"{folder}/a", f"{folder}/b", "--to", "hf", "--format", "f32")
            theirs = load(f"{folder}/a", scheme)
            ours = AutoModelForCausalLM.from_pretrained(f"{folder}/b", dtype=torch.float32)
            ids = (torch.arange(64) * 37 % ours.config.vocab_size).view(1, -1)
            with torch.no_grad():
                x, y = theirs(ids).logits.float(), ours(ids).logits.float()
            linear = next(type(m).__name__ for name, m in theirs.named_modules() if name.endswith("mlp.down_proj"))
            off, size = (x - y).abs().max().item(), y.abs().max().item()
            kl = torch.nn.functional.kl_div(x.log_softmax(-1), y.log_softmax(-1), log_target=True, reduction="batchmean").item() / ids.shape[1]
            # Kernels of theirs compute in 16 bits: single logits are off by a hundredth of the largest, the distribution hardly is.
            far = far or not kl <= 1e-3
            print(f"{scheme}: {linear}, logits off by {off:.2g} of {size:.3g} at most, KL {kl:.2g}", flush=True)
    sys.exit(1 if far else 0)


if __name__ == "__main__":
    main()
