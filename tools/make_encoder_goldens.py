#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes data/golden/encode/: inputs of several distributions and the errors that ggml's encoders make on them.

Made with gguf 0.19.0, numpy 2.4.6 and the ggml of llama-cpp-python 0.3.36 as a shared library:
  python tools/make_encoder_goldens.py libggml-base.so data/golden/encode
  NAME.bin        half floats, 16 rows of 512
  importance.bin  float32, one row of 512: how much each column matters
  errors.txt      a line a format and distribution: root mean square errors without importance and, weighted by it, with
                  it ("-" where ggml takes none)
"""
import ctypes
import sys
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

ROWS, COLUMNS = 16, 512
SEARCHED = ["q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs", "q4_0", "q4_1", "q5_0", "q5_1"]
PLAIN = ["mxfp4", "nvfp4"]


def distributions(rng):
    g = rng.standard_normal((ROWS, COLUMNS))
    yield "normal", g
    yield "uniform", rng.uniform(-1, 1, (ROWS, COLUMNS))
    yield "cubed", rng.standard_normal((ROWS, COLUMNS)) ** 3
    yield "positive", np.abs(rng.standard_normal((ROWS, COLUMNS))) * 0.5 + 0.25
    yield "outliers", g[::-1] * np.where(rng.integers(0, 64, (ROWS, COLUMNS)) == 0, 1.0, 0.05)


def encode(lib, name, x, importance):
    kind = GGMLQuantizationType[name.upper()]
    block, size = GGML_QUANT_SIZES[kind]
    out = np.zeros((ROWS, COLUMNS // block * size), np.uint8)
    pointer = lambda a: None if a is None else a.ctypes.data_as(ctypes.c_void_p)
    written = lib.ggml_quantize_chunk(int(kind), pointer(x), pointer(out), ctypes.c_int64(0), ctypes.c_int64(ROWS),
                                      ctypes.c_int64(COLUMNS), pointer(importance))
    assert written == out.nbytes, name
    return dequantize(out, kind).astype(np.float64)


def main():
    lib, out = ctypes.CDLL(sys.argv[1]), Path(sys.argv[2])
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20251129)
    importance = np.exp(1.5 * rng.standard_normal(COLUMNS)).astype(np.float32)
    (out / "importance.bin").write_bytes(importance.tobytes())
    lines = []
    for distribution, values in distributions(rng):
        halves = values.astype(np.float16)
        (out / f"{distribution}.bin").write_bytes(halves.tobytes())
        x = np.ascontiguousarray(halves.astype(np.float32))
        for name in SEARCHED + PLAIN:
            plain = np.sqrt(np.mean((encode(lib, name, x, None) - x) ** 2))
            weighted = "-"
            if name in SEARCHED:
                squares = (encode(lib, name, x, importance) - x) ** 2
                weighted = f"{np.sqrt((squares * importance).sum() / (ROWS * importance.sum())):.9g}"
            lines.append(f"{name} {distribution} {plain:.9g} {weighted}")
    (out / "errors.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
