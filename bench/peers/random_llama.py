#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a directory of transformers in the shape of Llama-3.2-1B with random weights in bf16, for speed alone:
random_llama.py DIR [--vocab N] [--layers N]. The same bytes every time; 2.5 GB as it stands."""
import argparse
import json
import os
import random


def bf16(rng, count):
    """Random numbers of both signs, from 2^-7 to 2^-5 in size."""
    raw = bytearray(rng.randbytes(2 * count))
    raw[1::2] = bytes(raw[1::2]).translate(bytes(0x3C if b < 128 else 0xBC for b in range(256)))
    return bytes(raw)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("directory")
    p.add_argument("--vocab", type=int, default=128256)
    p.add_argument("--layers", type=int, default=16)
    a = p.parse_args()
    dim, ff, heads, kv, head = 2048, 8192, 32, 8, 64
    os.makedirs(a.directory, exist_ok=True)
    tensors = {"model.embed_tokens.weight": (a.vocab, dim), "model.norm.weight": (dim,)}
    for i in range(a.layers):
        prefix = f"model.layers.{i}."
        tensors |= {prefix + "input_layernorm.weight": (dim,), prefix + "post_attention_layernorm.weight": (dim,),
                    prefix + "self_attn.q_proj.weight": (heads * head, dim), prefix + "self_attn.k_proj.weight": (kv * head, dim),
                    prefix + "self_attn.v_proj.weight": (kv * head, dim), prefix + "self_attn.o_proj.weight": (dim, heads * head),
                    prefix + "mlp.gate_proj.weight": (ff, dim), prefix + "mlp.up_proj.weight": (ff, dim), prefix + "mlp.down_proj.weight": (dim, ff)}
    header, at = {}, 0
    for name, shape in tensors.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + 2 * count]}
        at += 2 * count
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = random.Random(1)
    path = f"{a.directory}/model.safetensors"
    with open(path + ".part", "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for name in tensors:
            begin, end = header[name]["data_offsets"]
            while begin < end:
                some = min(end - begin, 1 << 24)
                f.write(bf16(rng, some // 2))
                begin += some
    os.replace(path + ".part", path)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": dim, "intermediate_size": ff, "num_hidden_layers": a.layers,
              "num_attention_heads": heads, "num_key_value_heads": kv, "head_dim": head, "vocab_size": a.vocab, "rms_norm_eps": 1e-5,
              "rope_theta": 500000.0, "max_position_embeddings": 131072, "tie_word_embeddings": True, "hidden_act": "silu",
              "bos_token_id": 256, "eos_token_id": 257}
    # Bytes, two marks, and words that no merge makes: ids are what a bench needs.
    letters = [c for c in range(256)]
    shown = {}
    extra = 0
    for c in letters:
        if 33 <= c <= 126 or 161 <= c <= 172 or 174 <= c <= 255:
            shown[c] = chr(c)
        else:
            shown[c] = chr(256 + extra)
            extra += 1
    vocab = {shown[c]: c for c in letters} | {f"word{i}": i for i in range(258, a.vocab)}
    marks = [{"id": i, "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for i, name in ((256, "<|begin|>"), (257, "<|end|>"))]
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": marks, "normalizer": None,
                 "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
                 "post_processor": None, "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
                 "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                           "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": []}}
    for name, value in (("config.json", config), ("tokenizer.json", tokenizer), ("tokenizer_config.json", {"bos_token": "<|begin|>", "eos_token": "<|end|>"})):
        with open(f"{a.directory}/{name}", "w") as f:
            json.dump(value, f)


if __name__ == "__main__":
    main()
