#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tiny random Llamas that torchao has quantised, as transformers saves them.

Made with torch 2.15.0 (CPU), transformers 5.24.0, torchao 0.18.0 and, for its packing of four bits, mslk-cuda 1.1.0:
python tools/make_torchao_goldens.py data/golden
  quantized/torchao-*          as tools/make_quantized_goldens.py describes it; weight.bin and logits.bin are of what the package's dequantize()
                               makes in float32 (of Int4Tensor, which has none: scale * code + zero_point in float64, rounded once)
  torchao_codes.safetensors    DTYPE.ROWSxCOLUMNS.base, and of int8wo, float8wo and intB.GROUP[.zero] .qdata, .scale and .zero
  ../../fuzz/quantized_fuzz/torchao-*   what is read of a quantization_config, and one linear
With names behind the folder, of these alone.
"""
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

torch.ops.load_library = lambda path: None  # mslk's kernels are of GPUs; what packs codes is Python
import torchao.prototype.mx_formats as mx
import transformers as t
from safetensors import safe_open
from safetensors.torch import save, save_file
from torchao.quantization import (Float8WeightOnlyConfig, FqnToConfig, Int4WeightOnlyConfig, Int8DynamicActivationInt8WeightConfig,
                                  Int8DynamicActivationIntxWeightConfig, Int8WeightOnlyConfig, IntxWeightOnlyConfig, MappingType, quantize_)
from torchao.quantization.granularity import PerAxis, PerGroup, PerTensor
from torchao.quantization.quantize_.common import KernelPreference

import make_hf_goldens as hf

SIZES = dict(vocab_size=60, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=64, attn_implementation="eager", tie_word_embeddings=False)
CHECKED = "model.layers.1.mlp.down_proj"
F32, BF16 = torch.float32, torch.bfloat16
UNEVEN = MappingType.ASYMMETRIC
MIXED = FqnToConfig({
    "re:.*q_proj": Int8WeightOnlyConfig(granularity=PerGroup(32)),
    "re:.*k_proj": Int8WeightOnlyConfig(granularity=PerTensor()),
    "re:.*v_proj": IntxWeightOnlyConfig(weight_dtype=torch.int6, granularity=PerGroup(32)),
    "re:.*o_proj": IntxWeightOnlyConfig(weight_dtype=torch.int3, granularity=PerGroup(32), mapping_type=UNEVEN),
    "re:.*gate_proj": Float8WeightOnlyConfig(),
    "re:.*up_proj": IntxWeightOnlyConfig(weight_dtype=torch.int1, granularity=PerGroup(64), mapping_type=UNEVEN),
    "re:.*down_proj": IntxWeightOnlyConfig(weight_dtype=torch.int2, granularity=PerAxis(0)),
    "_default": Int8WeightOnlyConfig(),
})
MADE = {
    "int4": (BF16, Int4WeightOnlyConfig(group_size=32)),
    "int8": (F32, Int8WeightOnlyConfig()),
    "int8-rows": (BF16, Int8DynamicActivationInt8WeightConfig()),
    "fp8": (F32, Float8WeightOnlyConfig()),
    "intx4": (BF16, Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int4, weight_granularity=PerGroup(32))),
    "intx4-zero": (F32, IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(64), mapping_type=UNEVEN)),
    "intx8-zero": (BF16, IntxWeightOnlyConfig(weight_dtype=torch.int8, granularity=PerGroup(64), mapping_type=UNEVEN)),
    "mixed": (BF16, MIXED),
    "mxfp8": (BF16, mx.MXDynamicActivationMXWeightConfig(kernel_preference=KernelPreference.EMULATED)),
    "mxfp4": (BF16, mx.MXDynamicActivationMXWeightConfig(activation_dtype=torch.float4_e2m1fn_x2, weight_dtype=torch.float4_e2m1fn_x2,
                                                        kernel_preference=KernelPreference.EMULATED)),
}


def values(w):
    """Of a weight, in float32."""
    kind = type(w).__name__
    if kind == "IntxUnpackedToInt8Tensor":
        return w.to(F32).dequantize()
    if kind == "Int4Tensor":
        codes = torch.stack([w.qdata << 4 >> 4, w.qdata >> 4], -1).reshape(w.shape).double()
        scale, zero = (p.double().T.repeat_interleave(w.block_size[1], 1) for p in (w.scale, w.zero_point))
        return (codes * scale + zero).float()
    return w.dequantize(F32) if hasattr(w, "tensor_data_names") else w.float()


def models(out, names):
    for name, (dtype, how) in MADE.items():
        if names and name not in names:
            continue
        folder = out / "quantized" / f"torchao-{name}"
        for seed in range(500):
            config = t.LlamaConfig(**SIZES)
            model = t.LlamaForCausalLM(config).float().eval()
            hf.randomise(model, "llama", 7919 * seed + sum(map(ord, name)))
            with tempfile.TemporaryDirectory() as base:
                model.save_pretrained(base)
                whole = name == "mixed"  # with its head and embedding
                model = t.LlamaForCausalLM.from_pretrained(
                    base, dtype=dtype, quantization_config=t.TorchAoConfig(how, include_input_output_embeddings=whole))
            plain, checked = t.LlamaForCausalLM(config).float().eval(), None
            with torch.no_grad():
                for key, p in plain.named_parameters():
                    module, _, last = key.rpartition(".")
                    w = getattr(model.get_submodule(module), last)
                    p.copy_(values(w))
                    if module == CHECKED:
                        checked = p.detach().numpy().copy()
                    if dtype == F32 and hasattr(w, "tensor_data_names"):
                        assert torch.equal(p, w.dequantize())
            prompt = np.random.default_rng(seed).integers(1, 60, hf.PROMPT).tolist()
            made = hf.run(plain, prompt)
            if made is not None and len(set(made[0][hf.PROMPT:])) >= 3:
                break
        tokens, logits = made
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        golden = dict(prompt=prompt, greedy=tokens[hf.PROMPT:], vocab=60, seed=seed, tensor="blk.1.ffn_down.weight")
        (folder / "golden.json").write_text(json.dumps(golden) + "\n")
        (folder / "logits.bin").write_bytes(logits.tobytes())
        (folder / "weight.bin").write_bytes(checked.tobytes())
        corpus(folder, name)
        print(name, "seed", seed, sum(f.stat().st_size for f in folder.iterdir()), "bytes")


def corpus(folder, name):
    module = "model.layers.1.self_attn.v_proj"  # the smallest
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    with safe_open(folder / "model.safetensors", "pt") as file:
        parts = {"a" + key.removeprefix(module): file.get_tensor(key) for key in file.keys() if key.startswith(module + ".")}
        says = {"a.weight": file.metadata()[module + ".weight"]}
    text = json.dumps(dict(quant_method=config["quant_method"])).encode() + b"\n" + save(parts, says)
    (folder.resolve().parents[3] / "fuzz" / "quantized_fuzz" / f"torchao-{name}").write_bytes(text)


def codes(out):
    """What the recipes make of matrices."""
    rng, tensors = torch.Generator().manual_seed(20261130), {}
    for i, (n, k) in enumerate([(8, 64), (5, 128), (3, 192)] * 3):
        dtype = ("float32", "float16", "bfloat16")[i // 3]
        base = 0.05 * torch.randn(n, k, generator=rng) + 0.01 * torch.randn(n, 1, generator=rng)
        base[0, 32:64] = base[0, 32:64].abs() + 0.01  # of one sign
        base[1, :32] = 0
        case = f"{dtype}.{n}x{k}"
        tensors[f"{case}.base"] = base = base.to(getattr(torch, dtype))
        how = {"int8wo": Int8WeightOnlyConfig(), "float8wo": Float8WeightOnlyConfig()}
        for bits in (1, 2, 3, 4, 8):
            for group in (32, 64):
                for zero, mapping in (("", MappingType.SYMMETRIC), (".zero", UNEVEN)):
                    how[f"int{bits}.{group}{zero}"] = IntxWeightOnlyConfig(weight_dtype=getattr(torch, f"int{bits}"), granularity=PerGroup(group),
                                                                           mapping_type=mapping)
        for name, config in how.items():
            linear = torch.nn.Linear(k, n, bias=False, dtype=base.dtype)
            linear.weight = torch.nn.Parameter(base.clone(), requires_grad=False)
            quantize_(linear, config)
            w = linear.weight
            tensors.update({f"{case}.{name}.qdata": w.qdata, f"{case}.{name}.scale": w.scale})
            if name != "float8wo":
                tensors[f"{case}.{name}.zero"] = w.zero_point.to(torch.int8)
    save_file({k: v.contiguous() for k, v in tensors.items()}, out / "torchao_codes.safetensors")


if __name__ == "__main__":
    if sys.argv[2:] in ([], ["codes"]):
        codes(Path(sys.argv[1]))
    if sys.argv[2:] != ["codes"]:
        models(Path(sys.argv[1]), sys.argv[2:])
