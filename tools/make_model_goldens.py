#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes data/golden/model/: tiny random Llama and Gemma 3 models with the logits that `transformers` computes for them in float32.

Made with torch 2.15.0 (CPU), transformers 5.24.0, gguf 0.19.0 and numpy 2.4.6:  python tools/make_model_goldens.py data/golden/model
  NAME.gguf   the model without a tokenizer; matrices in the storage type of its row below, computed with exactly those values
  NAME.json   where it comes from, `prompt` (40 tokens) and `greedy` (the 32 tokens that follow, each the largest logit)
  NAME.bin    float32 logits of every prompt position and of every greedy token but the last, [40 + 31][vocabulary]
A model whose greedy tokens are nearly tied is refused: its second largest logit must stay 0.02 behind.
"""
import json
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM

PROMPT, GREEDY = 40, 32
STORAGE = {"f32": (torch.float32, gguf.GGMLQuantizationType.F32), "f16": (torch.float16, gguf.GGMLQuantizationType.F16),
           "bf16": (torch.bfloat16, gguf.GGMLQuantizationType.BF16)}

# name: architecture, storage, sizes. Odd head counts, widths that are no multiple of a panel or a vector, both kinds of layers.
MODELS = {
    "llama-a": dict(arch="llama", store="f32", vocab=120, dim=72, layers=2, heads=9, kv_heads=3, head_dim=8, ff=44, tied=False),
    "llama-b": dict(arch="llama", store="f16", vocab=96, dim=48, layers=3, heads=3, kv_heads=1, head_dim=32, ff=60, tied=True,
                    base=100000.0),
    "llama-c": dict(arch="llama", store="f32", vocab=150, dim=36, layers=2, heads=3, kv_heads=3, head_dim=24, ff=51, tied=False,
                    factor=4.0),
    "gemma3-a": dict(arch="gemma3", store="f32", vocab=96, dim=36, layers=6, heads=3, kv_heads=1, head_dim=8, ff=52, window=8),
    "gemma3-b": dict(arch="gemma3", store="f16", vocab=128, dim=48, layers=7, heads=4, kv_heads=2, head_dim=16, ff=56, window=5,
                     factor=8.0),
    "gemma3-c": dict(arch="gemma3", store="bf16", vocab=101, dim=40, layers=6, heads=2, kv_heads=1, head_dim=32, ff=57, window=17),
}


def rope(base, factor=1.0):
    if factor == 1.0:
        return {"rope_type": "default", "rope_theta": base}
    return {"rope_type": "linear", "rope_theta": base, "factor": factor}


def build(m):
    common = dict(vocab_size=m["vocab"], hidden_size=m["dim"], intermediate_size=m["ff"], num_hidden_layers=m["layers"],
                  num_attention_heads=m["heads"], num_key_value_heads=m["kv_heads"], head_dim=m["head_dim"],
                  max_position_embeddings=256, attn_implementation="eager")
    if m["arch"] == "llama":
        config = LlamaConfig(**common, rms_norm_eps=1e-5, tie_word_embeddings=m["tied"],
                             rope_parameters=rope(m.get("base", 10000.0), m.get("factor", 1.0)))
        return LlamaForCausalLM(config)
    kinds = ["full_attention" if (i + 1) % 6 == 0 else "sliding_attention" for i in range(m["layers"])]
    config = Gemma3TextConfig(**common, rms_norm_eps=1e-6, layer_types=kinds, sliding_window=m["window"],
                              query_pre_attn_scalar=m["head_dim"], hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=True,
                              rope_parameters={"full_attention": rope(1000000.0, m.get("factor", 1.0)),
                                               "sliding_attention": rope(10000.0)})
    return Gemma3ForCausalLM(config)


def randomise(model, m, seed):
    """Normal weights: unit gain through matrices, norms around one (Gemma's are stored as the difference from one)."""
    g = torch.Generator().manual_seed(seed)
    kind = STORAGE[m["store"]][0]
    with torch.no_grad():
        for name, p in model.named_parameters():
            x = torch.randn(p.shape, generator=g)
            if p.dim() == 1:
                p.copy_((0.2 * x) if m["arch"] == "gemma3" else (1 + 0.2 * x))
            else:
                # A tied head on loud embeddings would repeat the last token for ever.
                spread = 1.0 if "embed_tokens" in name and m.get("tied") is False else p.shape[1] ** -0.5
                p.copy_((spread * x).to(kind).float())


def run(model, prompt):
    with torch.no_grad():
        tokens = list(prompt)
        for _ in range(GREEDY):
            last = model(torch.tensor([tokens]), use_cache=False).logits[0, -1]
            best = torch.topk(last, 2)
            if best.values[0] - best.values[1] < 0.02:
                return None
            tokens.append(int(best.indices[0]))
        # One pass over everything: each position's logits as a prefill computes them.
        logits = model(torch.tensor([tokens[:-1]]), use_cache=False).logits[0]
    return tokens, logits.numpy().astype(np.float32)


def adjacent(w, heads, dim):
    """Rows of a head from rotary halves to rotary pairs, as GGUF files of the Llama family store q and k."""
    return w.reshape(heads, 2, dim // 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
         "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
LLAMA_NAMES = {"post_attention_layernorm": "ffn_norm"}
GEMMA_NAMES = {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
               "post_feedforward_layernorm": "post_ffw_norm"}


def stored_name(name, arch):
    parts = name.removesuffix(".weight").removeprefix("model.")
    if not parts.startswith("layers."):
        return {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}[parts] + ".weight"
    _, layer, what = parts.split(".", 2)
    own = LLAMA_NAMES if arch == "llama" else GEMMA_NAMES
    return f"blk.{layer}.{NAMES.get(what) or own[what]}.weight"


def write(path, model, m, origin):
    w = gguf.GGUFWriter(path, m["arch"])
    w.add_description(origin)
    w.add_context_length(256)
    w.add_embedding_length(m["dim"])
    w.add_block_count(m["layers"])
    w.add_feed_forward_length(m["ff"])
    w.add_head_count(m["heads"])
    w.add_head_count_kv(m["kv_heads"])
    w.add_key_length(m["head_dim"])
    w.add_value_length(m["head_dim"])
    w.add_rope_dimension_count(m["head_dim"])
    w.add_layer_norm_rms_eps(model.config.rms_norm_eps)
    w.add_rope_freq_base(1000000.0 if m["arch"] == "gemma3" else m.get("base", 10000.0))
    if "factor" in m:
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(m["factor"])
    if m["arch"] == "gemma3":
        w.add_sliding_window(m["window"])
    kind = STORAGE[m["store"]][1]
    for name, p in model.named_parameters():
        x = p.detach().numpy().astype(np.float32)
        if x.ndim == 1:
            w.add_tensor(stored_name(name, m["arch"]), (x + np.float32(1)) if m["arch"] == "gemma3" else x)
            continue
        if m["arch"] == "llama" and "q_proj" in name:
            x = adjacent(x, m["heads"], m["head_dim"])
        if m["arch"] == "llama" and "k_proj" in name:
            x = adjacent(x, m["kv_heads"], m["head_dim"])
        w.add_tensor(stored_name(name, m["arch"]), gguf.quants.quantize(x, kind), raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    origin = f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}, numpy {np.__version__}"
    for number, (name, m) in enumerate(MODELS.items()):
        model = build(m).float().eval()
        for seed in range(1000 * number, 1000 * number + 200):
            randomise(model, m, seed)
            prompt = np.random.default_rng(seed).integers(0, m["vocab"], PROMPT).tolist()
            result = run(model, prompt)
            if result is not None and len(set(result[0][PROMPT:])) > 8:
                break
        else:
            sys.exit(f"{name}: no seed gives greedy tokens that are clear and varied")
        tokens, logits = result
        about = f"tiny random {m['arch']}, seed {seed}, weights stored as {m['store']}; {origin}"
        write(out / f"{name}.gguf", model, m, about)
        (out / f"{name}.bin").write_bytes(logits.tobytes())
        text = {"about": about, "vocab": m["vocab"], "prompt": tokens[:PROMPT], "greedy": tokens[PROMPT:]}
        (out / f"{name}.json").write_text(json.dumps(text) + "\n")
        print(f"{name}: seed {seed}, logits std {logits.std():.2f}, {len(set(tokens[PROMPT:]))} different tokens")


if __name__ == "__main__":
    main()
