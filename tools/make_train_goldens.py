#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes data/golden/train/: two of the small models of data/golden/hf after 20 steps of torch.optim.AdamW.

Made with torch 2.15.0 (CPU) and transformers 5.24.0:  python tools/make_train_goldens.py data/golden
  NAME/config.json, NAME/model.safetensors   the model after the last step, as save_pretrained writes it
  NAME/steps.json   `batches` (4, taken in turn: tokens, targets, documents, loss_weights as in data/golden/gradients.json),
                    `rate`, `betas`, `eps`, `decay` (of matrices alone), `losses` before each step
Computed in float64 and rounded at the end.
"""
import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers as t

LENGTHS, STEPS = [9, 1, 6], 20
OPTIONS = dict(rate=2e-3, betas=[0.9, 0.95], eps=1e-6, decay=0.1)


def batch(vocab, random):
    tokens, targets, documents = [], [], []
    for length in LENGTHS:
        documents += [len(tokens)] * length
        ids = random.integers(0, vocab, length + 1).tolist()
        tokens += ids[:-1]
        targets += [-1 if random.random() < 0.2 else x for x in ids[1:]]
    count = sum(x >= 0 for x in targets)
    return dict(tokens=tokens, targets=targets, documents=documents, loss_weights=[1 / count] * len(tokens))


def loss_of(model, b):
    loss, at = torch.zeros((), dtype=torch.float64), 0
    for length in LENGTHS:
        rows = slice(at, at + length)
        at += length
        logits = model(input_ids=torch.tensor([b["tokens"][rows]]), use_cache=False).logits[0]
        for row, (target, weight) in enumerate(zip(b["targets"][rows], b["loss_weights"][rows])):
            if target >= 0:
                loss = loss - weight * torch.log_softmax(logits[row], -1)[target]
    return loss


def main():
    root = Path(sys.argv[1])
    for name in ["llama3", "gpt2"]:
        random = np.random.default_rng(12)
        model = t.AutoModelForCausalLM.from_pretrained(root / "hf" / name, dtype=torch.float64, attn_implementation="eager").eval()
        matrices = [p for p in model.parameters() if p.dim() > 1]
        vectors = [p for p in model.parameters() if p.dim() == 1]
        adamw = torch.optim.AdamW([dict(params=matrices, weight_decay=OPTIONS["decay"]), dict(params=vectors, weight_decay=0.0)],
                                  lr=OPTIONS["rate"], betas=OPTIONS["betas"], eps=OPTIONS["eps"])
        batches, losses = [batch(60, random) for _ in range(4)], []
        for step in range(STEPS):
            adamw.zero_grad()
            loss = loss_of(model, batches[step % 4])
            loss.backward()
            adamw.step()
            losses.append(loss.item())
        out = root / "train" / name
        model.float().save_pretrained(out)
        (out / "generation_config.json").unlink(missing_ok=True)
        (out / "steps.json").write_text(json.dumps(dict(OPTIONS, losses=losses, batches=batches)) + "\n")
        print(name, losses[0], losses[-1])


if __name__ == "__main__":
    main()
