#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes what optimisers with moments in 8 bits are held against: bitsandbytes' own maps, blocks and steps.

Made with bitsandbytes 0.50.2 and torch 2.15.0 (CPU):  python tools/make_optimiser_goldens.py data/golden/optimiser
  maps.bin          create_dynamic_map(signed=True), then signed=False: 2 x 256 f32
  blocks.bin        5,000 numbers, numbers() below, in blocks of 256, signed, then their magnitudes, unsigned: codes (u8), then the
                    largest magnitude of each block (f32)
  RULE.bin          adam, momentum, lion: `optimizer_update_8bit_blockwise_pytorch` on weights() and gradients(t); the state
                    behind step 1 (codes, largest magnitudes, the same of the second moment where there is one), the weights behind
                    step 100
What bitsandbytes has of C++ for the CPU rounds to a neighbour of the nearest code in 1 of 700 numbers and zero to another value, so blocks and
steps come from its definition in PyTorch.
"""
import sys
from pathlib import Path

import numpy as np
import torch

torch.compile = lambda f=None, **_: f if f is not None else (lambda g: g)  # as it is written, without fused multiply-adds
import bitsandbytes.functional as F
from bitsandbytes.backends.triton import kernels_optim as bnb

NUMBERS, WEIGHTS, STEPS = 5000, 4096, 100
RULES = {  # name -> betas, eps, rate, decay
    "adam": (0.9, 0.95, 1e-8, 3e-3, 0.1),
    "momentum": (0.9, 0.0, 0.0, 1e-2, 0.0),
    "lion": (0.9, 0.99, 0.0, 1e-3, 0.1),
}


def numbers():
    i = np.arange(NUMBERS, dtype=np.int64)
    return (((i * 7919 + 104729) % 4001 - 2000) * np.exp2(-(i * 31 % 23)) / 1000).astype(np.float32)


def gradients(t):
    i = np.arange(WEIGHTS, dtype=np.int64)
    return (((i * 7919 + t * 104729) % 4001 - 2000) * np.exp2(-14.0 - (i * 31 + t) % 9)).astype(np.float32)


def weights():
    i = np.arange(WEIGHTS, dtype=np.int64)
    return ((i * 257 % 1999 - 999) / 1024).astype(np.float32)


def main(root):
    root.mkdir(parents=True, exist_ok=True)
    maps = [F.create_dynamic_map(signed=s) for s in (True, False)]
    (root / "maps.bin").write_bytes(b"".join(m.numpy().tobytes() for m in maps))
    blocks = b""
    for m, x in zip(maps, (numbers(), np.abs(numbers()))):
        codes, largest = bnb._quantize_blockwise_pytorch(torch.from_numpy(x), m, 256)
        blocks += codes.numpy().tobytes() + largest.numpy().tobytes()
    (root / "blocks.bin").write_bytes(blocks)
    for name, (beta1, beta2, eps, rate, decay) in RULES.items():
        p, out = torch.from_numpy(weights().copy()), b""
        state = [torch.full((WEIGHTS,), zero, dtype=torch.uint8) for zero in (127, 0)]
        largest = [torch.zeros(WEIGHTS // 256) for _ in state]
        second = name == "adam"
        for t in range(1, STEPS + 1):
            bnb.optimizer_update_8bit_blockwise_pytorch(
                p, torch.from_numpy(gradients(t)), state[0], state[1] if second else None, beta1, beta2, 0.0, 0.0, eps, t, rate,
                maps[0], maps[1] if second else None, largest[0], largest[1] if second else None, decay, 1.0, False,
                optimizer_name=name)
            if t == 1:
                for m in range(2 if second else 1):
                    out += state[m].numpy().tobytes() + largest[m].numpy().tobytes()
        (root / f"{name}.bin").write_bytes(out + p.numpy().tobytes())


main(Path(sys.argv[1]))
