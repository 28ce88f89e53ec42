#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes data/golden/gradients.json: losses and gradients that torch computes for the small models of data/golden/hf.

Made with torch 2.15.0 (CPU) and transformers 5.24.0:  python tools/make_gradient_goldens.py data/golden
One entry a model: three documents packed one behind the other (`tokens`, `documents` = the row at which each row's document
begins), `targets` (-1: none), `loss_weights`; `loss` = sum of loss_weight * -log p(target), each document run by itself;
`norm` of the gradient towards all weights together, and of that towards the input embedding. In float64, of which the
norms and rotations of some models keep float32 only.
"""
import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers as t

LENGTHS = [9, 1, 6]


def entry(directory, random):
    model = t.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float64, attn_implementation="eager",
                                                   experts_implementation="eager").train()
    for module in model.modules():  # dropout off, everything else as in training
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    vocab = model.config.get_text_config().vocab_size
    tokens, targets, documents, weights, loss = [], [], [], [], torch.zeros((), dtype=torch.float64)
    for length in LENGTHS:
        begin = len(tokens)
        ids = random.integers(0, vocab, length).tolist()
        wanted = [-1 if random.random() < 0.2 else int(x) for x in random.integers(0, vocab, length)]
        factors = [float(x) for x in random.integers(1, 8, length) / 64]
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double()
        for row, (target, factor) in enumerate(zip(wanted, factors)):
            if target >= 0:
                loss = loss - factor * torch.log_softmax(logits[row], -1)[target]
        tokens += ids
        targets += wanted
        weights += factors
        documents += [begin] * length
    loss.backward()
    norm = sum(float((p.grad**2).sum()) for p in model.parameters() if p.grad is not None) ** 0.5
    embedding = float(model.get_input_embeddings().weight.grad.norm())
    return dict(tokens=tokens, targets=targets, documents=documents, loss_weights=weights, loss=loss.item(), norm=norm,
                embedding_norm=embedding)


def main():
    root = Path(sys.argv[1])
    random = np.random.default_rng(11)
    out = {d.name: entry(d, random) for d in sorted((root / "hf").iterdir()) if d.name != "llama-b"}
    (root / "gradients.json").write_text("{\n" + ",\n".join(f'"{k}": {json.dumps(v)}' for k, v in out.items()) + "\n}\n")


if __name__ == "__main__":
    main()
