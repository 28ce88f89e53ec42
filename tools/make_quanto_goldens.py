#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tiny random Llamas as optimum-quanto saves them, and what it makes of matrices of many shapes.

Made with torch 2.15.0 (CPU), transformers 5.24.0 and optimum-quanto 0.2.7:  python tools/make_quanto_goldens.py data/golden
  quantized/quanto-*          as tools/make_quantized_goldens.py describes it; `quanto-mixed` has qint8 and qfloat8_e4m3fn, activations
                              of qint8 calibrated on a text (which are not read), and a head that was excluded
  quanto_codes.safetensors    DTYPE.ROWSxCOLUMNS.base, and of each type .TYPE.data, .TYPE.scale, .TYPE.shift, and of qint4 and qint2
                              .TYPE.hqq: the mean error of what the package's HQQ search finds. Nothing in it was packed for one kernel
                              of the package, some of which round shifts again.
  quanto_fnmatch.json         [pattern, name, whether Python's fnmatch takes it]
  ../../fuzz/quantized_fuzz/quanto-*   a map in "quanto", and one linear
"""
import json
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import transformers as t
from optimum.quanto import (AbsmaxOptimizer, Calibration, HqqOptimizer, MaxOptimizer, QuantizedModelForCausalLM, freeze, qfloat8, qint2, qint4,
                            qint8, quantize)
from optimum.quanto.library.extensions.cpp import ext
from optimum.quanto.nn import QLinear
from optimum.quanto.tensor.weights import quantize_weight
from safetensors.torch import save, save_file

import make_hf_goldens as hf

# The package compiles this when it is first asked; a golden should not need a compiler.
ext._lib = SimpleNamespace(unpack=lambda packed, bits: torch.cat([packed >> at & 2 ** bits - 1 for at in range(0, 8, bits)]))

CHECKED = "model.layers.1.mlp.down_proj"
SMALL = dict(vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
             attn_implementation="eager", tie_word_embeddings=False)
GROUPED = dict(SMALL, head_dim=48, intermediate_size=160)  # rows of 32, 160 and 192: one group, groups of 32, groups of 96
ROWS = dict(SMALL, head_dim=16, intermediate_size=64)


def mixed(model):
    quantize(model, weights=qint8, activations=qint8, include="*self_attn*")
    quantize(model, weights=qfloat8, include="*.mlp.*", exclude=["lm_head"])
    with torch.no_grad(), Calibration():
        model(torch.arange(1, 33)[None])


MADE = {
    "quanto-int4": (GROUPED, lambda model: quantize(model, weights=qint4)),
    "quanto-int2": (GROUPED, lambda model: quantize(model, weights=qint2)),
    "quanto-mixed": (ROWS, mixed),
}
SHAPES = [(3, 96), (2, 64), (3, 128), (5, 160), (3, 192), (2, 256), (3, 288), (3, 320), (5, 384), (3, 512), (5, 224), (7, 96)]
TYPES = dict(qint2=qint2, qint4=qint4, qint8=qint8, qfloat8=qfloat8)
DTYPES = dict(f32=torch.float32, f16=torch.float16, bf16=torch.bfloat16)


def models(out):
    for name, (sizes, how) in MADE.items():
        for seed in range(500):
            config = t.LlamaConfig(**sizes)
            model = t.LlamaForCausalLM(config).float().eval()
            hf.randomise(model, "llama", 7919 * seed + sum(map(ord, name)))
            how(model)
            freeze(model)
            # The values alone, in a model of floats: activations are not ours.
            plain, checked = t.LlamaForCausalLM(config).float().eval(), None
            with torch.no_grad():
                for module, p in ((k.removesuffix(".weight"), p) for k, p in plain.named_parameters()):
                    w = model.get_submodule(module).weight
                    values = w.dequantize() if hasattr(w, "dequantize") and type(w) is not torch.nn.Parameter else w
                    p.copy_(values)
                    if module == CHECKED:
                        checked = values.detach().numpy().astype(np.float32)
            prompt = np.random.default_rng(seed).integers(1, 60, hf.PROMPT).tolist()
            made = hf.run(plain, prompt)
            if made is None or len(set(made[0][hf.PROMPT:])) < 3:
                continue
            break
        tokens, logits = made
        folder = out / "quantized" / name
        QuantizedModelForCausalLM(model).save_pretrained(folder)
        for extra in ("README.md", "generation_config.json"):
            (folder / extra).unlink(missing_ok=True)
        golden = dict(prompt=prompt, greedy=tokens[hf.PROMPT:], vocab=60, tensor="blk.1.ffn_down.weight")
        (folder / "golden.json").write_text(json.dumps(golden) + "\n")
        (folder / "logits.bin").write_bytes(logits.tobytes())
        (folder / "weight.bin").write_bytes(checked.tobytes())
        print(name, "seed", seed, "logits", logits.shape)


def codes(out):
    tensors = {}
    rng = torch.Generator().manual_seed(20261130)
    for i, (n, k) in enumerate(SHAPES):
        dtype = list(DTYPES)[i % 3]
        case = f"{dtype}.{n}x{k}"
        base = (0.05 * torch.randn(n, k, generator=rng) + 0.01 * torch.randn(n, 1, generator=rng)).to(DTYPES[dtype])
        tensors[f"{case}.base"] = base
        for name, qtype in TYPES.items():
            if qtype.bits == 8:
                w = quantize_weight(base, qtype, 0, AbsmaxOptimizer()(base, qtype, 0), optimized=False)
                tensors.update({f"{case}.{name}.data": w._data, f"{case}.{name}.scale": w._scale.reshape(n, 1)})
                continue
            group = QLinear.from_module(torch.nn.Linear(k, n, bias=False), weights=qtype).weight_group_size
            scale, shift = MaxOptimizer()(base, qtype, 0, group)
            w = quantize_weight(base, qtype, 0, scale, shift, group, optimized=False)
            tensors.update({f"{case}.{name}.data": w._data._data, f"{case}.{name}.scale": scale.reshape(-1, 1),
                            f"{case}.{name}.shift": shift.reshape(-1, 1)})
            scale, shift = HqqOptimizer()(base, qtype, 0, group)
            hqq = quantize_weight(base, qtype, 0, scale, shift, group, optimized=False)
            values = hqq._data.unpack().float() * hqq._scale.float() - hqq._shift.float()
            tensors[f"{case}.{name}.hqq"] = (base.float() - values.reshape(n, k)).abs().mean().reshape(1)
    save_file({k: v.contiguous() for k, v in tensors.items()}, out / "quanto_codes.safetensors")


def fnmatch(out):
    names = ["model.layers.0.mlp.up_proj", "model.layers.10.self_attn.q_proj", "lm_head", "a[b", "a-b", ""]
    patterns = ["*", "", "lm_head", "lm_*", "*.mlp.*", "*mlp*", "model.layers.?.*", "model.layers.??.*", "*.[01].*", "*.[!1]*", "*[qk]_proj",
                "*[a-p]_proj", "*_[!p]*", "*.self_attn", "MODEL*", "a[b", "a[[]b", "a[!]b", "a[]b", "a[+-]b", "a[*--]b", "a[z-a]b", "**head", "*?*?*", "lm?head"]
    rows = [[p, n, fnmatchcase(n, p)] for p in patterns for n in names]
    (out / "quanto_fnmatch.json").write_text("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")


def corpus(folder):
    rng = torch.Generator().manual_seed(7)
    for name, qtype in TYPES.items():
        w = torch.nn.Linear(192, 3, bias=False)
        w.weight.data = torch.randn(3, 192, generator=rng)
        w = QLinear.from_module(w, weights=qtype)
        w.freeze()
        state = {f"a.{k}": v.contiguous() for k, v in w.state_dict().items()}
        config = json.dumps(dict(quanto={"a": dict(weights=qtype.name, activations="none")}))
        (folder / f"quanto-{name}").write_bytes(config.encode() + b"\n" + save(state))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    models(folder)
    codes(folder)
    fnmatch(folder)
    corpus(folder.resolve().parents[1] / "fuzz" / "quantized_fuzz")
