#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes data/golden/model/: tiny random models of every architecture with the logits that `transformers` computes in float32.

Made with torch 2.15.0 (CPU), transformers 5.24.0, gguf 0.17.1 and numpy 2.4.6:  python tools/make_model_goldens.py data/golden/model [NAME...]
  NAME.gguf   the model without a tokenizer; matrices in the storage type of its row below, computed with exactly those values
  NAME.json   where it comes from, `prompt` (24 tokens) and `greedy` (the 64 tokens that follow, each the largest logit)
  NAME.bin    float32 logits of every prompt position and of every greedy token but the last, [24 + 63][vocabulary]
A model whose greedy tokens are nearly tied is refused: its second largest logit must stay 0.01 behind.
"""
import json
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers as tf

PROMPT, GREEDY, GAP = 24, 64, 0.01
STORAGE = {"f32": (torch.float32, gguf.GGMLQuantizationType.F32), "f16": (torch.float16, gguf.GGMLQuantizationType.F16),
           "bf16": (torch.bfloat16, gguf.GGMLQuantizationType.BF16)}


def row(arch, store, vocab, dim, layers, heads, kv_heads, head_dim, ff, **more):
    return dict(arch=arch, store=store, vocab=vocab, dim=dim, layers=layers, heads=heads, kv_heads=kv_heads, head_dim=head_dim, ff=ff,
                **{"tied": False, **more})


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
LONG = {"rope_type": "longrope", "original_max_position_embeddings": 128, "short_factor": [1.0, 1.1, 1.3, 2.0], "long_factor": [2.0, 3.0, 4.0, 5.0]}
# Odd head counts, widths that are no multiple of a panel or a vector, tied and untied heads, both kinds of layers.
MODELS = {
    "llama-a": row("llama", "f32", 90, 72, 2, 9, 3, 8, 44),
    "llama-b": row("llama", "f16", 96, 48, 3, 3, 1, 32, 60, tied=True, rope={"rope_type": "default", "rope_theta": 100000.0}),
    "llama-c": row("llama", "f32", 80, 36, 2, 3, 3, 24, 51, rope={"rope_type": "linear", "factor": 4.0}),
    "llama3-a": row("llama", "f16", 80, 40, 2, 5, 1, 16, 52, rope=LLAMA3),
    "mistral-a": row("mistral", "f16", 72, 40, 2, 5, 5, 8, 52, window=13),
    "mistral-b": row("mistral", "f32", 64, 32, 2, 4, 2, 16, 48, window=7, tied=True),
    "mistral-c": row("mistral", "bf16", 66, 36, 3, 3, 1, 24, 40),
    "mixtral-a": row("mixtral", "f16", 64, 32, 2, 4, 2, 8, 24, experts=4, used=2),
    "mixtral-b": row("mixtral", "f32", 60, 24, 2, 3, 3, 8, 20, experts=5, used=2, tied=True),
    "mixtral-c": row("mixtral", "bf16", 70, 40, 2, 5, 1, 16, 36, experts=3, used=1, window=9),
    "qwen2-a": row("qwen2", "f16", 80, 40, 2, 5, 1, 8, 52),
    "qwen2-b": row("qwen2", "f32", 64, 48, 2, 6, 2, 8, 40, tied=True),
    "qwen2-c": row("qwen2", "bf16", 72, 48, 2, 3, 3, 16, 50, rope=YARN),
    "qwen3-a": row("qwen3", "f16", 80, 40, 2, 5, 1, 16, 52),
    "qwen3-b": row("qwen3", "f32", 64, 32, 2, 6, 3, 8, 40, tied=True),
    "qwen3-c": row("qwen3", "bf16", 72, 36, 3, 3, 3, 24, 41, rope={"rope_type": "default", "rope_theta": 1000000.0}),
    "qwen3moe-a": row("qwen3moe", "f16", 64, 32, 2, 4, 2, 16, 24, experts=8, used=2),
    "qwen3moe-b": row("qwen3moe", "f32", 60, 24, 2, 3, 1, 8, 20, experts=4, used=3, tied=True),
    "qwen3moe-c": row("qwen3moe", "bf16", 70, 40, 2, 5, 5, 8, 36, experts=6, used=1),
    "gemma-a": row("gemma", "f16", 80, 40, 2, 5, 1, 16, 52, tied=True),
    "gemma-b": row("gemma", "f32", 64, 36, 2, 3, 3, 8, 45, tied=True),
    "gemma-c": row("gemma", "bf16", 72, 48, 3, 4, 2, 24, 40, tied=True),
    "gemma2-a": row("gemma2", "f16", 80, 40, 3, 5, 1, 16, 52, tied=True, window=8),
    "gemma2-b": row("gemma2", "f32", 64, 36, 2, 3, 3, 8, 45, tied=True, window=17),
    "gemma2-c": row("gemma2", "bf16", 72, 48, 4, 4, 2, 24, 40, tied=True, window=5),
    "gemma3-a": row("gemma3", "f32", 64, 36, 6, 3, 1, 8, 52, tied=True, window=8),
    "gemma3-b": row("gemma3", "f16", 80, 48, 7, 4, 2, 16, 56, tied=True, window=5, rope={"rope_type": "linear", "factor": 8.0}),
    "gemma3-c": row("gemma3", "bf16", 71, 40, 6, 2, 1, 32, 57, tied=True, window=17),
    "phi3-a": row("phi3", "f16", 80, 40, 2, 5, 5, 8, 52),
    "phi3-b": row("phi3", "f32", 64, 48, 2, 6, 2, 8, 40, tied=True),
    "phi3-c": row("phi3", "bf16", 72, 24, 3, 3, 1, 8, 41, rope=LONG),
    "olmo2-a": row("olmo2", "f16", 80, 40, 2, 5, 1, 8, 52),
    "olmo2-b": row("olmo2", "f32", 64, 48, 2, 6, 2, 8, 40, tied=True),
    "olmo2-c": row("olmo2", "bf16", 72, 48, 3, 3, 3, 16, 41),
    "gpt2-a": row("gpt2", "f16", 80, 40, 2, 5, 5, 8, 52, tied=True),
    "gpt2-b": row("gpt2", "f32", 64, 48, 2, 3, 3, 16, 44, tied=True),
    "gpt2-c": row("gpt2", "bf16", 72, 64, 2, 4, 4, 16, 70),
}
GGUF_ARCH = {"mistral": "llama", "mixtral": "llama"}
PLUS_ONE = ("gemma", "gemma2", "gemma3")  # norm weights are stored as the difference from one
CONTEXT = 256


def rope_of(m):
    return {"rope_theta": 10000.0, "rope_type": "default", **m.get("rope", {})}


def build(m):
    arch = m["arch"]
    if arch == "gpt2":
        return tf.GPT2LMHeadModel(tf.GPT2Config(vocab_size=m["vocab"], n_embd=m["dim"], n_layer=m["layers"], n_head=m["heads"], n_inner=m["ff"],
                                                n_positions=CONTEXT, tie_word_embeddings=m["tied"], attn_implementation="eager"))
    common = dict(vocab_size=m["vocab"], hidden_size=m["dim"], intermediate_size=m["ff"], num_hidden_layers=m["layers"],
                  num_attention_heads=m["heads"], num_key_value_heads=m["kv_heads"], max_position_embeddings=CONTEXT,
                  tie_word_embeddings=m["tied"], attn_implementation="eager", rms_norm_eps=1e-6 if arch in PLUS_ONE else 1e-5,
                  pad_token_id=0, bos_token_id=1, eos_token_id=2)
    rope = rope_of(m)
    if arch == "gemma3":
        kinds = ["full_attention" if (i + 1) % 6 == 0 else "sliding_attention" for i in range(m["layers"])]
        return tf.Gemma3ForCausalLM(tf.Gemma3TextConfig(
            **common, head_dim=m["head_dim"], layer_types=kinds, sliding_window=m["window"], query_pre_attn_scalar=m["head_dim"],
            hidden_activation="gelu_pytorch_tanh",
            rope_parameters={"full_attention": {**rope, "rope_theta": 1000000.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}))
    common["rope_parameters"] = rope
    if arch == "llama":
        return tf.LlamaForCausalLM(tf.LlamaConfig(**common, head_dim=m["head_dim"]))
    if arch == "mistral":
        return tf.MistralForCausalLM(tf.MistralConfig(**common, head_dim=m["head_dim"], sliding_window=m.get("window")))
    if arch == "mixtral":
        return tf.MixtralForCausalLM(tf.MixtralConfig(**common, head_dim=m["head_dim"], sliding_window=m.get("window"),
                                                      num_local_experts=m["experts"], num_experts_per_tok=m["used"]))
    if arch == "qwen2":
        return tf.Qwen2ForCausalLM(tf.Qwen2Config(**common))
    if arch == "qwen3":
        return tf.Qwen3ForCausalLM(tf.Qwen3Config(**common, head_dim=m["head_dim"]))
    if arch == "qwen3moe":
        return tf.Qwen3MoeForCausalLM(tf.Qwen3MoeConfig(**common, head_dim=m["head_dim"], moe_intermediate_size=m["ff"], num_experts=m["experts"],
                                                        num_experts_per_tok=m["used"], norm_topk_prob=True))
    if arch == "gemma":
        return tf.GemmaForCausalLM(tf.GemmaConfig(**common, head_dim=m["head_dim"], hidden_activation="gelu_pytorch_tanh"))
    if arch == "gemma2":
        return tf.Gemma2ForCausalLM(tf.Gemma2Config(**common, head_dim=m["head_dim"], query_pre_attn_scalar=m["head_dim"],
                                                    sliding_window=m["window"], hidden_activation="gelu_pytorch_tanh"))
    if arch == "phi3":
        return tf.Phi3ForCausalLM(tf.Phi3Config(**common, original_max_position_embeddings=128))
    return tf.Olmo2ForCausalLM(tf.Olmo2Config(**common))


def is_transposed(name, m):
    return m["arch"] == "gpt2" and ".h." in name


def randomise(model, m, seed):
    """Normal weights: unit gain through matrices, norms around one, biases around zero."""
    g = torch.Generator().manual_seed(seed)
    kind = STORAGE[m["store"]][0]
    with torch.no_grad():
        for name, p in model.named_parameters():
            x = torch.randn(p.shape, generator=g)
            if p.dim() == 1:
                p.copy_(0.2 * x if m["arch"] in PLUS_ONE or name.endswith("bias") else 1 + 0.2 * x)
                if name == "model.norm.weight" and m["arch"] in PLUS_ONE:
                    p.add_(3.0)
            else:
                # A tied head on loud embeddings would repeat the last token for ever.
                loud = ("embed_tokens" in name or "wte" in name) and not m["tied"]
                spread = 1.0 if loud else p.shape[0 if is_transposed(name, m) else -1] ** -0.5
                # Gemma scales embeddings up: quieter ones, louder blocks and a louder last norm let it say more than its last token.
                if m["arch"] in PLUS_ONE and "embed_tokens" in name:
                    spread *= 0.25
                if m["arch"] == "gemma" and ("o_proj" in name or "down_proj" in name):
                    spread *= 2
                p.copy_((spread * x).to(kind).float())


def run(model, prompt):
    with torch.no_grad():
        tokens = list(prompt)
        for _ in range(GREEDY):
            last = model(torch.tensor([tokens]), use_cache=False).logits[0, -1]
            best = torch.topk(last, 2)
            if best.values[0] - best.values[1] < GAP:
                return None
            tokens.append(int(best.indices[0]))
        # One pass over everything: each position's logits as a prefill computes them.
        logits = model(torch.tensor([tokens[:-1]]), use_cache=False).logits[0]
    return tokens, logits.numpy().astype(np.float32)


def adjacent(w, heads, dim):
    """Rows of a head from rotary halves to rotary pairs, as GGUF files of the Llama family store q and k."""
    return w.reshape(heads, 2, dim // 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up", "mlp.gate.": "ffn_gate_inp", "mlp.gate": "ffn_gate_inp",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
         "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.experts.down_proj": "ffn_down_exps",
         "ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}
BEFORE = {"post_attention_layernorm": "ffn_norm"}
AFTER = {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm"}
TOP = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output", "wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}


def stored_name(name, arch):
    stem, dot, ending = name.rpartition(".")
    if ending not in ("weight", "bias"):
        stem, ending = name, "weight"
    stem = stem.removeprefix("model.").removeprefix("transformer.")
    if not stem.startswith(("layers.", "h.")):
        return f"{TOP[stem]}.{ending}"
    _, layer, what = stem.split(".", 2)
    own = AFTER if arch in ("gemma2", "gemma3", "olmo2") else BEFORE
    return f"blk.{layer}.{NAMES.get(what) or own[what]}.{ending}"


def rope_keys(w, m, model):
    rope = m.get("rope", {})
    kind = rope.get("rope_type", "default")
    if kind == "llama3":
        theta = 10000.0 ** (-torch.arange(0, m["head_dim"], 2).double() / m["head_dim"])
        w.add_tensor("rope_freqs.weight", (theta / model.model.rotary_emb.inv_freq.double()).numpy().astype(np.float32))
    elif kind == "longrope":
        w.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE)
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        w.add_rope_scaling_attn_factors(model.model.rotary_emb.attention_scaling)
        w.add_tensor("rope_factors_long.weight", np.array(rope["long_factor"], np.float32))
        w.add_tensor("rope_factors_short.weight", np.array(rope["short_factor"], np.float32))
    elif kind in ("linear", "yarn"):
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR if kind == "linear" else gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(rope["factor"])
        if kind == "yarn":
            w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])


def write(path, model, m, origin):
    arch = m["arch"]
    w = gguf.GGUFWriter(path, GGUF_ARCH.get(arch, arch))
    w.add_description(origin)
    w.add_context_length(CONTEXT)
    w.add_embedding_length(m["dim"])
    w.add_block_count(m["layers"])
    w.add_feed_forward_length(m["ff"])
    w.add_head_count(m["heads"])
    if arch == "gpt2":
        w.add_layer_norm_eps(model.config.layer_norm_epsilon)
    else:
        w.add_head_count_kv(m["kv_heads"])
        w.add_key_length(m["head_dim"])
        w.add_value_length(m["head_dim"])
        w.add_rope_dimension_count(m["head_dim"])
        w.add_layer_norm_rms_eps(model.config.rms_norm_eps)
        w.add_rope_freq_base(1000000.0 if arch == "gemma3" else rope_of(m)["rope_theta"])
        rope_keys(w, m, model)
    if m.get("window"):
        w.add_sliding_window(m["window"])
    if "experts" in m:
        w.add_expert_count(m["experts"])
        w.add_expert_used_count(m["used"])
        if arch == "qwen3moe":
            w.add_expert_feed_forward_length(m["ff"])
    if arch == "gemma2":
        w.add_attn_logit_softcapping(model.config.attn_logit_softcapping)
        w.add_final_logit_softcapping(model.config.final_logit_softcapping)
    kind = STORAGE[m["store"]][1]

    def add(name, x):
        w.add_tensor(name, gguf.quants.quantize(x, kind), raw_dtype=kind)

    for name, p in model.named_parameters():
        x = p.detach().numpy().astype(np.float32)
        if name.endswith("experts.gate_up_proj"):
            layer = name.split(".")[2]
            add(f"blk.{layer}.ffn_gate_exps.weight", np.ascontiguousarray(x[:, :m["ff"]]))
            add(f"blk.{layer}.ffn_up_exps.weight", np.ascontiguousarray(x[:, m["ff"]:]))
            continue
        stored = stored_name(name, arch)
        if x.ndim == 1:
            w.add_tensor(stored, (x + np.float32(1)) if arch in PLUS_ONE else x)
            continue
        if GGUF_ARCH.get(arch, arch) == "llama" and ("q_proj" in name or "k_proj" in name):
            x = adjacent(x, m["heads"] if "q_proj" in name else m["kv_heads"], m["head_dim"])
        add(stored, np.ascontiguousarray(x.T) if is_transposed(name, m) else x)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    tf.logging.set_verbosity_error()
    origin = f"torch {torch.__version__.split('+')[0]}, transformers {tf.__version__}, numpy {np.__version__}"
    for number, (name, m) in enumerate(MODELS.items()):
        if len(sys.argv) > 2 and name not in sys.argv[2:]:
            continue
        model = build(m).float().eval()
        for seed in range(1000 * number, 1000 * number + 999):
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
        print(f"{name}: seed {seed}, logits std {logits.std():.2f}, {len(set(tokens[PROMPT:]))} different tokens", flush=True)


if __name__ == "__main__":
    main()
