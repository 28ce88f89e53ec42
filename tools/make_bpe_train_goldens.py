#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes data/golden/bpe_train.json: what the BpeTrainer of Hugging Face tokenizers learns of LICENSE.

usage: tools/make_bpe_train_goldens.py FOLDER     (tokenizers 0.22)

With TEXT and DIR it compares a tokenizer.json that `vibee tokenizer train DIR TEXT` wrote with the merges that the trainer learns of the
same text, and says how long that took it:  tools/make_bpe_train_goldens.py --compare TEXT DIR
"""
import json
import sys
import time
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
PRE = {
    "gpt-2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False),
    "llama-bpe": lambda: pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
                                                  pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]),
}


def train(text: str, pre, vocabulary: int, least: int) -> tuple[list, float]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, min_frequency=least, special_tokens=["<|endoftext|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    begin = time.perf_counter()
    tokenizer.train_from_iterator([text], trainer)
    return json.loads(tokenizer.to_str())["model"]["merges"], time.perf_counter() - begin


def main() -> None:
    if sys.argv[1] == "--compare":
        made = json.loads((Path(sys.argv[3]) / "tokenizer.json").read_text())
        parts = made["pre_tokenizer"].get("pretokenizers", [made["pre_tokenizer"]])
        pre = PRE["llama-bpe" if any("{1,3}" in json.dumps(p) for p in parts) else "gpt-2"]()
        merges, seconds = train(Path(sys.argv[2]).read_text(), pre, len(made["model"]["vocab"]), 2)
        mine = [list(m) if isinstance(m, list) else m.split(" ") for m in made["model"]["merges"]]
        same = next((i for i, (a, b) in enumerate(zip(mine, merges)) if a != b), min(len(mine), len(merges)))
        print(f"{same} of {len(merges)} merges are equal; tokenizers took {seconds:.2f} s")
        sys.exit(same != len(merges) or len(mine) != len(merges))
    root = Path(__file__).resolve().parent.parent
    text = (root / "LICENSE").read_text()
    out = {name: train(text, pre(), 700, 2)[0] for name, pre in PRE.items()}
    (Path(sys.argv[1]) / "bpe_train.json").write_text(json.dumps(out, ensure_ascii=False) + "\n")


main()
