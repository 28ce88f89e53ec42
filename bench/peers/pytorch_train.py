#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Training speed of vibee beside PyTorch (eager, compiled) on the CPU: one model, one batch, f32, in turn.

  bench/peers/pytorch_train.py [--size small|gpt2]... [--rounds 5] [--threads 2] [--json] [--record]

small: GPT-2 of 6 layers x 384, 2,048 words, 8 rows of 256; gpt2: 12 x 768, 50,257 words, 4 rows of 256. Forward, backward, clipping
and AdamW on random tokens. Each process trains for --steps steps, of which the first two (and for the compiled model its compilation)
are not counted; its figure is the median of the others, and the process' peak memory. PyTorch runs in the best of the environments
below, tried beforehand: allocators, OpenMP's waiting, oneDNN on and off. Needs the PyPI package torch.
"""
import argparse
import ctypes.util
import glob
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SIZES = {
    "small": dict(dim=384, layers=6, heads=6, vocab=2048, batch=8, length=256),
    "gpt2": dict(dim=768, layers=12, heads=12, vocab=50257, batch=4, length=256),
}


def worker(size, kind, steps):
    """A process that trains with PyTorch, and prints its seconds a step."""
    import torch
    import torch.nn as nn
    import torch.nn.functional as F

    s = SIZES[size]
    torch.manual_seed(0)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.set_flush_denormal(True)
    torch.backends.mkldnn.enabled = os.environ.get("PEER_ONEDNN", "1") == "1"

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            d = s["dim"]
            self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
            self.qkv, self.out, self.up, self.down = nn.Linear(d, 3 * d), nn.Linear(d, d), nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

        def forward(self, x):
            b, t, d = x.shape
            q, k, v = (y.view(b, t, s["heads"], -1).transpose(1, 2) for y in self.qkv(self.n1(x)).split(d, dim=2))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(b, t, d))
            return x + self.down(F.gelu(self.up(self.n2(x)), approximate="tanh"))

    class Gpt(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = nn.Embedding(s["vocab"], s["dim"]), nn.Embedding(s["length"], s["dim"])
            self.blocks, self.norm = nn.ModuleList(Block() for _ in range(s["layers"])), nn.LayerNorm(s["dim"])
            for p in self.parameters():
                if p.dim() > 1:
                    nn.init.normal_(p, std=0.02)

        def forward(self, x, y):
            h = self.words(x) + self.places.weight
            for block in self.blocks:
                h = block(h)
            return F.cross_entropy(F.linear(self.norm(h), self.words.weight).flatten(0, 1), y.flatten())

    model = Gpt()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    run = torch.compile(model) if kind == "compiled" else model
    seconds = []
    for _ in range(steps):
        x = torch.randint(s["vocab"], (s["batch"], s["length"] + 1))
        begin = time.perf_counter()
        loss = run(x[:, :-1].contiguous(), x[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        float(loss)
        seconds.append(time.perf_counter() - begin)
    print(json.dumps({"seconds": seconds[2:], "version": torch.__version__}))


def measured(command, environment=None):
    """Standard output of a command, and the peak of its memory in MB."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(command, stdout=out, stderr=err, env={**os.environ, **(environment or {})})
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if child.returncode != 0:
            raise RuntimeError(f"{command[:4]} ended with {child.returncode}: {err.read()[-600:]}")
        return out.read(), usage.ru_maxrss / 1024


def pytorch(a, size, kind, environment, steps):
    environment = {"OMP_NUM_THREADS": str(a.threads), "MKL_NUM_THREADS": str(a.threads), **environment}
    out, memory = measured([a.python, __file__, "--worker", size, kind, str(steps)], environment)
    told = json.loads(out.strip().splitlines()[-1])
    s = SIZES[size]
    return s["batch"] * s["length"] / statistics.median(told["seconds"]), memory, told["version"]


def environments():
    found = {"plain": {}, "without oneDNN": {"PEER_ONEDNN": "0"}, "short waits": {"OMP_WAIT_POLICY": "PASSIVE"}}
    for name in ("tcmalloc_minimal", "tcmalloc", "jemalloc"):
        library = ctypes.util.find_library(name)
        paths = glob.glob(f"/usr/lib/*/{library}") if library else []
        if paths:
            found[name] = {"LD_PRELOAD": paths[0]}
    return found


def vibee(a, size, folder, steps):
    s = SIZES[size]
    out = os.path.join(folder, f"run{time.monotonic_ns()}")
    settings = {"out": out, "model.tokenizer": os.path.join(folder, "tokenizer.json"), "model.architecture": "gpt2", "model.dim": s["dim"],
                "model.layers": s["layers"], "model.heads": s["heads"], "model.context": s["length"], "data.stores": os.path.join(folder, "data.tokens"),
                "data.length": s["length"], "train.batch": s["batch"], "train.steps": steps, "train.threads": a.threads, "save.every": 0}
    command = [a.vibee, "train", os.path.join(folder, "empty.toml")]
    for key, value in settings.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    _, memory = measured(command)
    lines = [json.loads(line) for line in open(os.path.join(out, "metrics.jsonl"), encoding="utf-8")]
    subprocess.run(["rm", "-rf", out], check=True)
    return statistics.median(line["tokens_per_second"] for line in lines[2:]), memory


def data(a, size, folder):
    """A tokenizer of so many tokens, of which text uses the 256 bytes, and a store of text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": 0, **{c: i + 1 for i, c in enumerate(alphabet)}}
    for i in range(len(vocabulary), SIZES[size]["vocab"]):
        vocabulary[f"unused{i}"] = i
    t = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    t.save(os.path.join(folder, "tokenizer.json"))
    open(os.path.join(folder, "empty.toml"), "w", encoding="utf-8").close()
    for words in (["stories", "text.jsonl", "--bytes", "2000000"], ["build", "data.tokens", "text.jsonl", "--tokenizer", "tokenizer.json"]):
        subprocess.run([a.vibee, "data", *words], check=True, capture_output=True, cwd=folder)


def compare(a, size):
    with tempfile.TemporaryDirectory() as folder:
        data(a, size, folder)
        trial = {}
        for kind in ("eager", "compiled"):
            trial[kind] = {name: pytorch(a, size, kind, e, max(4, a.steps // 2))[0] for name, e in environments().items()}
        best = {kind: max(trial[kind], key=trial[kind].get) for kind in trial}
        rounds = []
        for _ in range(a.rounds):
            one = {"vibee": vibee(a, size, folder, a.steps)}
            for kind in ("eager", "compiled"):
                *one[kind], version = pytorch(a, size, kind, environments()[best[kind]], a.steps)
            rounds.append(one)
    result = {"size": size, **SIZES[size], "threads": a.threads, "torch": version, "environments": best, "trials": trial}
    for name in ("vibee", "eager", "compiled"):
        result[name] = {"tokens_per_second": statistics.median(r[name][0] for r in rounds), "peak_mb": statistics.median(r[name][1] for r in rounds)}
    for kind in ("eager", "compiled"):
        result[f"over_{kind}"] = statistics.median(r["vibee"][0] / r[kind][0] for r in rounds)
        result[f"memory_of_{kind}"] = statistics.median(r["vibee"][1] / r[kind][1] for r in rounds)
    return result


def main():
    if len(sys.argv) == 5 and sys.argv[1] == "--worker":
        return worker(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--size", action="append", choices=list(SIZES))
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--vibee", default=os.path.join(ROOT, "build/release/bin/vibee"))
    p.add_argument("--python", default=sys.executable, help="the Python that has torch")
    p.add_argument("--json", action="store_true")
    p.add_argument("--record", action="store_true", help="write bench/results/pytorch_train-DATE.json")
    a = p.parse_args()
    a.vibee = os.path.abspath(a.vibee)
    results = [compare(a, size) for size in a.size or list(SIZES)]
    if a.record:
        from record import record

        record(results, os.path.join(ROOT, f"bench/results/pytorch_train-{time.strftime('%Y-%m-%d')}.json"))
    if a.json:
        print(json.dumps(results, indent=1))
        return None
    for r in results:
        print(f"{r['size']}: {r['layers']} x {r['dim']}, {r['vocab']} words, {r['batch']} x {r['length']} tokens a step, {r['threads']} threads, torch {r['torch']}")
        for name in ("vibee", "eager", "compiled"):
            beside = "" if name == "vibee" else f"  vibee has {r['over_' + name]:.2f}x its tokens, {r['memory_of_' + name]:.2f}x its memory ({r['environments'][name]})"
            print(f"  {name:9} {r[name]['tokens_per_second']:9.0f} tokens/s {r[name]['peak_mb']:8.0f} MB{beside}")
    return None


if __name__ == "__main__":
    sys.exit(main())
