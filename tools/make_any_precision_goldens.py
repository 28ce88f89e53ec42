#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Goldens of codes that are looked up in tables of rows, and of nested codes: make_any_precision_goldens.py data/golden

blocks/{i3m64,i5m64,i6m64,i7m64,i8m64,lut3,...,lut8}.{blocks,floats}.bin: random blocks and what they mean, in numpy.
any_precision/means.bin: numbers with weights, and the sum of squared errors of scikit-learn's k-means of them, for each case
u32 n, u32 k, f32 x[n], f32 weights[n], f64 sum. any_precision/planes.bin: for each case u32 rows, u32 k, u8 codes[rows][k],
u32 words[8][rows][k / 32] as Any-Precision LLM packs them (Park et al., ICML 2024): numpy's packbits, the bytes of 1024 weights
dealt to 32 threads."""
import json
import sys
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans


def bits_of(codes, bit):
    return (codes >> bit & 1).astype(np.uint8)


def write_offset_groups(out, rng):
    for bits in (3, 5, 6, 7, 8):
        count = 64
        scale = (rng.standard_normal(count) * 2.0 ** rng.integers(-20, 10, count)).astype(np.float32)
        scale[:3] = [0, -0.0, 1e-42]
        offset = rng.standard_normal((count, 1)).astype(np.float32)
        codes = rng.integers(0, 1 << bits, (count, 2, 32))
        parts = []
        if bits == 8:
            parts.append(codes.astype(np.uint8))
            codes = codes.astype(np.uint8).view(np.int8)
        if 4 <= bits < 8:
            parts.append((codes[:, :, :16] & 15 | (codes[:, :, 16:] & 15) << 4).astype(np.uint8))
        if bits % 4 >= 2:
            pair = (codes >> (4 if bits > 4 else 0) & 3).reshape(count, 2, 4, 8)
            parts.append(sum(pair[:, :, i] << 2 * i for i in range(4)).astype(np.uint8))
        if bits % 2:
            parts.append(np.packbits(bits_of(codes, bits - 1), axis=2, bitorder="little"))
        packed = np.concatenate(parts, axis=2).reshape(count, -1)
        raw = np.hstack([scale.view(np.uint8).reshape(count, 4), offset.view(np.uint8), packed])
        floats = scale[:, None] * codes.reshape(count, 64).astype(np.float32) + offset
        (out / f"i{bits}m64.blocks.bin").write_bytes(raw.tobytes())
        (out / f"i{bits}m64.floats.bin").write_bytes(floats.astype(np.float32).tobytes())


def write_tables(out, rng):
    for bits in range(3, 9):
        table = (rng.standard_normal(1 << bits) * 2.0 ** rng.integers(-20, 10, 1 << bits)).astype(np.float16)
        table[:3] = [0, -0.0, 6e-8]
        codes = rng.integers(0, 1 << bits, 4096)
        planes = [np.packbits(bits_of(codes, b), bitorder="little").view(np.uint32) for b in range(bits - 1, -1, -1)]
        (out / f"lut{bits}.blocks.bin").write_bytes(table.tobytes() + np.stack(planes, axis=1).tobytes())
        (out / f"lut{bits}.floats.bin").write_bytes(table[codes].astype(np.float32).tobytes())


def write_means(path, rng):
    raw = b""
    for case in range(24):
        n, k = int(rng.integers(40, 400)), int(rng.choice([2, 8, 16]))
        x = (rng.standard_normal(n) if case % 3 else rng.standard_t(3, n)).astype(np.float32)
        weights = np.ones(n, np.float32) if case % 2 else (rng.standard_normal(n) ** 2).astype(np.float32)
        found = KMeans(k, n_init=30, max_iter=1000, tol=0, random_state=case).fit(
            x.astype(np.float64)[:, None], sample_weight=weights.astype(np.float64))
        raw += np.array([n, k], np.uint32).tobytes() + x.tobytes() + weights.tobytes() + np.float64(found.inertia_).tobytes()
    path.write_bytes(raw)


def write_planes(path, rng):
    raw = b""
    for rows, k in ((3, 1024), (2, 32), (2, 576), (1, 2048 + 96)):
        codes = rng.integers(0, 256, (rows, k)).astype(np.uint8)
        words = np.zeros((8, rows, k // 32), np.uint32)
        for plane in range(8):
            packed = np.packbits(bits_of(codes, 7 - plane), axis=1)  # the first weight is a byte's top bit
            for first in range(0, k // 32, 32):
                threads = min(32, k // 32 - first)
                for t in range(threads):
                    for j in range(4):
                        words[plane, :, first + t] |= packed[:, 4 * first + j * threads + t].astype(np.uint32) << (24 - 8 * j)
        raw += np.array([rows, k], np.uint32).tobytes() + codes.tobytes() + words.tobytes()
    path.write_bytes(raw)


def write_seeds(folder, rng):
    """Linears of both tables for the fuzzer: a line of config, and a safetensors file of 2 x 64 weights."""
    planes = {"a.qweight": ("I32", [8, 2, 2], rng.integers(0, 256, 128).astype(np.uint8).tobytes())}
    luts = {f"a.lut{b}": ("F16", [2, 1 << b], rng.standard_normal(2 << b).astype(np.float16).tobytes()) for b in range(3, 9)}
    ranges = {f"a.{name}": ("F32", [2, 1], rng.standard_normal(2).astype(np.float32).tobytes()) for name in ("scale", "low")}
    widths = {"seed_precision": 3, "parent_precision": 8}
    for name, config, tensors in (("any-lut", widths, planes | luts), ("any-affine", widths | {"table": "affine"}, planes | ranges)):
        header, data = {}, b""
        for key, (dtype, shape, raw) in tensors.items():
            header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
            data += raw
        text = json.dumps(header).encode()
        (folder / name).write_bytes(json.dumps(config).encode() + b"\n" + len(text).to_bytes(8, "little") + text + data)


def main():
    out = Path(sys.argv[1])
    (out / "any_precision").mkdir(parents=True, exist_ok=True)
    write_offset_groups(out / "blocks", np.random.default_rng(20260101))
    write_tables(out / "blocks", np.random.default_rng(20260102))
    write_means(out / "any_precision" / "means.bin", np.random.default_rng(20260103))
    write_planes(out / "any_precision" / "planes.bin", np.random.default_rng(20260104))
    write_seeds(Path(__file__).parent.parent / "fuzz" / "quantized_fuzz", np.random.default_rng(20260105))


if __name__ == "__main__":
    main()
