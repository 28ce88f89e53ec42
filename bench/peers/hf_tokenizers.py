#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Encoding speed of vibee beside Hugging Face tokenizers, one thread each, in turn; medians of the ratios.

  bench/peers/hf_tokenizers.py --text DIR [--pairs 7] [--json] [--record]

Tokenizers: those of SmolLM2 (byte-level BPE) and Gemma 3 (SentencePiece BPE), exported from the cache of vibee, and a
Unigram and a WordPiece trained here on the text. Texts: the files below DIR whole (cut at --limit bytes), their lines one by one,
and the same letters without white space. Both load the same tokenizer.json; only encoding is timed, after a run that is not. Before
anything is timed both must give the same number of tokens. Needs the PyPI package tokenizers.
"""
import argparse
import glob
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
import tokenizers  # noqa: E402
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def vibee(a, *words):
    done = subprocess.run([a.vibee, "tokenizer", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"vibee tokenizer {words[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def trained(kind, lines):
    if kind == "unigram":
        t = Tokenizer(models.Unigram())
        t.normalizer = normalizers.NFKC()
        t.pre_tokenizer, t.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=16000, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False)
    else:
        t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        t.normalizer = normalizers.BertNormalizer(lowercase=True)
        t.pre_tokenizer, t.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=30000, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False)
    t.train_from_iterator(lines, trainer)
    return t


def texts(a):
    whole = "\n".join(open(f, encoding="utf-8", errors="replace").read() for f in sorted(glob.glob(os.path.join(a.text, "**/*.txt"), recursive=True)))
    if not whole:
        sys.exit(f"{a.text}: no .txt file below it; name a folder with texts")
    step = max(1, len(whole) // (a.limit // 100000 or 1))  # pieces from all of it
    mixed = "".join(whole[i : i + 100000] for i in range(0, len(whole), step))[: a.limit]
    return {"long documents": (mixed, False), "short lines": (mixed, True), "no spaces": ("".join(mixed.split())[: a.limit // 8], False)}


def parts_of(text, lines):
    return text.split("\n")[: -1 if text.endswith("\n") else None] if lines else [text]


def encode(t, parts):
    run = getattr(t, "encode_batch_fast", t.encode_batch)
    begin = time.perf_counter()
    done = run(parts, add_special_tokens=False)
    return time.perf_counter() - begin, sum(len(e.ids) for e in done)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--vibee", default=os.path.join(ROOT, "build/release/bin/vibee"))
    p.add_argument("--text", required=True)
    p.add_argument("--limit", type=int, default=2_000_000)
    p.add_argument("--pairs", type=int, default=7)
    p.add_argument("--only", help="one tokenizer")
    p.add_argument("--json", action="store_true")
    p.add_argument("--record", action="store_true", help="write bench/results/tokenizers-DATE.json")
    a = p.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as work:
        given = texts(a)
        for name in ("smollm2-135m", "gemma3-270m", "unigram", "wordpiece"):
            if a.only not in (None, name):
                continue
            folder = os.path.join(work, name)
            if name in ("unigram", "wordpiece"):
                os.makedirs(folder)
                trained(name, given["long documents"][0].split("\n")).save(os.path.join(folder, "tokenizer.json"))
            else:
                vibee(a, "export", name, folder)
            file = os.path.join(folder, "tokenizer.json")
            theirs = Tokenizer.from_file(file)
            for kind, (text, lines) in given.items():
                path = os.path.join(work, "text")
                with open(path, "w", encoding="utf-8", newline="") as f:
                    f.write(text)
                parts = parts_of(text, lines)
                size = len(text.encode())
                flags = ["--lines"] if lines else []
                mine = lambda: json.loads(vibee(a, "bench", file, "--text", path, "--runs", "1", "--json", *flags))
                _, count = encode(theirs, parts)
                ours = mine()
                if ours["tokens"] != count or ours["texts"] != len(parts):
                    sys.exit(f"{name}, {kind}: {ours['tokens']} tokens of {ours['texts']} texts, tokenizers gives {count} of {len(parts)}")
                x, y = [], []
                for i in range(a.pairs):
                    for turn in range(2):  # who goes first alternates
                        if (turn == 0) == (i % 2 == 0):
                            x.append(size / 1e6 / mine()["seconds"])
                        else:
                            y.append(size / 1e6 / encode(theirs, parts)[0])
                rows.append({"tokenizer": name, "text": kind, "bytes": size, "tokens": count, "vibee_mb_s": statistics.median(x),
                             "tokenizers_mb_s": statistics.median(y), "ratio": statistics.median(m / t for m, t in zip(x, y))})
                if not a.json:
                    r = rows[-1]
                    print(f"{name:14} {kind:15} {r['vibee_mb_s']:8.1f} MB/s  tokenizers {r['tokenizers_mb_s']:8.1f} MB/s  {r['ratio']:.2f}x", flush=True)
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    result = {"date": time.strftime("%Y-%m-%d", time.gmtime()), "cpu": cpu, "tokenizers": tokenizers.__version__, "pairs": a.pairs, "rows": rows}
    if a.json:
        print(json.dumps(result))
    if a.record:
        out = os.path.join(ROOT, "bench/results", f"tokenizers-{result['date']}.json")
        with open(out + ".part", "w") as f:
            json.dump(result, f, indent=1)
            f.write("\n")
        os.replace(out + ".part", out)
        print(out, file=sys.stderr)


if __name__ == "__main__":
    main()
