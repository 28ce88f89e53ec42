#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes data/golden/hf/: tiny random models as `transformers` saves them, with the logits it computes in float32.

Made with torch 2.15.0 (CPU), transformers 5.24.0 and numpy 2.4.6:  python tools/make_hf_goldens.py data/golden/hf
  NAME/config.json, NAME/model.safetensors (or shards and their index)   as save_pretrained writes them
  NAME/golden.json   `prompt` (12 tokens) and `greedy` (the 8 that follow, each the largest logit by 0.02), `vocab`
  NAME/logits.bin    float32 logits of every prompt position and of every greedy token but the last, [12 + 7][vocabulary]
llama-b and gemma3-c are the models of those names in data/golden/model, so the directory and the GGUF file are one model.
Matrices are computed with exactly the values stored; mixed types (float16 matrices, float32 vectors) stand as such.
"""
import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers as t

import make_model_goldens as models

PROMPT, GREEDY = 12, 8
SIZES = dict(vocab_size=60, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=64, attn_implementation="eager")
HEADS = dict(SIZES, head_dim=16)
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16)
MADE = {
    "llama3": lambda: t.LlamaForCausalLM(t.LlamaConfig(**SIZES, rope_parameters=LLAMA3)),
    "mistral": lambda: t.MistralForCausalLM(t.MistralConfig(**HEADS, sliding_window=6)),
    "mixtral": lambda: t.MixtralForCausalLM(t.MixtralConfig(**SIZES, num_local_experts=3, num_experts_per_tok=2)),
    "qwen2": lambda: t.Qwen2ForCausalLM(t.Qwen2Config(**SIZES, rope_parameters=YARN)),
    "qwen3": lambda: t.Qwen3ForCausalLM(t.Qwen3Config(**HEADS, tie_word_embeddings=True)),
    "qwen3moe": lambda: t.Qwen3MoeForCausalLM(t.Qwen3MoeConfig(**HEADS, num_experts=4, num_experts_per_tok=2,
                                                                moe_intermediate_size=24, norm_topk_prob=True)),
    "gemma": lambda: t.GemmaForCausalLM(t.GemmaConfig(**HEADS)),
    "gemma2": lambda: t.Gemma2ForCausalLM(t.Gemma2Config(**HEADS, sliding_window=5, query_pre_attn_scalar=16)),
    "phi3": lambda: t.Phi3ForCausalLM(t.Phi3Config(**SIZES, pad_token_id=0)),
    "gpt2": lambda: t.GPT2LMHeadModel(t.GPT2Config(vocab_size=60, n_positions=64, n_embd=32, n_layer=2, n_head=4,
                                                   attn_implementation="eager")),
}
TWINS = {"llama": "llama-b", "gemma3": "gemma3-c"}  # the same models as in data/golden/model
# An architecture that needs nothing but sizes has no row above.
for arch in dict.fromkeys(row["arch"] for row in models.MODELS.values()):
    if arch not in MADE and arch not in TWINS:
        MADE[arch] = lambda arch=arch: t.AutoModelForCausalLM.from_config(t.AutoConfig.for_model(arch, **SIZES))
SHARDED = {"qwen2": "20KB"}


def randomise(model, name, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, p in model.named_parameters():
            x = torch.randn(p.shape, generator=g)
            if p.dim() > 1:
                p.copy_((x * p.shape[-1] ** -0.5 * (0.8 if "embed" in key else 1)).half().float())
            elif key.endswith("bias"):
                p.copy_(0.1 * x)
            else:
                p.copy_(0.2 * x if name.startswith("gemma") else 1 + 0.2 * x)


def run(model, prompt):
    tokens = list(prompt)
    with torch.no_grad():
        for _ in range(GREEDY):
            last = model(torch.tensor([tokens]), use_cache=False).logits[0, -1]
            best = torch.topk(last, 2)
            if best.values[0] - best.values[1] < 0.02:
                return None
            tokens.append(int(best.indices[0]))
        return tokens, model(torch.tensor([tokens[:-1]]), use_cache=False).logits[0].numpy().astype(np.float32)


def save(model, folder, kind, shard):
    """Matrices in their storage type, vectors in float32."""
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                p.data = p.data.to(kind)
    model.config.dtype = str(kind).removeprefix("torch.")
    model.save_pretrained(folder, max_shard_size=shard)
    (folder / "generation_config.json").unlink(missing_ok=True)


def main():
    out = Path(sys.argv[1])
    for name in TWINS.values():
        m = models.MODELS[name]
        about = json.loads((Path(__file__).parent.parent / f"data/golden/model/{name}.json").read_text())["about"]
        model = models.build(m).float().eval()
        models.randomise(model, m, int(about.split("seed ")[1].split(",")[0]))
        save(model, out / name, models.STORAGE[m["store"]][0], "50GB")
    for name, make in MADE.items():
        for seed in range(500):
            model = make().float().eval()
            randomise(model, name, 7919 * seed + sum(map(ord, name)))
            prompt = np.random.default_rng(seed).integers(1, 60, PROMPT).tolist()
            made = run(model, prompt)
            if made is None:
                continue
            tokens, logits = made
            if len(set(tokens[PROMPT:])) < 3:
                continue
            break
        else:
            raise SystemExit(f"{name}: no seed gives clear greedy tokens")
        folder = out / name
        save(model, folder, torch.float16, SHARDED.get(name, "50GB"))
        (folder / "golden.json").write_text(json.dumps(dict(prompt=prompt, greedy=tokens[PROMPT:], vocab=60, seed=seed)) + "\n")
        logits.tofile(folder / "logits.bin")
        print(name, "seed", seed, sum(f.stat().st_size for f in folder.iterdir()), "bytes")


if __name__ == "__main__":
    main()
