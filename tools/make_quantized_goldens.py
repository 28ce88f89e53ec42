#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes data/golden/quantized/: tiny random Llamas whose linears are quantised as other projects do it, and the logits that
`transformers` computes from the same weights in float32.

Made with torch 2.15.0 (CPU), transformers 5.24.0, compressed-tensors 0.20.1 and bitsandbytes 0.49:  python tools/make_quantized_goldens.py data/golden/quantized
  NAME/config.json, NAME/model.safetensors   the directory; compressed-tensors and bitsandbytes pack their own, gptq, awq, fp8,
                                             exl2 and qoq are packed here by the layouts that those projects document
  ../../fuzz/quantized_fuzz/{qoq*,*nvfp4}   one linear each
With names behind the folder, of these alone.
  NAME/golden.json   `prompt`, `greedy`, `vocab`, and `tensor`: the name of the linear whose float32 values are in weight.bin
  NAME/logits.bin    as in data/golden/hf
"""
import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers as t
from safetensors.torch import save, save_file

import make_hf_goldens as hf

SIZES = dict(vocab_size=60, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=64, attn_implementation="eager", tie_word_embeddings=False)
CHECKED = "model.layers.1.mlp.down_proj"


def pack(codes, axis):
    """Eight 4-bit codes along an axis an int32, the lowest first."""
    codes = codes.astype(np.uint32)
    shape = list(codes.shape)
    shape[axis:axis + 1] = [shape[axis] // 8, 8]
    split = np.moveaxis(codes.reshape(shape), axis + 1, -1)
    return torch.from_numpy((split << (4 * np.arange(8, dtype=np.uint32))).sum(-1).astype(np.uint32).view(np.int32))


def stream(codes, bits):
    """Codes along axis 0 one behind the other from the lowest bit on, in int32 words."""
    lanes = (codes.astype(np.uint32).T[:, :, None] >> np.arange(bits, dtype=np.uint32)) & 1
    words = np.packbits(lanes.reshape(codes.shape[1], -1).astype(np.uint8), axis=1, bitorder="little")
    return torch.from_numpy(np.ascontiguousarray(words.view("<i4").T))


def affine(w, group, bits=4):
    """Codes [n, k], scales and zero points [n, groups], and the values."""
    n, k = w.shape
    most = 2 ** bits - 1
    x = w.reshape(n, k // group, group)
    low, high = np.minimum(x.min(-1), 0), np.maximum(x.max(-1), 0)
    scale = ((high - low) / most).astype(np.float16)
    s = scale.astype(np.float32)
    zero = np.clip(np.rint(-low / s), 0, most)
    codes = np.clip(np.rint(x / s[..., None]) + zero[..., None], 0, most)
    return codes.reshape(n, k), scale, zero, (s[..., None] * (codes - zero[..., None])).reshape(n, k)


def gptq(w, group, version=1):
    group = w.shape[1] if group == -1 else group
    codes, scale, zero, values = affine(w, group)
    stored = (zero - 1) % 16 if version == 1 else zero
    return dict(qweight=pack(codes.T, 0), qzeros=pack(stored.T, 1), scales=torch.from_numpy(scale.T.copy()),
                g_idx=torch.arange(w.shape[1], dtype=torch.int32) // group), values


def gptq_bits(w, bits, group=32, order=False):
    """Of other widths; with `order`, groups of inputs in an order that those of one width share."""
    k = w.shape[1]
    by = np.random.default_rng(k).permutation(k) if order else np.arange(k)
    if bits == 8:  # symmetric: zero point 128
        scale = (np.abs(w[:, by].reshape(-1, k // group, group)).max(-1) / 127).astype(np.float16)
        s = np.repeat(scale.astype(np.float32), group, 1)
        codes, zero = np.clip(np.rint(w[:, by] / s), -128, 127) + 128, np.full(scale.shape, 128.0)
        values = s * (codes - 128)
    else:
        codes, scale, zero, values = affine(w[:, by], group, bits)
    back = np.argsort(by)
    return dict(qweight=stream(codes[:, back].T, bits), qzeros=stream(((zero - 1) % 2 ** bits), bits).T.contiguous(),
                scales=torch.from_numpy(scale.T.copy()), g_idx=torch.from_numpy((back // group).astype(np.int32))), values[:, back].astype(np.float32)


def marlin(w, group):
    """As marlin/__init__.py describes Layer.pack: tiles of 16 x 16 in the order of tensor cores."""
    n, k = w.shape
    size = k if group == -1 else group
    x = w.reshape(n, k // size, size)
    scale = np.maximum(np.abs(x).max(-1) / 7, 2e-6).astype(np.float16)
    s = scale.astype(np.float32)[..., None]
    codes = np.clip(np.rint(x / s) + 8, 0, 15)
    values = (s * (codes - 8)).reshape(n, k)
    order = []
    for lane in range(32):
        one = [16 * row + lane // 4 + 8 * half for half in (0, 1) for row in (2 * (lane % 4), 2 * (lane % 4) + 1, 2 * (lane % 4 + 4), 2 * (lane % 4 + 4) + 1)]
        for tile in range(4):
            order += [p + 256 * tile for p in one]
    order = np.array(order).reshape(-1, 8)[:, [0, 2, 4, 6, 1, 3, 5, 7]].reshape(-1)
    tiles = codes.reshape(n, k).T.reshape(k // 16, 16, n // 16, 16).transpose(0, 2, 1, 3).reshape(k // 16, n * 16)
    packed = pack(tiles.reshape(-1, 1024)[:, order].reshape(tiles.shape), 1)
    by = [i + 8 * j for i in range(8) for j in range(8)] if group != -1 else [2 * i + j for i in range(4) for j in (0, 1, 8, 9, 16, 17, 24, 25)]
    scales = scale.T.reshape(-1, len(by))[:, by].reshape(-1, n)
    return dict(B=packed, s=torch.from_numpy(scales.copy())), values.astype(np.float32)


def awq(w, group):
    codes, scale, zero, values = affine(w, group)
    order = np.arange(w.shape[0]).reshape(-1, 8)[:, [0, 2, 4, 6, 1, 3, 5, 7]].reshape(-1)
    return dict(qweight=pack(codes.T[:, order], 1), qzeros=pack(zero.T[:, order], 1), scales=torch.from_numpy(scale.T.copy())), values


def compressed(w, arguments, kind):
    from compressed_tensors.compressors import IntQuantizationCompressor, PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams
    args = QuantizationArgs(**arguments)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    x = torch.from_numpy(w)
    groups = x.reshape(x.shape[0], -1, args.group_size) if args.group_size else x[:, None]
    scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
    compressor = PackedQuantizationCompressor if kind == "pack-quantized" else IntQuantizationCompressor
    state = dict(weight=x, weight_scale=scale.to(torch.bfloat16), weight_zero_point=zero)
    made = compressor.compress(state, scheme)
    values = compressor.decompress({**made, "weight_scale": made["weight_scale"].float()}, scheme)["weight"]
    return made, values.float().numpy()


def mxfp4(w):
    from compressed_tensors.compressors import MXFP4PackedCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**MXFP4))
    x = torch.from_numpy(w)
    largest = x.reshape(w.shape[0], -1, 32).abs().amax(-1)
    made = MXFP4PackedCompressor.compress(dict(weight=x, weight_scale=2.0 ** (largest.log2().floor() - 2)), scheme)
    return made, MXFP4PackedCompressor.decompress(made, scheme)["weight"].float().numpy()


def nvfp4(w):
    """Scales as llm-compressor chooses them: of the matrix so that the largest of its blocks has 448, which divides."""
    from compressed_tensors.compressors import NVFP4PackedCompressor
    from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**NVFP4))
    x = torch.from_numpy(w)
    matrix = (448 * 6 / x.abs().max()).reshape(1)
    scale = (x.reshape(w.shape[0], -1, 16).abs().amax(-1) / 6 * matrix).to(torch.float8_e4m3fn)
    made = NVFP4PackedCompressor.compress(dict(weight=x, weight_scale=scale.float(), weight_global_scale=matrix), scheme)
    # decompress() does this in bfloat16
    codes = unpack_fp4_from_uint8(made["weight_packed"], *w.shape, dtype=torch.float32)
    return made, (codes * (made["weight_scale"].float() / made["weight_global_scale"]).repeat_interleave(16, 1)).numpy()


def modelopt_nvfp4(w):
    """As ModelOpt exports it: codes and scales as above, the scale of the matrix multiplies."""
    n, k = w.shape
    matrix = np.float32(np.abs(w).max() / np.float32(6 * 448))
    x = w.reshape(n, k // 16, 16)
    scale = torch.from_numpy(np.abs(x).max(-1) / np.float32(6) / matrix).to(torch.float8_e4m3fn)
    s = scale.float().numpy()[..., None]
    levels = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    size = np.abs(x) / np.maximum(s * matrix, np.float32(1e-30))
    code = np.abs(size[..., None] - levels).argmin(-1)
    values = matrix * (s * np.where(x < 0, -levels[code], levels[code]))
    code = (code | np.where((x < 0) & (code > 0), 8, 0)).reshape(n, k).astype(np.uint8)
    return dict(weight=torch.from_numpy(code[:, ::2] | code[:, 1::2] << 4), weight_scale=scale, weight_scale_2=torch.tensor(matrix),
                input_scale=torch.tensor(np.float32(0.01))), values.reshape(n, k).astype(np.float32)


def bnb4(w, kind, nested):
    import bitsandbytes.functional as bnb
    packed, state = bnb.quantize_4bit(torch.from_numpy(w), quant_type=kind, blocksize=64, compress_statistics=nested)
    parts = {"weight": packed}
    parts.update({f"weight.{key}": value for key, value in state.as_dict(packed=True).items()})
    return parts, bnb.dequantize_4bit(packed, state).float().numpy()


def bnb8(w):
    import bitsandbytes.functional as bnb
    codes, scale, _ = bnb.int8_vectorwise_quant(torch.from_numpy(w).half())
    return (dict(weight=codes, SCB=scale, weight_format=torch.tensor(0, dtype=torch.uint8)),
            codes.numpy().astype(np.float32) * (scale.numpy() / np.float32(127))[:, None])


def fp8(w, rows, columns, name):
    n, k = w.shape
    x = w.reshape(n // rows, rows, k // columns, columns)
    scale = (np.abs(x).max((1, 3)) / 448).astype(np.float32)
    codes = torch.from_numpy((x / scale[:, None, :, None]).reshape(n, k)).to(torch.float8_e4m3fn)
    values = codes.float().numpy().reshape(x.shape) * scale[:, None, :, None]
    return {"weight": codes, name: torch.from_numpy(scale)}, values.reshape(n, k)


def exl2(w, widths):
    """As ExLlamaV2 packs it: inputs sorted (in an order that those of one width share), groups of so many at so many bits, a half a
    group and a code of 4 bits an output, (code + 1)^2 half / 256; outputs padded to 32 with codes of zero."""
    n, k = w.shape
    by, pad = np.random.default_rng(k).permutation(k), -n % 32
    x, values, words, groups, scales, most, at, row = w[:, by], np.zeros_like(w), [], [], [], [], 0, 0
    for inputs, bits in widths[k]:
        part, half = x[:, at:at + inputs], 2 ** (bits - 1)
        base = np.abs(part).max(1) / (half - 0.5)
        top = np.float16(base.max())
        code = np.clip(np.rint(np.sqrt(base / base.max()) * 16), 1, 16).astype(np.int64)
        scale = ((code * code).astype(np.float32) * np.float32(top) / np.float32(256))[:, None]
        u = np.clip(np.rint(part / scale) + half, 0, 2 * half - 1)
        values[:, by[at:at + inputs]] = (u - half).astype(np.float32) * scale
        words.append(stream(np.pad(u.T, ((0, 0), (0, pad)), constant_values=half), bits))
        groups += [bits, row]
        scales.append(np.pad(code - 1, (0, pad)))
        most.append(top)
        at, row = at + inputs, row + words[-1].shape[0]
    assert at == k
    return dict(q_weight=torch.cat(words), q_scale=pack(np.stack(scales), 1), q_scale_max=torch.from_numpy(np.array(most)),
                q_groups=torch.tensor(groups, dtype=torch.int16), q_invperm=torch.from_numpy(np.argsort(by).astype(np.int32))), values


def qserve_tiles(u):
    """As W4A8OF16LinearDynamicInputScale packs codes of 4 bits."""
    n, k = u.shape
    x = u.astype(np.uint8).reshape(n // 32, 2, 2, 8, k // 32, 2, 4, 4).transpose(0, 4, 3, 6, 5, 2, 7, 1)
    return torch.from_numpy((x[..., 0] | x[..., 1] << 4).reshape(n, k // 2).view(np.int8))


def qserve(w, group):
    """Rows of bytes by s1, and groups of those by whole s2 and zeros; or, with -1, rows of 4 bits by s1 alone."""
    n, k = w.shape
    if group == -1:
        codes, scale, zero, _ = affine(w, k)
        offset = (zero * scale.astype(np.float32)).astype(np.float16)
        return (dict(qweight=qserve_tiles(codes), s1_scales=torch.from_numpy(scale[:, 0].copy()), s1_szeros=torch.from_numpy(offset[:, 0].copy())),
                scale.astype(np.float32) * codes.astype(np.float32) - offset.astype(np.float32))
    scale = (np.abs(w).max(1) / 119).astype(np.float16)
    s1 = scale.astype(np.float32)[:, None]
    first = np.clip(np.rint(w / s1), -119, 119).astype(np.int64).reshape(n, k // group, group)
    low, high = np.minimum(first.min(-1), 0), np.maximum(first.max(-1), 0)
    step = np.clip(-(-(high - low) // 15), 1, 16)
    zero = np.clip(np.rint(-low / step).astype(np.int64), 0, 15)
    codes = np.clip(np.rint(first / step[..., None]).astype(np.int64) + zero[..., None], 0, 15)
    second = step[..., None] * (codes - zero[..., None])
    assert np.abs(second).max() <= 127

    def columns(x):  # [groups, n], each 32 as 0, 8, 16, 24, 1, ...
        return torch.from_numpy(np.ascontiguousarray(x.T.reshape(-1, n // 32, 4, 8).transpose(0, 1, 3, 2)).reshape(-1, n).astype(np.uint8).view(np.int8))
    return (dict(qweight=qserve_tiles(codes.reshape(n, k)), s1_scales=torch.from_numpy(scale), s2_scales=columns(step), s2_zeros=columns(-zero * step % 256)),
            (s1 * second.reshape(n, k)).astype(np.float32))


INT = dict(type="int", dynamic=False, observer="minmax")
MADE = {
    "gptq": (lambda w: gptq(w, 32), dict(quant_method="gptq", bits=4, group_size=32, desc_act=False, sym=False)),
    "gptq-v2-row": (lambda w: gptq(w, -1, 2), dict(quant_method="gptq", bits=4, group_size=-1, desc_act=False, sym=False,
                                                   checkpoint_format="gptq_v2")),
    "awq": (lambda w: awq(w, 64), dict(quant_method="awq", bits=4, group_size=64, zero_point=True, version="gemm")),
}
GPTQ = dict(quant_method="gptq", group_size=32, desc_act=False, sym=False)
MADE["gptq-2"] = (lambda w: gptq_bits(w, 2), dict(GPTQ, bits=2))
MADE["gptq-3"] = (lambda w: gptq_bits(w, 3), dict(GPTQ, bits=3))
MADE["gptq-8"] = (lambda w: gptq_bits(w, 8), dict(GPTQ, bits=8, sym=True))
MADE["gptq-order"] = (lambda w: gptq_bits(w, 4, order=True), dict(GPTQ, bits=4, desc_act=True))
MADE["marlin"] = (lambda w: marlin(w, 32), dict(quant_method="marlin", bits=4, group_size=32))
MADE["marlin-row"] = (lambda w: marlin(w, -1), dict(quant_method="gptq", bits=4, group_size=-1, desc_act=False, sym=True, checkpoint_format="marlin"))
EXL2 = dict(quant_method="exl2", version="0.3.2", bits=3.0, head_bits=6, calibration=dict(rows=115, length=2048, dataset="(default)"))
MADE["exl2"] = (lambda w: exl2(w, {64: [(32, 4), (32, 3)], 128: [(32, 4), (64, 3), (32, 2)]}), EXL2)
MADE["exl2-wide"] = (lambda w: exl2(w, {64: [(32, 8), (32, 5)], 128: [(32, 6), (32, 5), (32, 4), (32, 3)]}), EXL2)
MADE["qoq"] = (lambda w: qserve(w, 128), dict(quant_method="qoq", wbits=4, group_size=128))
MADE["qoq-row"] = (lambda w: qserve(w, -1), dict(quant_method="qoq", wbits=4, group_size=-1))
BNB = dict(quant_method="bitsandbytes", load_in_4bit=True, load_in_8bit=False, bnb_4bit_compute_dtype="float32")
MADE["bnb-nf4"] = (lambda w: bnb4(w, "nf4", False), dict(BNB, bnb_4bit_quant_type="nf4"))
MADE["bnb-nf4-nested"] = (lambda w: bnb4(w, "nf4", True), dict(BNB, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True))
MADE["bnb-fp4"] = (lambda w: bnb4(w, "fp4", False), dict(BNB, bnb_4bit_quant_type="fp4"))
MADE["bnb-int8"] = (bnb8, dict(quant_method="bitsandbytes", load_in_4bit=False, load_in_8bit=True))
MADE["fp8-block"] = (lambda w: fp8(w, 32, 32, "weight_scale_inv"),
                     dict(quant_method="fp8", fmt="e4m3", weight_block_size=[32, 32], activation_scheme="dynamic"))
FLOAT = dict(num_bits=8, type="float", symmetric=True, strategy="channel", dynamic=False)
MADE["ct-float8"] = (lambda w: fp8(w, 1, w.shape[1], "weight_scale"),
                     dict(quant_method="compressed-tensors", format="float-quantized", ignore=["lm_head"], quantization_status="compressed",
                          config_groups=dict(group_0=dict(targets=["Linear"], weights=FLOAT))))
MXFP4 = dict(num_bits=4, type="float", symmetric=True, strategy="group", group_size=32, dynamic=False)
MADE["ct-mxfp4"] = (mxfp4, dict(quant_method="compressed-tensors", format="mxfp4-pack-quantized", ignore=["lm_head"],
                                quantization_status="compressed", config_groups=dict(group_0=dict(targets=["Linear"], weights=MXFP4))))
NVFP4 = dict(num_bits=4, type="float", symmetric=True, strategy="tensor_group", group_size=16, dynamic=False)
MADE["ct-nvfp4"] = (nvfp4, dict(quant_method="compressed-tensors", format="nvfp4-pack-quantized", ignore=["lm_head"],
                                quantization_status="compressed", config_groups=dict(group_0=dict(targets=["Linear"], weights=NVFP4))))
MADE["modelopt-nvfp4"] = (modelopt_nvfp4, dict(quant_method="modelopt", quant_algo="NVFP4", ignore=["lm_head"], kv_cache_scheme=None))
for name, kind, arguments in (
        ("ct-pack", "pack-quantized", dict(INT, num_bits=4, symmetric=True, strategy="group", group_size=32)),
        ("ct-pack-zero", "pack-quantized", dict(INT, num_bits=4, symmetric=False, strategy="group", group_size=64)),
        ("ct-pack2", "pack-quantized", dict(INT, num_bits=2, symmetric=True, strategy="group", group_size=32)),
        ("ct-pack3-zero", "pack-quantized", dict(INT, num_bits=3, symmetric=False, strategy="group", group_size=32)),
        ("ct-pack8", "pack-quantized", dict(INT, num_bits=8, symmetric=True, strategy="channel")),
        ("ct-int8", "int-quantized", dict(INT, num_bits=8, symmetric=True, strategy="channel"))):
    MADE[name] = (lambda w, a=arguments, k=kind: compressed(w, a, k),
                  dict(quant_method="compressed-tensors", format=kind, ignore=["lm_head"], quantization_status="compressed",
                       config_groups=dict(group_0=dict(targets=["Linear"], weights=arguments))))


def main():
    out = Path(sys.argv[1])
    for name, (quantise, config) in MADE.items():
        if sys.argv[2:] and name not in sys.argv[2:]:
            continue
        for seed in range(500):
            sizes = dict(SIZES, num_key_value_heads=4) if name.startswith("marlin") else SIZES  # outputs in 64s
            sizes = dict(SIZES, hidden_size=128) if name == "qoq" else sizes  # inputs in 128s
            model = t.LlamaForCausalLM(t.LlamaConfig(**sizes)).float().eval()
            hf.randomise(model, name, 7919 * seed + sum(map(ord, name)))
            tensors, checked = {}, None
            with torch.no_grad():
                for key, p in model.named_parameters():
                    head = key == "lm_head.weight" and config["quant_method"] == "exl2"  # the one that packs it
                    if not head and (p.dim() != 2 or ".layers." not in key):
                        tensors[key] = p.data.half() if p.dim() == 2 else p.data.clone()
                        continue
                    module = key.removesuffix(".weight")
                    parts, values = quantise(p.numpy().copy())
                    tensors.update({f"{module}.{part}": value.contiguous() for part, value in parts.items() if value is not None})
                    p.copy_(torch.from_numpy(values))
                    if module == CHECKED:
                        checked = values
            prompt = np.random.default_rng(seed).integers(1, 60, hf.PROMPT).tolist()
            made = hf.run(model, prompt)
            if made is None or len(set(made[0][hf.PROMPT:])) < 3:
                continue
            break
        tokens, logits = made
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        described = model.config.to_dict()
        described.update(architectures=["LlamaForCausalLM"], dtype="float16", quantization_config=config)
        (folder / "config.json").write_text(json.dumps(described, indent=1) + "\n")
        logits.tofile(folder / "logits.bin")
        checked.astype(np.float32).tofile(folder / "weight.bin")
        golden = dict(prompt=prompt, greedy=tokens[hf.PROMPT:], vocab=60, seed=seed, tensor="blk.1.ffn_down.weight")
        if name == "ct-nvfp4":  # ours rounds 1 / global and the product, the package scale / global and the product
            golden["within"] = float(np.abs(checked).max()) * 2.0 ** -22
        (folder / "golden.json").write_text(json.dumps(golden) + "\n")
        if config["quant_method"] == "qoq" or name.endswith("nvfp4"):
            parts, _ = quantise(np.random.default_rng(7).normal(size=(32, 128)).astype(np.float32))
            seeds = out.resolve().parents[2] / "fuzz" / "quantized_fuzz"
            (seeds / name).write_bytes(json.dumps(config).encode() + b"\n" + save({f"a.{k}": v for k, v in parts.items()}))
        print(name, "seed", seed, sum(f.stat().st_size for f in folder.iterdir()), "bytes", sorted(tensors)[-8:])


if __name__ == "__main__":
    main()
