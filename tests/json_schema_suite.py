#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the public JSON-Schema-Test-Suite through the grammar of each schema; by hand, not in CI.

usage: tests/json_schema_suite.py PROBE MODEL SUITE/tests/draft2020-12

PROBE is build/release/bin/grammar_probe; the suite comes with the source package of PyPI's jsonschema (json/tests).
No invalid instance may be accepted: that is exit 1. Refused schemas are counted by reason, valid instances that cannot
be written are listed: instances are written with properties in the order of the schema, one space behind commas and colons.
"""
import collections
import json
import pathlib
import re
import struct
import subprocess
import sys

probe, model, folder = sys.argv[1:4]


def ordered(value, schema):
    """`value` with the properties that `schema` names first, in its order."""
    if isinstance(value, dict):
        known = schema.get("properties", {}) if isinstance(schema, dict) else {}
        known = known if isinstance(known, dict) else {}
        required = [n for n in schema.get("required", []) if n not in known] if isinstance(schema, dict) else []
        names = [n for n in [*known, *required] if n in value]
        names += [n for n in value if n not in names]
        return {n: ordered(value[n], known.get(n, {})) for n in names}
    if isinstance(value, list):
        items = schema.get("items", {}) if isinstance(schema, dict) else {}
        return [ordered(v, items) for v in value]
    if isinstance(value, float) and value == int(value):
        return int(value)
    return value


cases, frames = [], []
for path in sorted(pathlib.Path(folder).glob("*.json")):
    for group in json.loads(path.read_text()):
        schema = group["schema"]
        for test in group["tests"]:
            text = json.dumps(ordered(test["data"], schema), ensure_ascii=False).replace("\x7f", "\x7f").encode()
            source = json.dumps(schema).encode()
            cases.append((f"{path.stem}: {group['description']}: {test['description']}", test["valid"], text))
            frames.append(b"s" + struct.pack("<II", len(source), len(text)) + source + text)
answers = subprocess.run([probe, model], input=b"".join(frames), capture_output=True, check=True).stdout.decode().splitlines()
assert len(answers) == len(cases), (len(answers), len(cases))
refused, unreachable, wrong, right = collections.Counter(), [], [], 0
for (name, valid, text), answer in zip(cases, answers):
    if answer.startswith("refused"):
        refused[re.sub(r'"/[^"]*?([^/"]*)":', r"\1:", answer.removeprefix("refused JSON schema: "))] += 1
    elif answer == "yes" and not valid:
        wrong.append(f"{name}: {text.decode()}")
    elif answer != "yes" and valid:
        unreachable.append(f"{name}: {text.decode()[:80]} ({answer})")
    else:
        right += 1
for reason, count in refused.most_common():
    print(f"{count:5d} refused: {reason}")
for line in unreachable:
    print("cannot be written:", line)
for line in wrong:
    print("WRONG, accepted though invalid:", line)
print(f"{len(cases)} instances: {right} right, {sum(refused.values())} of refused schemas, "
      f"{len(unreachable)} valid ones that cannot be written, {len(wrong)} wrong")
sys.exit(bool(wrong))
