#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mask times of constrained decoding beside llguidance and xgrammar, over the same schemas and texts; by hand.

usage: bench/peers/grammars.py PROBE MODEL TOKENIZER.json

PROBE is build/release/bin/grammar_probe, TOKENIZER.json what `vibee tokenizer export MODEL` writes. Needs PyPI llguidance,
xgrammar, transformers; one that is not there is left out. Times are microseconds a mask: of ours in process, of the others
through their Python bindings.
"""
import json
import statistics
import struct
import subprocess
import sys
import time

probe, model, tokenizer_path = sys.argv[1:4]
PERSON = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "email": {"type": "string"},
          "tags": {"type": "array", "items": {"type": "string"}}, "address": {"type": "object", "properties": {
              "street": {"type": "string"}, "city": {"type": "string"}, "zip": {"type": "string", "pattern": "^[0-9]{5}$"}},
              "required": ["street", "city"], "additionalProperties": False}}, "required": ["name", "age"], "additionalProperties": False}
TREE = {"$defs": {"n": {"type": "object", "properties": {"v": {"type": "number"}, "kind": {"enum": ["leaf", "inner", "root"]},
        "children": {"type": "array", "items": {"$ref": "#/$defs/n"}}}, "required": ["v"], "additionalProperties": False}}, "$ref": "#/$defs/n"}
BOUNDED = {"type": "object", "properties": {"title": {"type": "string", "maxLength": 60}, "score": {"type": "number", "minimum": 0, "maximum": 10},
           "when": {"type": "string", "format": "date-time"}, "level": {"type": "integer", "minimum": 1, "maximum": 5}},
           "required": ["title", "score", "when", "level"], "additionalProperties": False}
CASES = [
    (PERSON, {"name": "Ada Lovelace, Countess", "age": 36, "email": "ada@example.org", "tags": ["mathematics", "poetry", "engines of all kinds"],
              "address": {"street": "12 St James's Square, first floor", "city": "London", "zip": "12345"}}),
    (TREE, {"v": 1.5, "kind": "root", "children": [{"v": -2, "kind": "inner", "children": [{"v": 3e2}, {"v": 4, "children": []}]}, {"v": 0.125, "kind": "leaf"}]}),
    (BOUNDED, {"title": "A title of some length, as people write them", "score": 7.25, "when": "2024-02-29T12:30:59Z", "level": 4}),
    ({"type": "object"}, {"free": ["any", {"thing": [1, 2, {"deep": None}]}], "text": "Some longer text with \"quotes\" and\nlines, and é, 漢字.", "n": -1.5e3, "t": True}),
]
cases = [(json.dumps(s), json.dumps(v, ensure_ascii=False)) for s, v in CASES]


def show(who, compile_us, mask_us):
    mask_us = sorted(mask_us)
    at = lambda q: mask_us[min(len(mask_us) - 1, int(q * len(mask_us)))]
    print(f"{who:12s} {len(mask_us):5d} masks: p50 {at(.5):8.1f}  p90 {at(.9):8.1f}  p99 {at(.99):8.1f}  worst {mask_us[-1]:8.1f}  mean {statistics.mean(mask_us):7.1f};"
          f"  compile median {statistics.median(compile_us):8.0f}  worst {max(compile_us):8.0f}")


frames = b"".join(b"s" + struct.pack("<II", len(s.encode()), len(t.encode())) + s.encode() + t.encode() for s, t in cases)
lines = subprocess.run([probe, model, "--times"], input=frames, capture_output=True, check=True).stdout.decode().splitlines()
assert not any(line.startswith("refused") for line in lines), lines
show("vibee", [float(line.split()[0]) for line in lines], [float(m) for line in lines for m in line.split()[1].rstrip(",").split(",")])

from transformers import PreTrainedTokenizerFast  # noqa: E402

hf = PreTrainedTokenizerFast(tokenizer_file=tokenizer_path)
if hf.eos_token is None:
    hf.eos_token = next(t for t in ("<|im_end|>", "<end_of_turn>", "</s>", "<eos>") if t in hf.get_vocab())
ids = [hf.encode(t, add_special_tokens=False) for _, t in cases]
try:
    import llguidance
    import llguidance.hf
    import llguidance.numpy

    tok = llguidance.hf.from_tokenizer(hf)
    mask = llguidance.numpy.allocate_token_bitmask(1, tok.vocab_size)
    compile_us, mask_us = [], []
    for (s, _), tokens in zip(cases, ids):
        begin = time.perf_counter()
        matcher = llguidance.LLMatcher(tok, llguidance.LLMatcher.grammar_from_json_schema(s, {"whitespace_flexible": True}))
        compile_us.append(1e6 * (time.perf_counter() - begin))
        for t in tokens:
            begin = time.perf_counter()
            llguidance.numpy.fill_next_token_bitmask(matcher, mask, 0)
            mask_us.append(1e6 * (time.perf_counter() - begin))
            if not matcher.consume_token(t):
                print("llguidance refuses", hf.decode([t]), "in", s[:60])
                break
    show("llguidance", compile_us, mask_us)
except ImportError as e:
    print("llguidance:", e)
try:
    import xgrammar

    info = xgrammar.TokenizerInfo.from_huggingface(hf)
    compiler = xgrammar.GrammarCompiler(info, max_threads=1)
    mask = xgrammar.allocate_token_bitmask(1, info.vocab_size)
    compile_us, mask_us = [], []
    for (s, _), tokens in zip(cases, ids):
        begin = time.perf_counter()
        compiled = compiler.compile_json_schema(s)
        compile_us.append(1e6 * (time.perf_counter() - begin))
        matcher = xgrammar.GrammarMatcher(compiled)
        for t in tokens:
            begin = time.perf_counter()
            matcher.fill_next_token_bitmask(mask)
            mask_us.append(1e6 * (time.perf_counter() - begin))
            if not matcher.accept_token(t):
                print("xgrammar refuses", hf.decode([t]), "in", s[:60])
                break
    show("xgrammar", compile_us, mask_us)
except ImportError as e:
    print("xgrammar:", e)
