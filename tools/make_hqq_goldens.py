#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tiny random Llamas whose linears the package hqq has quantised, as transformers saves them.

Made with torch 2.15.0 (CPU), transformers 5.24.0 and hqq 0.2.8.post1:  python tools/make_hqq_goldens.py data/golden
  quantized/hqq-*                      as tools/make_quantized_goldens.py describes it, config.json's quantization_config that of HqqConfig;
                                       weight.bin and the logits are of what the package dequantises in float32
  quantized/hqq-*/golden.json          `within` too: how far the floats of two ways to compute a value can lie apart
  ../fuzz/quantized_fuzz/hqq-*         one linear each
"""
import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers as t
from hqq.core.quantize import HQQLinear, Quantizer
from safetensors.torch import save, save_file

import make_hf_goldens as hf
from make_quantized_goldens import CHECKED, SIZES

# `hqq-mixed` has a width for each kind of linear, codes in bytes of fewer bits, codes that are called floats, and a group of a whole row.
MIXED = {
    "self_attn.q_proj": dict(nbits=2, group_size=32),
    "self_attn.k_proj": dict(nbits=1, group_size=64),
    "self_attn.v_proj": dict(nbits=4, group_size=32, view_as_float=True),
    "self_attn.o_proj": dict(nbits=6, group_size=64),
    "mlp.gate_proj": dict(nbits=3, group_size=32),
    "mlp.up_proj": dict(nbits=5, group_size=None),
    "mlp.down_proj": dict(nbits=8, group_size=128),
}
MADE = {
    "hqq-4": (dict(nbits=4, group_size=64), torch.float16),
    "hqq-3": (dict(nbits=3, group_size=64), torch.bfloat16),
    "hqq-2": (dict(nbits=2, group_size=32), torch.float32),
    "hqq-mixed": (dict(dynamic_config=MIXED), torch.float32),
}


def exact(linear):
    """What the package makes of the parts as they are stored, in float32, and how far from it the offset -zero scale may take a value.

    With u = 2^-24, s the scale, z the zero and o = (m - z) s, where m is 128 for codes of 8 bits and 0 for others: the package rounds
    code - z and its product with s, which is off by at most 2 u |w|; scale * code' + o is off by at most u (|o| + |s code'| + |w|), and
    |s code'| is at most |w| + |o|. Together 2 u |o| + 4 u |w|; a hundredth more stands for the products of these errors."""
    meta = {k: v.float() if k in ("scale", "zero") else v for k, v in linear.meta.items()}
    meta["compute_dtype"] = torch.float32
    w = Quantizer.dequantize(linear.W_q.data, meta)
    middle = 128 if meta["nbits"] == 8 else 0
    offset = (meta["scale"].double() * (middle - meta["zero"].double())).abs().max().item()
    return w, 1.01 * 2.0 ** -24 * (2 * offset + 4 * w.abs().max().item())


def quantise(model, config, dtype):
    """Puts HQQLinear in the place of linears, as transformers does, and the values into a model of floats."""
    plain = t.LlamaForCausalLM(model.config).float().eval()
    plain.load_state_dict(model.state_dict())
    checked = None
    for name, linear in [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)]:
        if name in config.skip_modules:
            continue
        tag = ".".join(name.split(".")[3:])
        how = config.quant_config.get(tag, config.quant_config)
        made = HQQLinear(linear, how, compute_dtype=dtype, device="cpu")
        parent = model.get_submodule(name.rsplit(".", 1)[0])
        setattr(parent, name.rsplit(".", 1)[1], made)
        values, within = exact(made)
        with torch.no_grad():
            plain.get_submodule(name).weight.copy_(values)
        if name == CHECKED:
            checked = values.numpy(), within
    return plain, checked


def models(out):
    for name, (how, dtype) in MADE.items():
        config = t.HqqConfig(**how)
        for seed in range(500):
            model = t.LlamaForCausalLM(t.LlamaConfig(**SIZES)).float().eval()
            hf.randomise(model, "llama", 7919 * seed + sum(map(ord, name)))
            plain, (checked, within) = quantise(model, config, dtype)
            prompt = np.random.default_rng(seed).integers(1, 60, hf.PROMPT).tolist()
            made = hf.run(plain, prompt)
            if made is None or len(set(made[0][hf.PROMPT:])) < 3:
                continue
            break
        tokens, logits = made
        folder = out / "quantized" / name
        folder.mkdir(parents=True, exist_ok=True)
        state = {k: v.half() if k.endswith(("embed_tokens.weight", "lm_head.weight")) else v for k, v in model.state_dict().items()}
        save_file({k: v.contiguous() for k, v in state.items()}, folder / "model.safetensors", metadata={"format": "pt"})
        described = model.config.to_dict()
        described.update(architectures=["LlamaForCausalLM"], dtype=str(dtype).removeprefix("torch."), quantization_config=config.to_dict())
        (folder / "config.json").write_text(json.dumps(described, indent=1) + "\n")
        golden = dict(prompt=prompt, greedy=tokens[hf.PROMPT:], vocab=60, seed=seed, tensor="blk.1.ffn_down.weight", within=within)
        (folder / "golden.json").write_text(json.dumps(golden) + "\n")
        (folder / "logits.bin").write_bytes(logits.tobytes())
        (folder / "weight.bin").write_bytes(np.ascontiguousarray(checked, np.float32).tobytes())
        print(name, "seed", seed, sum(f.stat().st_size for f in folder.iterdir()), "bytes, within", within)


def corpus(folder):
    torch.manual_seed(7)
    for bits in (1, 2, 3, 4, 6, 8):
        linear = HQQLinear(torch.nn.Linear(128, 4, bias=False), t.HqqConfig(nbits=bits, group_size=64).quant_config,
                           compute_dtype=torch.float16, device="cpu")
        config = json.dumps(dict(quant_method="hqq"))
        (folder / f"hqq-{bits}").write_bytes(config.encode() + b"\n" + save({f"a.{k}": v for k, v in linear.state_dict().items()}))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    models(folder)
    corpus(folder.resolve().parents[1] / "fuzz" / "quantized_fuzz")
