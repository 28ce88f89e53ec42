#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes data/golden/train/products.json: losses before each of 20 steps of small models whose linears multiply in fewer bits.

Made with torch 2.15.0 (CPU) and transformers 5.24.0:  python tools/make_products_goldens.py data/golden
  NAME.RECIPE   a model of data/golden/hf over the batches of train/NAME/steps.json, by torch.optim.AdamW: `losses`, and `spread`, how
                far from them two more runs are at most whose rows and gradients are off by up to 2^-20 of themselves before they are
                rounded. A number beside the border of two codes becomes the other one then, as it may in float32.
The models are computed in float64. Operands are rounded of their float32: to integers by their definition, to small floats by
torch.float8_e4m3fn and float8_e5m2, whose scales follow Transformer Engine's DelayedScaling (a history of 1,024 steps, margin 0; the
first step has those of its own tensors), or the floor rule of OCP Microscaling 1.0.
"""
import json
import sys
from pathlib import Path

import torch
import transformers as t
from make_train_goldens import OPTIONS, STEPS

TYPES = dict(e4m3=(torch.float8_e4m3fn, 448.0, 8), e5m2=(torch.float8_e5m2, 57344.0, 15))


class Int8:
    def __init__(self, by_row):
        self.by_row = by_row

    def round(self, x, name, axis):
        """`axis` is summed over; a row's scale is along it."""
        x = x.float()
        largest = x.abs().amax(axis, keepdim=True) if self.by_row or name != "weight" else x.abs().amax()
        by = torch.where(largest > 0, torch.tensor(127.0) / largest, torch.zeros(()))  # no reciprocal
        return torch.round(x * by).double() * (largest / 127).double()

    def products(self, x, w, g=None):
        if g is None:
            return self.round(x, "rows", -1) @ self.round(w, "weight", -1).T
        return self.round(g, "gradient", -1) @ self.round(w, "weight", 0), g.T @ x

    def step(self):
        pass


class Fp8:
    def __init__(self, gradient):
        self.forms = dict(rows="e4m3", weight="e4m3", gradient=gradient)
        self.history, self.seen = {k: [] for k in self.forms}, {}

    def round(self, x, name):
        kind, largest, _ = TYPES[self.forms[name]]
        x = x.float()
        self.seen[name] = x.abs().max()
        most = torch.stack(self.history[name]).max() if self.history[name] else self.seen[name]
        scale = torch.tensor(largest) / most if most > 0 else torch.tensor(1.0)
        return (x * scale).clamp(-largest, largest).to(kind).double() / scale.double()

    def products(self, x, w, g=None):
        if g is None:
            return self.round(x, "rows") @ self.round(w, "weight").T
        rounded = self.round(g, "gradient")
        return rounded @ self.round(w, "weight"), rounded.T @ self.round(x, "rows")

    def step(self):
        for name, seen in self.seen.items():
            self.history[name].append(seen)


class Mx:
    def __init__(self, gradient):
        self.gradient = gradient

    def round(self, x, form, axis):
        kind, largest, emax = TYPES[form]
        x = x.float().transpose(axis, -1)
        shape, pad = x.shape, -x.shape[-1] % 32
        blocks = torch.nn.functional.pad(x, (0, pad)).reshape(*shape[:-1], -1, 32)
        exponent = torch.frexp(blocks.abs().amax(-1, keepdim=True))[1] - 1 - emax
        scale = torch.ldexp(torch.ones(exponent.shape), exponent.clamp(-127, 127))
        y = (blocks / scale).clamp(-largest, largest).to(kind).float() * scale
        return y.reshape(*shape[:-1], -1)[..., : shape[-1]].transpose(axis, -1).double()

    def products(self, x, w, g=None):
        if g is None:
            return self.round(x, "e4m3", 1) @ self.round(w, "e4m3", 1).T
        dx = self.round(g, self.gradient, 1) @ self.round(w, "e4m3", 0)
        return dx, self.round(g, self.gradient, 0).T @ self.round(x, "e4m3", 0)

    def step(self):
        pass


def noisy(x, noise):
    return x if noise is None else x * (1 + 2**-20 * (2 * torch.rand(x.shape, dtype=x.dtype, generator=noise) - 1))


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, recipe, noise):
        x = noisy(x, noise)
        ctx.save_for_backward(x, w)
        ctx.recipe, ctx.noise = recipe, noise
        return recipe.products(x, w)

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return *ctx.recipe.products(x, w, noisy(g, ctx.noise)), None, None


RECIPES = {
    "int8-switchback": lambda: Int8(False),
    "int8-rows": lambda: Int8(True),
    "fp8-hybrid": lambda: Fp8("e5m2"),
    "fp8-e4m3": lambda: Fp8("e4m3"),
    "mxfp8": lambda: Mx("e4m3"),
    "mxfp8-hybrid": lambda: Mx("e5m2"),
}


def patch(model, make, noise):
    """Linears of layers, not the head."""
    recipes = []

    def forward_of(module):
        recipes.append(own := make())

        def forward(x):
            rows = x.reshape(-1, x.shape[-1])
            y = Product.apply(rows, module.weight, own, noise).reshape(*x.shape[:-1], -1)
            return y if module.bias is None else y + module.bias

        return forward

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and "lm_head" not in name:
            module.forward = forward_of(module)
    return recipes


def loss_of(model, b):
    """All documents at once, as rows of one sequence that see their own."""
    documents = torch.tensor(b["documents"])
    n = len(documents)
    sees = (documents[:, None] == documents[None, :]) & (torch.arange(n)[:, None] >= torch.arange(n)[None, :])
    mask = torch.where(sees, 0.0, -1e30).double()[None, None]
    positions = (torch.arange(n) - documents)[None]
    logits = model(input_ids=torch.tensor([b["tokens"]]), attention_mask=mask, position_ids=positions, use_cache=False).logits[0]
    loss = torch.zeros((), dtype=torch.float64)
    for row, (target, weight) in enumerate(zip(b["targets"], b["loss_weights"])):
        if target >= 0:
            loss = loss - weight * torch.log_softmax(logits[row], -1)[target]
    return loss


def losses(root, name, recipe, noise=None):
    model = t.AutoModelForCausalLM.from_pretrained(root / "hf" / name, dtype=torch.float64, attn_implementation="eager").eval()
    recipes = patch(model, RECIPES[recipe], noise) if recipe else []
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    adamw = torch.optim.AdamW([dict(params=matrices, weight_decay=OPTIONS["decay"]), dict(params=vectors, weight_decay=0.0)],
                              lr=OPTIONS["rate"], betas=OPTIONS["betas"], eps=OPTIONS["eps"])
    batches, all = json.loads((root / "train" / name / "steps.json").read_text())["batches"], []
    for step in range(STEPS):
        adamw.zero_grad()
        loss = loss_of(model, batches[step % 4])
        loss.backward()
        adamw.step()
        for r in recipes:
            r.step()
        all.append(loss.item())
    return all


def main():
    root = Path(sys.argv[1])
    golden = {}
    for name in ["llama3"]:
        plain = losses(root, name, None)
        known = json.loads((root / "train" / name / "steps.json").read_text())["losses"]
        assert max(abs(a - b) for a, b in zip(plain, known)) < 2e-6, "packed documents are not those apart"
        for recipe in RECIPES:
            found = losses(root, name, recipe)
            others = [losses(root, name, recipe, torch.Generator().manual_seed(seed)) for seed in (1, 2)]
            spread = [max(abs(o[i] - x) for o in others) for i, x in enumerate(found)]
            golden[f"{name}.{recipe}"] = dict(losses=found, spread=spread)
            print(name, recipe, found[0], found[-1], max(spread), plain[-1], flush=True)
    (root / "train" / "products.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
