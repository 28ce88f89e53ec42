#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes data/golden/token/pipelines.json: small tokenizers of every kind as tokenizer.json texts, trained by Hugging Face tokenizers
on a seeded multilingual and adversarial text, and the ids it gives: all of the first lines, a hash of every ten lines.

usage: tools/make_pipeline_goldens.py --out data/golden/token [--lines 3000]
"""
import argparse
import base64
import collections
import io
import json
import os
import random
import tempfile
import unicodedata

import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

WORDS = """the of and to in that he was it his her with as had for she not but at on is be you him they have all said my which would
which's don't I'll we've they're you'd it'S WE'LL running runner unhappiness internationalization Straße Übermut größer naïve café déjà
привет мир как дела хорошо российский язык γειά σου κόσμε Ελλάδα ΟΔΟΣ שלום עולם مرحبا بالعالم नमस्ते दुनिया สวัสดี 你好 世界 中文 分词 こんにちは
世界 カタカナ ﾊﾝｶｸ 한국어 안녕하세요 Tiếng Việt İstanbul ısı ﬁne ﬂow Ⅷ ½ ² ① Å Ω ǆ 𝐀𝐁 ｆｕｌｌ 😀 👩‍👩‍👧 🇩🇪 👍🏽 e\u0301 o\u0308\u0323 \u1100\u1161\u11a8""".split()
SPACES = [" "] * 30 + ["  ", "   ", "\t", "\u00a0", "\u3000", " \t ", "\u2003", "\u200b", "\r\n", "\n", "\n\n", "", ""]
SIGNS = list(".,;:!?'\"()[]{}<>@#$%^&*-_=+|\\/~`") + ["...", "--", "—", "«", "»", "“", "”", "、", "。", "！", "▁", "<s>", "</s>", "[MASK]", "<|x|>", "##", "\x00", "\x7f", "\u00ad", "\ufeff", "\ufffd", "\u0301"]

GROUP = 10  # lines a hash, so that the file stays small


def make_lines(count):
    r = random.Random(20240607)

    def one():
        kind = r.random()
        if kind < 0.03:
            return "".join(chr(r.choice([r.randrange(0x20, 0x250), r.randrange(0x370, 0x530), r.randrange(0x4E00, 0x9FA0), r.randrange(0x1F600, 0x1F640)])) for _ in range(r.randrange(1, 30)))
        if kind < 0.05:
            return r.choice(["a", " ", "1", "!", "你", "é", "\n", "'", "x "]) * r.randrange(1, 130)
        if kind < 0.08:
            return "def f%d(x):\n    return x[%d] + %r  # %s\n\t\tif y: pass" % (r.randrange(99), r.randrange(10**6), r.random(), r.choice(WORDS))
        out = ""
        for _ in range(r.randrange(1, 14)):
            p = r.random()
            word = r.choice(WORDS)
            word = word.upper() if p < 0.05 else word.capitalize() if p < 0.15 else word
            if p > 0.9:
                word = str(r.randrange(10 ** r.randrange(1, 12)))
            out += (r.choice(SPACES) if out or r.random() < 0.2 else "") + word + (r.choice(SIGNS) if r.random() < 0.25 else "")
        return out + (r.choice(SPACES) if r.random() < 0.2 else "")

    return [one() for _ in range(count)]


def fnv(ids):
    h = 0xCBF29CE484222325
    for i in ids:
        for b in i.to_bytes(4, "little"):
            h = (h ^ b) * 0x100000001B3 & (1 << 64) - 1
    return f"{h:016x}"


TAIL = r"\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + TAIL
QWEN2 = LLAMA3.replace("{1,3}", "")
DEEPSEEK = [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
            r'''[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|''' + TAIL]


def bytes_bpe(lines, steps, normalizer=None, size=700, prefix=False, ignore=False, special=()):
    t = Tokenizer(models.BPE(ignore_merges=ignore))
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = pre_tokenizers.Sequence(steps) if steps else pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<|x|>", "<s>"], show_progress=False))
    for token in special:
        t.add_tokens([token])
    return t


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


RAW = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def pieces(kind, lines, normalizer=None, pre=None, size=600, fallback=False, decoder=None):
    hexes = [f"<0x{b:02X}>" for b in range(256)] if fallback else []
    if kind == "bpe":
        t = Tokenizer(models.BPE(byte_fallback=fallback, fuse_unk=True, unk_token="<unk>"))
        trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<unk>", "<s>", "</s>"] + hexes, limit_alphabet=150, max_token_length=16, show_progress=False)
    else:
        t = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=["<unk>", "<s>", "</s>"] + hexes, unk_token="<unk>", show_progress=False)
    if normalizer:
        t.normalizer = normalizer
    if pre:
        t.pre_tokenizer = pre
    t.decoder = decoder or decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    if kind == "unigram":  # its trainer wants a token for every character
        counts = collections.Counter("".join(lines))
        common = {c for c, _ in counts.most_common(180)}
        lines = [x for x in lines if set(x) <= common]
    t.train_from_iterator(lines, trainer)
    j = json.loads(t.to_str())
    if fallback:  # byte tokens belong to the model, not to the added tokens
        j["added_tokens"] = [a for a in j["added_tokens"] if a["content"] not in hexes]
        j["model"]["byte_fallback"] = True
    return Tokenizer.from_str(json.dumps(j))


def charsmap():
    rows = {c: unicodedata.normalize("NFKC", chr(c)) for c in [*range(0xA0, 0x180), *range(0x1E00, 0x1F00), *range(0x2100, 0x2190), *range(0xFB00, 0xFB07), *range(0xFF01, 0xFF61)]}
    model = io.BytesIO()
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        for c, to in rows.items():
            if to != chr(c):
                rules.write(f"{c:X}\t{' '.join(f'{ord(x):X}' for x in to)}\n")
        rules.write("65 301\tE9\n9\t20\nA\t20\nD A\t20\n200B\t20\nAD\t\n")
        rules.flush()
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(["a b c d e"] * 20), model_writer=model, vocab_size=9, hard_vocab_limit=False, minloglevel=2, normalization_rule_tsv=rules.name)
    from sentencepiece import sentencepiece_model_pb2 as pb  # noqa: PLC0415

    proto = pb.ModelProto()
    proto.ParseFromString(model.getvalue())
    return proto.normalizer_spec.precompiled_charsmap


def wordpiece(lines, cased, pre, template=True):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=not cased)
    t.pre_tokenizer = pre
    t.decoder = decoders.WordPiece()
    t.train_from_iterator(lines, trainers.WordPieceTrainer(vocab_size=700, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], limit_alphabet=200, show_progress=False))
    if template:
        t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return t


def make_all(lines):
    N, P, A = normalizers, pre_tokenizers, AddedToken
    meta = decoders.Metaspace()
    out = {
        "gpt2": bytes_bpe(lines, None),
        "roberta": bytes_bpe(lines, None, prefix=True, special=[A("[MASK]", lstrip=True, special=True, normalized=False), A("runner", single_word=True)]),
        "llama3": bytes_bpe(lines, [split(LLAMA3), RAW], ignore=True),
        "qwen2": bytes_bpe(lines, [split(QWEN2), RAW], N.NFC()),
        "deepseek": bytes_bpe(lines, [split(p) for p in DEEPSEEK] + [RAW]),
        "digits": bytes_bpe(lines, [P.Digits(individual_digits=True), P.Punctuation(), P.ByteLevel(add_prefix_space=False)]),
        "llama2": pieces("bpe", lines, N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")]), fallback=True, size=900),
        "gemma": pieces("bpe", lines, N.Replace(" ", "▁"), P.Split(" ", "merged_with_previous"), fallback=True, size=900),
        "metaspace_first": pieces("bpe", lines, None, P.Metaspace(prepend_scheme="first", split=False), size=700),
        "unigram": pieces("unigram", lines, N.NFKC(), P.Metaspace(), decoder=meta),
        "unigram_fallback": pieces("unigram", lines, None, P.Metaspace(), fallback=True, size=700),
        "bert_uncased": wordpiece(lines, False, P.BertPreTokenizer()),
        "bert_cased": wordpiece(lines, True, P.BertPreTokenizer()),
        "wordpiece_plain": wordpiece(lines, False, P.Sequence([P.Whitespace(), P.Digits()]), False),
        "whitespace_split": bytes_bpe(lines, [P.WhitespaceSplit(), P.Split("-", "merged_with_next"), P.Split(Regex("[aeiou]+"), "contiguous"), RAW], N.Sequence([N.NFKD(), N.StripAccents(), N.Lowercase(), N.Strip()])),
    }
    try:
        j = json.loads(out["unigram"].to_str())
        blob = base64.b64encode(charsmap()).decode()
        j["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": blob}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}]}
        out["t5"] = Tokenizer.from_str(json.dumps(j))
    except Exception as e:  # a sentencepiece without its proto module
        print("no character map:", e)
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--lines", type=int, default=3000)
    args = parser.parse_args()
    lines = make_lines(args.lines)
    golden = {"made_by": f"tools/make_pipeline_goldens.py with tokenizers {tokenizers.__version__}", "lines": lines, "tokenizers": {}}
    for name, t in make_all(lines).items():
        ids = [t.encode(x, add_special_tokens=False).ids for x in lines]
        golden["tokenizers"][name] = {
            "json": t.to_str(),
            "hashes": [fnv(sum(ids[k : k + GROUP], [])) for k in range(0, len(ids), GROUP)],
            "ids": ids[:50],
            "texts": [t.decode(i) for i in ids[:50]],
            "single": t.encode("a b").ids,
            "pair": t.encode("a", "b").ids,
        }
    path = os.path.join(args.out, "pipelines.json")
    with open(path, "wb") as f:
        f.write(json.dumps(golden, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
    print(path, os.path.getsize(path), len(golden["tokenizers"]))


if __name__ == "__main__":
    main()
