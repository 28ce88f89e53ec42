#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes data/golden/token: reduced real vocabularies and what an outside tokenizer (Hugging Face `tokenizers`) makes of
the texts in texts.json there.

  tools/make_token_goldens.py --gpt2 SmolLM2.gguf --llama gemma-3.gguf --out data/golden/token

Needs the PyPI packages gguf, numpy and tokenizers. The vocabularies are cut down so that the files stay small, but
remain closed: every merge kept has both parts and its result kept.
"""

import argparse
import json
import os

import tokenizers
from gguf import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers


def byte_chars():
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table, following = {}, 256
    for b in range(256):
        table[b] = chr(b) if b in printable else chr(following)
        following += b not in printable
    return table


def field(reader, key):
    return reader.fields["tokenizer.ggml." + key].contents()


def cut_gpt2(path):
    r = GGUFReader(path)
    tokens, types, merges = field(r, "tokens"), field(r, "token_type"), field(r, "merges")
    have = set(tokens)
    keep = {t for t, y in zip(tokens, types) if y != 1} | {c for c in byte_chars().values() if c in have}
    kept, foreign = [], 0
    for rank, m in enumerate(merges):
        a, b = m.split(" ")
        ascii_only = all(ord(c) < 128 or c in "ĠĊ" for c in a + b)
        if a not in keep or b not in keep or not (rank < 2600 or (not ascii_only and foreign < 1000)):
            continue
        foreign += rank >= 2600
        kept.append(m)
        keep.add(a + b)
    order = [i for i, t in enumerate(tokens) if t in keep]
    number = {i: n for n, i in enumerate(order)}
    spec = {
        "model": "gpt2",
        "pre": field(r, "pre"),
        "tokens": [tokens[i] for i in order],
        "types": [types[i] for i in order],
        "merges": kept,
    }
    for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        spec[name] = number[field(r, key + "_token_id")]
    return spec


def cut_llama(path, sample):
    r = GGUFReader(path)
    tokens, types, scores = field(r, "tokens"), field(r, "token_type"), field(r, "scores")
    chars = set("".join(sample).replace(" ", "▁"))
    best = sorted((i for i, y in enumerate(types) if y == 1 and len(tokens[i]) > 1), key=lambda i: -scores[i])
    keep = set(best[:2600])
    keep |= set(
        [
            i
            for i in best[2600:]
            if not tokens[i].isascii()
            and all(c in chars for c in tokens[i])
            and tokens[i].strip("▁").isascii() is False
        ][:900]
    )
    spelled = chars | set("".join(tokens[i] for i in keep))
    named = {"<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"}
    keep |= {
        i
        for i, (t, y) in enumerate(zip(tokens, types))
        if y in (4, 6) or (y == 1 and len(t) == 1 and t in spelled) or t in named
    }
    order = sorted(keep)
    number = {i: n for n, i in enumerate(order)}
    spec = {
        "model": "llama",
        "pre": field(r, "pre"),
        "tokens": [tokens[i] for i in order],
        "types": [types[i] for i in order],
        "scores": [scores[i] for i in order],
    }
    for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        spec[name] = number[field(r, key + "_token_id")]
    return spec


def add_special(tok, spec, control):
    for text, kind in zip(spec["tokens"], spec["types"]):
        if kind == 4 or (kind in (2, 3) and control):
            tok.add_tokens([AddedToken(text, special=kind != 4, normalized=False)])


def pre_tokenizer(name):
    split = lambda p: pre_tokenizers.Split(Regex(p), "isolated")
    gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    tail = r"\s*[\r\n]+|\s+(?!\S)|\s+"
    known = {
        "gpt-2": [gpt2],
        "smollm": [r"\p{N}", gpt2],
        "default": [r"[\p{P}\$\+<=>\^~\|]+", gpt2, r"\p{N}+", r"[0-9][0-9][0-9]"],
        "llama-bpe": [
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + tail
        ],
        "qwen2": [r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + tail],
        "gpt-4o": [
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
            r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + tail
        ],
    }
    return pre_tokenizers.Sequence([split(p) for p in known[name]])


def gpt2_oracle(spec, control, ignore_merges=False, pre=None):
    vocab = {t: i for i, t in enumerate(spec["tokens"])}
    tok = Tokenizer(
        models.BPE(vocab=vocab, merges=[tuple(m.split(" ")) for m in spec["merges"]], ignore_merges=ignore_merges)
    )
    if pre is None:  # as SmolLM2's own tokenizer.json says it
        tok.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    else:
        tok.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizer(pre), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
    add_special(tok, spec, control)
    return tok


def llama_oracle(spec, control, space_prefix):
    rank = {t: i for i, (t, y) in enumerate(zip(spec["tokens"], spec["types"])) if y not in (2, 3, 6)}
    merges = []
    for t in rank:
        merges += [
            (-spec["scores"][rank[t]], rank[t[:k]], rank[t[k:]], t[:k], t[k:])
            for k in range(1, len(t))
            if t[:k] in rank and t[k:] in rank
        ]
    merges.sort(key=lambda m: m[:3])
    vocab = {t: i for i, t in enumerate(spec["tokens"])}
    tok = Tokenizer(
        models.BPE(vocab=vocab, merges=[m[3:] for m in merges], byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    )
    steps = [normalizers.Replace(" ", "▁")]
    tok.normalizer = normalizers.Sequence(([normalizers.Prepend("▁")] if space_prefix else []) + steps)
    add_special(tok, spec, control)
    return tok


def write(out, name, value):
    path = os.path.join(out, name)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")
    print(path, os.path.getsize(path))


def main():
    parser = argparse.ArgumentParser()
    for name in ("--gpt2", "--llama", "--out"):
        parser.add_argument(name, required=True)
    args = parser.parse_args()
    with open(os.path.join(args.out, "texts.json"), encoding="utf-8") as f:
        sample = json.load(f)["texts"]
    assert len(set(sample)) == len(sample)
    made_by = f"tools/make_token_goldens.py with tokenizers {tokenizers.__version__}"

    spec = cut_gpt2(args.gpt2)
    missing = {b for b, c in byte_chars().items() if c not in set(spec["tokens"])}
    runs = []
    for parse, ignore, pre in (
        (True, False, None),
        (False, False, None),
        (True, True, "llama-bpe"),
        (True, False, "qwen2"),
    ):
        tok = gpt2_oracle(spec, parse, ignore, pre)
        ids = [None if missing & set(t.encode()) else tok.encode(t, add_special_tokens=False).ids for t in sample]
        runs.append({"parse_special": parse, "pre": pre or spec["pre"], "ids": ids})
    write(args.out, "gpt2.json", {"made_by": made_by, "spec": spec, "runs": runs})

    spec = cut_llama(args.llama, sample)
    runs = []
    for parse, prefix in ((True, False), (False, False), (True, True)):
        tok = llama_oracle(spec, parse, prefix)
        runs.append(
            {
                "parse_special": parse,
                "add_space_prefix": prefix,
                "ids": [tok.encode(t, add_special_tokens=False).ids for t in sample],
            }
        )
    write(args.out, "llama.json", {"made_by": made_by, "spec": spec, "runs": runs})

    words = {}
    for name in ("gpt-2", "smollm", "default", "llama-bpe", "qwen2", "gpt-4o"):
        pre = pre_tokenizer(name)
        words[name] = [[len(w.encode()) for w, _ in pre.pre_tokenize_str(t)] for t in sample]
    write(args.out, "words.json", {"made_by": made_by, "byte_lengths": words})


if __name__ == "__main__":
    main()
