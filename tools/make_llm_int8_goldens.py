#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes what bitsandbytes' LLM.int8() makes of rows with outliers.

Made with torch 2.15.0 (CPU) and bitsandbytes 0.50.2:  python tools/make_llm_int8_goldens.py data/golden
  llm_int8.bin   little-endian, one behind the other: x f32 [ROWS, K], values of float16 as the package has its inputs; the codes of the weight i8 [N, K];
                 its scales f32 [N] (a weight is scale * code); y f32 [ROWS, N] at a threshold of 6
"""
import sys
from pathlib import Path

import bitsandbytes.functional as F
import torch

ROWS, N, K, THRESHOLD = 16, 24, 256, 6.0

if __name__ == "__main__":
    torch.manual_seed(20261130)
    x = torch.randn(ROWS, K)
    x[:, 17] *= 20  # channels of outliers, as large models have them
    x[:, 200] += 40
    x = x.half()
    w = (0.05 * torch.randn(N, K)).half()
    codes, amax, _ = F.int8_vectorwise_quant(w)
    # What Linear8bitLt's forward does, but for CPUs, where it multiplies the floats of dequantised weights.
    rows, row_amax, apart = F.int8_vectorwise_quant(x, threshold=THRESHOLD)
    assert apart.tolist() == [17, 200]
    y = torch.ops.bitsandbytes.int8_mixed_scaled_mm(x, rows, codes, row_amax, amax, apart, None)[0]
    scale = amax.float() / 127
    exact = x.double() @ (codes.double() * scale.double()[:, None]).T
    print("rms", exact.square().mean().sqrt().item(), "off", (y.double() - exact).square().mean().sqrt().item(), y.dtype)
    Path(sys.argv[1], "llm_int8.bin").write_bytes(
        x.float().numpy().tobytes() + codes.numpy().tobytes() + scale.numpy().tobytes() + y.float().numpy().tobytes())
