#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes data/golden/blocks/: random blocks of each format with the `gguf` package's floats, and its encodings of one input.

Made with gguf 0.19.0 and numpy 2.4.6:  python tools/make_block_goldens.py data/golden/blocks
  NAME.blocks.bin   block bytes, random codes, scales random over all finite halves with the extremes among them
  NAME.floats.bin   what gguf.quants.dequantize gives for them, float32
  input.bin         float32 values: plain, outliers, constants, zeros, tiny and large
  NAME.encoded.bin  gguf.quants.quantize of input.bin, for the formats it encodes
"""
import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGML_QUANT_SIZES
from gguf.quants import dequantize, quantize

# format: byte offsets of its halves within a block
HALVES = {"q4_0": [0], "q4_1": [0, 2], "q5_0": [0], "q5_1": [0, 2], "q8_0": [0], "q4_k": [0, 2], "q5_k": [0, 2],
          "q6_k": [208], "f16": [0], "bf16": [], "f32": []}
# The same for formats added later: they draw from a stream of their own, so that the files above stay as they are.
LATER_HALVES = {"q2_k": [80, 82], "q3_k": [108], "iq4_nl": [0], "iq4_xs": [0], "tq1_0": [52], "tq2_0": [64], "mxfp4": [],
                "nvfp4": []}
# Bytes that are scales, and the values that every run has in them.
SCALE_BYTES = {"mxfp4": ([0], [0, 1, 2, 3, 253, 254, 255]),
               "nvfp4": ([0, 1, 2, 3], [0, 1, 7, 8, 0x7E, 0x7F, 0x80, 0x81, 0xFE, 0xFF])}
ENCODED = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "f16", "bf16"]
LATER_ENCODED = ["tq1_0", "tq2_0", "mxfp4"]
EXTREMES = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x7BFF, 0xFBFF, 0x3C00, 0xBC00]


def finite_halves(rng, n):
    h = rng.integers(0, 65536, n).astype(np.uint16)
    h = np.where((h & 0x7C00) == 0x7C00, h & 0xBFFF, h).astype(np.uint16)
    h[: len(EXTREMES)] = EXTREMES
    return rng.permutation(h)


def blocks_of(name, rng):
    block, size = GGML_QUANT_SIZES[T[name.upper()]]
    count = 4096 // block
    raw = rng.integers(0, 256, (count, size)).astype(np.uint8)
    for offset in {**HALVES, **LATER_HALVES}[name]:
        raw[:, offset:offset + 2] = finite_halves(rng, count).view(np.uint8).reshape(count, 2)
    offsets, extremes = SCALE_BYTES.get(name, ([], []))
    for offset in offsets:
        raw[rng.permutation(count)[:len(extremes)], offset] = extremes
    if name in ("bf16", "f32"):  # keep NaN out: its payload is not part of the format
        v = raw.view(np.uint16 if name == "bf16" else np.uint32)
        top = 0x7F80 if name == "bf16" else 0x7F800000
        v[(v & top) == top] &= ~v.dtype.type(top >> 1)
    return raw


def encode_input(rng):
    x = rng.standard_normal((64, 64)).astype(np.float32)
    x[8:16] *= np.float32(0.02)
    x[16:20, ::13] *= np.float32(40)
    x[20:24] = np.abs(x[20:24]) + np.float32(3)
    x[24] = 0
    x[25] = np.float32(-1.25)
    x[26] = np.float32(0.7)
    x[27:29] *= np.float32(1e-6)
    x[29:31] *= np.float32(3e3)
    x[31] = np.round(x[31] * 2) / 2  # ties
    x[32, 1::2] = -x[32, ::2]        # equal magnitudes, both signs
    x[33] = np.linspace(-8, 8, 64, dtype=np.float32)
    return x


def write_blocks(out, names, rng):
    for name in names:
        raw = blocks_of(name, rng)
        floats = dequantize(raw.reshape(1, -1), T[name.upper()]).astype(np.float32)
        (out / f"{name}.blocks.bin").write_bytes(raw.tobytes())
        (out / f"{name}.floats.bin").write_bytes(floats.tobytes())


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20240607)
    write_blocks(out, HALVES, rng)
    x = encode_input(rng)
    (out / "input.bin").write_bytes(x.tobytes())
    write_blocks(out, LATER_HALVES, np.random.default_rng(20251125))
    for name in ENCODED + LATER_ENCODED:
        (out / f"{name}.encoded.bin").write_bytes(quantize(x.reshape(-1, 256), T[name.upper()]).tobytes())


if __name__ == "__main__":
    main()
