#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes data/golden/lora/: random adapters of the models in data/golden/hf as PEFT saves them, with the logits of model and adapter.

Made with peft 0.21.2, torch 2.15.0 (CPU) and transformers 5.24.0:  python tools/make_lora_goldens.py data/golden/hf data/golden/lora
  NAME/adapter_config.json, NAME/adapter_model.safetensors   an adapter of data/golden/hf/NAME, as save_pretrained writes it
  NAME/golden.json   `prompt` (12 tokens) and `greedy` (the 6 that follow, each the largest logit by 0.02), `vocab`
  NAME/logits.bin    float32 logits of every prompt position and of every greedy token but the last, [12 + 5][vocabulary]
"""
import json
import sys
from pathlib import Path

import numpy as np
import peft
import torch
import transformers as t

PROMPT, GREEDY = 12, 6
QKVO, FFN = ["q_proj", "k_proj", "v_proj", "o_proj"], ["gate_proj", "up_proj", "down_proj"]
ADAPTERS = {
    "llama3": dict(r=4, lora_alpha=8, target_modules=QKVO + FFN),
    "qwen2": dict(r=4, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj"], rank_pattern={"v_proj": 2},
                  alpha_pattern={"layers.1.mlp.down_proj": 3}),
    "gemma3-c": dict(r=3, lora_alpha=4, use_rslora=True, target_modules=QKVO + ["up_proj"], layers_to_transform=[0]),
    "phi3": dict(r=4, lora_alpha=8, target_modules=["qkv_proj", "gate_up_proj", "down_proj"]),
    "gpt2": dict(r=4, lora_alpha=8, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True),
}


def run(model, prompt):
    tokens = list(prompt)
    with torch.no_grad():
        for _ in range(GREEDY):
            best = torch.topk(model(torch.tensor([tokens]), use_cache=False).logits[0, -1], 2)
            if best.values[0] - best.values[1] < 0.02:
                return None
            tokens.append(int(best.indices[0]))
        return tokens, model(torch.tensor([tokens[:-1]]), use_cache=False).logits[0].numpy().astype(np.float32)


def main():
    models, out = Path(sys.argv[1]), Path(sys.argv[2])
    for name, config in ADAPTERS.items():
        for seed in range(100):
            base = t.AutoModelForCausalLM.from_pretrained(models / name, dtype=torch.float32, attn_implementation="eager")
            model = peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", **config)).eval()
            g = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                for key, p in model.named_parameters():
                    if "lora_" in key:
                        p.copy_(torch.randn(p.shape, generator=g) * p.shape[-1] ** -0.5 * 0.7)
            prompt = np.random.default_rng(seed).integers(1, base.config.vocab_size, PROMPT).tolist()
            made = run(model, prompt)
            with model.disable_adapter():
                plain = run(model, prompt)
            if made and len(set(made[0][PROMPT:])) > 2 and (plain is None or plain[0] != made[0]):
                break
        else:
            raise SystemExit(f"{name}: no seed gives clear greedy tokens that are the adapter's")
        tokens, logits = made
        model.save_pretrained(out / name)
        config = json.loads((out / name / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = name
        (out / name / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
        (out / name / "README.md").unlink(missing_ok=True)
        (out / name / "golden.json").write_text(
            json.dumps(dict(prompt=prompt, greedy=tokens[PROMPT:], vocab=logits.shape[1], seed=seed)) + "\n")
        logits.tofile(out / name / "logits.bin")
        print(name, "seed", seed, sum(f.stat().st_size for f in (out / name).iterdir()), "bytes")


if __name__ == "__main__":
    main()
