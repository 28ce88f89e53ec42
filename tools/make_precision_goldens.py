#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes what training in other numbers and by other rules is held against.

Made with torch 2.15.0 (CPU), transformers 5.24.0 and ml_dtypes 0.6.0:  python tools/make_precision_goldens.py data/golden
  train/NAME-VARIANT/              a model of data/golden/hf after 20 steps over the batches of train/NAME/steps.json, as save_pretrained
                                   writes it, and steps.json: its rule's numbers and `losses` before each step
  train/precision.json             `kahan`: bits of weights in bf16 and their compensations behind every 100 of 1,000 updates
                                   (ml_dtypes.bfloat16); `scaler`: overflows of 10,000 steps and the scale behind each change of
                                   torch.amp.GradScaler
The models are computed in float64; `bf16` keeps masters of all matrices in float32 with copies in bfloat16 for the forward pass.
"""
import json
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import torch
import transformers as t
from make_train_goldens import OPTIONS, STEPS, loss_of

def load(root, name):
    return t.AutoModelForCausalLM.from_pretrained(root / "hf" / name, dtype=torch.float64, attn_implementation="eager").eval()


def groups(parameters):
    parameters = list(parameters)
    matrices = [p for p in parameters if p.dim() > 1]
    vectors = [p for p in parameters if p.dim() == 1]
    return [dict(params=matrices, weight_decay=OPTIONS["decay"]), dict(params=vectors, weight_decay=0.0)]


def sgd(root, name, nesterov):
    rule = dict(rule="sgd", rate=0.05, momentum=0.9, nesterov=nesterov, decay=OPTIONS["decay"])
    model = load(root, name)
    optimiser = torch.optim.SGD(groups(model.parameters()), lr=rule["rate"], momentum=rule["momentum"], nesterov=nesterov)
    batches, losses = json.loads((root / "train" / name / "steps.json").read_text())["batches"], []
    for step in range(STEPS):
        optimiser.zero_grad()
        loss = loss_of(model, batches[step % 4])
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return model, dict(rule, losses=losses)


def to_bf16(x):
    """To nearest, ties away from zero: the numbers of data/golden/hf have so few bits that there are many."""
    bits = x.detach().numpy().view(np.uint32)
    return torch.from_numpy((bits + np.uint32(0x8000) & np.uint32(0xFFFF0000)).view(np.float32))


def bf16_masters(root, name):
    """torch.optim.AdamW on float32 masters; the model computes with their copies in bfloat16, of matrices alone."""
    model = load(root, name)
    masters = {n: torch.nn.Parameter(p.detach().float()) for n, p in model.named_parameters()}
    optimiser = torch.optim.AdamW(groups(masters.values()), lr=OPTIONS["rate"], betas=OPTIONS["betas"], eps=OPTIONS["eps"])
    batches, losses = json.loads((root / "train" / name / "steps.json").read_text())["batches"], []
    for step in range(STEPS):
        with torch.no_grad():
            for n, p in model.named_parameters():
                p.copy_(to_bf16(masters[n]) if p.dim() > 1 else masters[n])
        model.zero_grad()
        loss = loss_of(model, batches[step % 4])
        loss.backward()
        for n, p in model.named_parameters():
            masters[n].grad = p.grad.float()
        optimiser.step()
        losses.append(loss.item())
    with torch.no_grad():
        for n, p in model.named_parameters():
            p.copy_(masters[n])
    return model, dict(OPTIONS, rule="adamw", losses=losses)


def kahan():
    """16 weights; update k of weight i is a whole number of 2^-16 that both sides make alike."""
    bf16 = ml_dtypes.bfloat16
    w = np.array([(1 + i / 8) * (-1) ** i for i in range(16)], np.float32).astype(bf16)
    c = np.zeros(16, bf16)
    behind = []
    for k in range(1000):
        u = np.array([((k * 7919 + i * 104729) % 2001 - 700) * 2.0**-16 for i in range(16)], np.float32)
        old = w.astype(np.float32)
        u = (old + u) - old  # what a rule that works on float32 moved the weight by
        y = u - c.astype(np.float32)
        new = (old + y).astype(bf16)
        c = ((new.astype(np.float32) - old).astype(bf16).astype(np.float32) - y).astype(bf16)
        w = new
        if k % 100 == 99:
            behind.append([w.view(np.uint16).tolist(), c.view(np.uint16).tolist()])
    return behind


def scaler():
    random = np.random.default_rng(5)
    scaler = torch.amp.GradScaler("cpu")  # 65536, times 2, times 0.5, 2000
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([weight], lr=0.0)
    overflows, changes, before = [], [], scaler.get_scale()
    for step in range(10000):
        overflow = random.random() < (0.01 if 2000 < step < 2600 else 0.0002)
        weight.grad = torch.tensor([float("inf") if overflow else 1.0])
        scaler.scale(torch.zeros(1))
        scaler.step(optimiser)
        scaler.update()
        if overflow:
            overflows.append(step)
        if scaler.get_scale() != before:
            before = scaler.get_scale()
            changes.append([step, before])
    return dict(overflows=overflows, changes=changes)


def main():
    root = Path(sys.argv[1])
    made = {"gpt2-sgd": sgd(root, "gpt2", False), "gpt2-nesterov": sgd(root, "gpt2", True), "llama3-bf16": bf16_masters(root, "llama3")}
    for name, (model, golden) in made.items():
        out = root / "train" / name
        model.float().save_pretrained(out)
        (out / "generation_config.json").unlink(missing_ok=True)
        (out / "steps.json").write_text(json.dumps(golden) + "\n")
        print(name, golden["losses"][0], golden["losses"][-1])
    (root / "train" / "precision.json").write_text(json.dumps(dict(kahan=kahan(), scaler=scaler())) + "\n")


if __name__ == "__main__":
    main()
