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

import ml_dtypes
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


def write_groups(out, rng):
    """Groups with scales in f32, which no package has: their definition in numpy, on values of ml_dtypes and bitsandbytes."""
    for kind in ("i4z", "i4m", "i8s"):
        for group in (32, 64, 128):
            count = 4096 // group
            scale = (rng.standard_normal(count) * 2.0 ** rng.integers(-20, 10, count)).astype(np.float32)
            scale[:3] = [0, -0.0, 1e-42]
            if kind == "i8s":
                codes = rng.integers(-128, 128, (count, group)).astype(np.int8)
                raw = np.hstack([scale.view(np.uint8).reshape(count, 4), codes.view(np.uint8)])
                floats = scale[:, None] * codes.astype(np.float32)
            else:
                codes = rng.integers(0, 16, (count, group)).astype(np.uint8)
                halves = codes.reshape(count, group // 32, 2, 16)
                packed = (halves[:, :, 0] | halves[:, :, 1] << 4).reshape(count, group // 2)
                if kind == "i4z":
                    zero = rng.integers(0, 17, (count, 1)).astype(np.uint8)
                    second, floats = zero, scale[:, None] * (codes.astype(np.float32) - zero)
                else:
                    offset = rng.standard_normal((count, 1)).astype(np.float32)
                    second, floats = offset.view(np.uint8), scale[:, None] * codes.astype(np.float32) + offset
                raw = np.hstack([scale.view(np.uint8).reshape(count, 4), second, packed])
            (out / f"{kind}{group}.blocks.bin").write_bytes(raw.tobytes())
            (out / f"{kind}{group}.floats.bin").write_bytes(floats.astype(np.float32).tobytes())

    import bitsandbytes.functional as bnb
    import torch
    for kind, group in (("e4m3s", 32), ("e4m3s", 128), ("nf4s", 64), ("fp4s", 64)):
        count = 4096 // group
        scale = (rng.standard_normal(count) * 2.0 ** rng.integers(-20, 10, count)).astype(np.float32)
        if kind == "e4m3s":
            codes = rng.integers(0, 256, (count, group)).astype(np.uint8)
            codes[(codes & 0x7F) == 0x7F] = 0
            packed, values = codes, codes.view(ml_dtypes.float8_e4m3fn).astype(np.float32)
        else:
            codes = rng.integers(0, 16, (count, group)).astype(np.uint8)
            halves = codes.reshape(count, group // 32, 2, 16)
            packed = (halves[:, :, 0] | halves[:, :, 1] << 4).reshape(count, group // 2)
            _, state = bnb.quantize_4bit(torch.zeros(64, 64), quant_type=kind[:3], blocksize=64)
            values = state.code.numpy().astype(np.float32)[codes]
        raw = np.hstack([scale.view(np.uint8).reshape(count, 4), packed])
        (out / f"{kind}{group}.blocks.bin").write_bytes(raw.tobytes())
        (out / f"{kind}{group}.floats.bin").write_bytes((scale[:, None] * values).astype(np.float32).tobytes())


def write_qoq(out, rng, x):
    """Two levels of integers (Lin et al., arXiv:2405.04532, section 4.1) in numpy: random blocks, and rows of x encoded."""
    for group in (32, 64, 128):
        count = 4096 // group
        scale = finite_halves(rng, count)
        step, zero = rng.integers(1, 17, (count, 1)), rng.integers(0, 16, (count, 1))
        codes = rng.integers(0, 16, (count, group))
        floats = scale.view(np.float16).astype(np.float32)[:, None] * (step * (codes - zero)).astype(np.float32)
        (out / f"qoq{group}.blocks.bin").write_bytes(qoq_bytes(scale, step, zero, codes).tobytes())
        (out / f"qoq{group}.floats.bin").write_bytes(floats.tobytes())

        rows = x.reshape(-1, max(group, 64))
        largest = np.abs(rows).max(1)
        scale = (largest / np.float32(119)).astype(np.float16).view(np.uint16)
        scale[(scale == 0) & (largest > 0)] = 1
        s1 = scale.view(np.float16).astype(np.float32)[:, None]
        w8 = np.clip(np.rint(np.divide(rows, s1, out=np.zeros_like(rows), where=s1 > 0)), -119, 119).astype(int).reshape(-1, group)
        low, high = np.minimum(w8.min(1, keepdims=True), 0), np.maximum(w8.max(1, keepdims=True), 0)
        near = np.clip(np.rint((high - low) / 15).astype(int), 1, 16)
        tried = []
        for step in (near, np.minimum(near + 1, 16)):  # the one above clips nothing
            zero = np.minimum(np.rint(-low / step).astype(int), 15)
            codes = np.clip(np.rint(w8 / step).astype(int) + zero, 0, 15)
            tried.append((step, zero, codes, ((step * (codes - zero) - w8) ** 2).sum(1, keepdims=True)))
        step, zero, codes = (np.where(tried[1][3] < tried[0][3], b, a) for a, b in zip(tried[0][:3], tried[1][:3]))
        assert np.abs(step * (codes - zero)).max() <= 127
        scale = np.repeat(scale, rows.shape[1] // group)
        (out / f"qoq{group}.encoded.bin").write_bytes(qoq_bytes(scale, step, zero, codes).tobytes())


def qoq_bytes(scale, step, zero, codes):
    count, group = codes.shape
    halves = codes.astype(np.uint8).reshape(count, group // 32, 2, 16)
    packed = (halves[:, :, 0] | halves[:, :, 1] << 4).reshape(count, group // 2)
    return np.hstack([scale.view(np.uint8).reshape(count, 2), (step - 1 | zero << 4).astype(np.uint8), packed])


def write_row_nvfp4(out, rng):
    """One row of NVFP4 behind a scale in f32."""
    blocks = (out / "nvfp4.blocks.bin").read_bytes()
    floats = np.frombuffer((out / "nvfp4.floats.bin").read_bytes(), np.float32)
    scale = np.float32(rng.standard_normal() * 0.001)
    (out / "nvfp4s.blocks.bin").write_bytes(scale.tobytes() + blocks)
    (out / "nvfp4s.floats.bin").write_bytes((scale * floats).tobytes())


def write_atom(out, rng, x):
    """Atom (Zhao et al., arXiv:2310.19102, section 5.1) in numpy: i4aN are groups of four bits behind a half, of atomN the last group
    of a row has eight, whose upper four stand as nibbles before all groups."""
    def nibbles(codes):
        halves = codes.astype(np.uint8).reshape(*codes.shape[:-1], codes.shape[-1] // 32, 2, 16)
        return (halves[..., 0, :] | halves[..., 1, :] << 4).reshape(*codes.shape[:-1], codes.shape[-1] // 2)

    def row_bytes(scale, codes, kept):
        """scale [rows, groups] halves; codes [rows, groups, group]."""
        blocks = np.concatenate([scale.view(np.uint8).reshape(*scale.shape, 2), nibbles(codes & 15)], -1).reshape(len(scale), -1)
        return (np.hstack([nibbles(codes[:, -1] >> 4), blocks]) if kept else blocks).tobytes()

    for group in (32, 64, 128):
        for kept in (False, True):
            name = f"{'atom' if kept else 'i4a'}{group}"
            scale = finite_halves(rng, 4096 // group).reshape(1, -1)
            codes, zero = rng.integers(0, 16, (1, 4096 // group, group)), np.full((1, 4096 // group, 1), 8)
            if kept:
                codes[:, -1], zero[:, -1] = rng.integers(0, 256, (1, group)), 128
            floats = scale.view(np.float16).astype(np.float32)[..., None] * (codes - zero).astype(np.float32)
            (out / f"{name}.blocks.bin").write_bytes(row_bytes(scale, codes, kept))
            (out / f"{name}.floats.bin").write_bytes(floats.tobytes())

            rows = x.reshape(-1, 2 if kept else max(group, 64) // group, group)
            largest = np.abs(rows).max(-1)
            wanted, levels = largest * np.float32(0.85) / np.float32(7), np.full(rows.shape[1], 7)
            if kept:
                wanted[:, -1], levels[-1] = largest[:, -1] / np.float32(127), 127
            scale = np.minimum(wanted, np.float32(65504)).astype(np.float16).view(np.uint16)
            scale[(scale == 0) & (largest > 0)] = 1
            s = scale.view(np.float16).astype(np.float32)[..., None]
            q = np.rint(np.divide(rows, s, out=np.zeros_like(rows), where=s > 0))
            codes = (np.clip(q, -levels[:, None] - 1, levels[:, None]) + levels[:, None] + 1).astype(int)
            (out / f"{name}.encoded.bin").write_bytes(row_bytes(scale, codes, kept))


def write_small_floats(out, rng):
    """Six bits in groups, and the Microscaling formats: values of ml_dtypes times a float or a power of two."""
    kinds = {"e2m3s32": (ml_dtypes.float6_e2m3fn, 32), "e2m3s128": (ml_dtypes.float6_e2m3fn, 128),
             "e3m2s32": (ml_dtypes.float6_e3m2fn, 32), "e3m2s128": (ml_dtypes.float6_e3m2fn, 128),
             "mxfp8": (ml_dtypes.float8_e4m3fn, 32), "mxfp8e5m2": (ml_dtypes.float8_e5m2, 32),
             "mxfp6": (ml_dtypes.float6_e2m3fn, 32), "mxfp6e3m2": (ml_dtypes.float6_e3m2fn, 32)}
    for name, (kind, group) in kinds.items():
        count, six = 4096 // group, "float6" in kind.__name__
        codes = rng.integers(0, 64 if six else 256, (count, group)).astype(np.uint8)
        codes[~np.isfinite(codes.view(kind).astype(np.float32))] = 0
        values = codes.view(kind).astype(np.float32)
        if six:
            c = codes.reshape(count, group // 32, 32)
            low = (c[:, :, :16] & 15) | (c[:, :, 16:] & 15) << 4
            high = (c >> 4).reshape(count, group // 32, 4, 8)
            pairs = high[:, :, 0] | high[:, :, 1] << 2 | high[:, :, 2] << 4 | high[:, :, 3] << 6
            packed = np.concatenate([low, pairs], -1).reshape(count, -1)
        else:
            packed = codes
        if name.startswith("mx"):
            scale_bytes = rng.integers(90, 160, (count, 1)).astype(np.uint8)
            scale_bytes[:4, 0] = [0, 1, 2, 200]
            scale = scale_bytes.view(ml_dtypes.float8_e8m0fnu).astype(np.float32)
        else:
            scale = (rng.standard_normal((count, 1)) * 2.0 ** rng.integers(-20, 10, (count, 1))).astype(np.float32)
            scale_bytes = scale.view(np.uint8)
        (out / f"{name}.blocks.bin").write_bytes(np.hstack([scale_bytes, packed]).tobytes())
        (out / f"{name}.floats.bin").write_bytes((scale * values).astype(np.float32).tobytes())


def write_minifloats(out):
    """minifloat.NAME.codes.bin: the value of every code; minifloat.NAME.rounded.bin: the codes of minifloat.input.bin, saturated."""
    rng = np.random.default_rng(20251130)
    x = (rng.standard_normal(8192) * 2.0 ** rng.integers(-20, 12, 8192)).astype(np.float32)
    kinds = {"e4m3": ml_dtypes.float8_e4m3fn, "e5m2": ml_dtypes.float8_e5m2, "e3m2": ml_dtypes.float6_e3m2fn,
             "e2m3": ml_dtypes.float6_e2m3fn, "e2m1": ml_dtypes.float4_e2m1fn}
    at = 0
    for kind in kinds.values():  # midpoints between neighbours, and what lies beside them
        top = 2 ** (8 if "float8" in kind.__name__ else 6 if "float6" in kind.__name__ else 4) // 2
        values = np.arange(top, dtype=np.uint8).view(kind).astype(np.float32)
        values = values[np.isfinite(values)]
        middle = (values[1:] + values[:-1]) / 2
        for row in (middle, np.nextafter(middle, np.float32(np.inf)), np.nextafter(middle, np.float32(0)), -middle):
            x[at:at + row.size] = row
            at += row.size
    (out / "minifloat.input.bin").write_bytes(x.tobytes())
    for name, kind in kinds.items():
        bits = 8 if "float8" in kind.__name__ else 6 if "float6" in kind.__name__ else 4
        codes = np.arange(2 ** bits, dtype=np.uint8)
        (out / f"minifloat.{name}.codes.bin").write_bytes(codes.view(kind).astype(np.float32).tobytes())
        largest = np.float32(ml_dtypes.finfo(kind).max)
        (out / f"minifloat.{name}.rounded.bin").write_bytes(np.clip(x, -largest, largest).astype(kind).view(np.uint8).tobytes())


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20240607)
    write_blocks(out, HALVES, rng)
    x = encode_input(rng)
    (out / "input.bin").write_bytes(x.tobytes())
    write_blocks(out, LATER_HALVES, np.random.default_rng(20251125))
    write_groups(out, np.random.default_rng(20251129))
    write_minifloats(out)
    write_small_floats(out, np.random.default_rng(20251201))
    write_qoq(out, np.random.default_rng(20251203), x)
    write_atom(out, np.random.default_rng(20251230), x)
    write_row_nvfp4(out, np.random.default_rng(20251231))
    for name in ENCODED + LATER_ENCODED:
        (out / f"{name}.encoded.bin").write_bytes(quantize(x.reshape(-1, 256), T[name.upper()]).tobytes())


if __name__ == "__main__":
    main()
