#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random schemas, a model with random weights, an outside validator: every finished text must be valid; by hand, not in CI.

usage: tests/json_schema_random.py VIBEE MODEL [SCHEMAS [SEED]]      (needs PyPI jsonschema; jsonschema-rs is used where it is)

MODEL is what build/release/bin/make_tiny_model writes. Prints what was refused, and every text that is not valid.
"""
import collections
import json
import random
import subprocess
import sys
import tempfile

import jsonschema

try:
    import jsonschema_rs
except ImportError:
    jsonschema_rs = None

vibee, model = sys.argv[1:3]
count = int(sys.argv[3]) if len(sys.argv) > 3 else 5000
rng = random.Random(int(sys.argv[4]) if len(sys.argv) > 4 else 1)
FORMATS = ["date", "time", "date-time", "ipv4", "ipv6", "uuid", "email", "hostname", "duration"]
PATTERNS = ["^a+b?$", "[0-9]{2}", "^(x|y)z*", "\\d$", "^[^\"\\\\]{1,4}$", "a.c", "^$|^q"]
NAMES = ["a", "b", "name", "x\"y", "é", "long name", "n/m", ""]


def number(whole):
    value = rng.choice([rng.randint(-20, 20), rng.randint(-2000, 2000)])
    return value if whole or rng.random() < 0.5 else round(value + rng.random(), rng.randint(1, 3))


def scalar():
    return rng.choice([None, True, False, rng.randint(-5, 300), 1.5, "", "a", "b\"c", "é\n", 1e-7])


def schema(depth):
    kinds = ["string", "integer", "number", "boolean", "null", "enum", "const", "types"]
    if depth > 0:
        kinds += ["object", "object", "array", "array", "anyOf", "allOf", "oneOf", "true", "ref"]
    kind = rng.choice(kinds)
    if kind == "enum":
        return {"enum": [scalar() for _ in range(rng.randint(1, 4))] + ([[1, {"k": "v"}]] if rng.random() < 0.2 else [])}
    if kind == "const":
        return {"const": scalar()}
    if kind == "types":
        return {"type": rng.sample(["string", "integer", "null", "boolean", "array"], 2)}
    if kind == "true":
        return rng.choice([True, {}])
    if kind == "ref":
        return {"$ref": "#/$defs/d"}
    if kind == "anyOf":
        return {"anyOf": [schema(depth - 1) for _ in range(rng.randint(1, 3))]}
    if kind == "oneOf":
        return {"oneOf": [schema(depth - 1) for _ in range(2)]}
    if kind == "allOf":
        return {"allOf": [schema(depth - 1) for _ in range(rng.randint(1, 2))]}
    out = {"type": kind}
    if kind == "string":
        least = rng.randint(0, 3)
        if rng.random() < 0.5:
            out |= {"minLength": least}
        if rng.random() < 0.7:
            out |= {"maxLength": least + rng.randint(0, 5)}
        if rng.random() < 0.3:
            out |= {"pattern": rng.choice(PATTERNS)}
        if rng.random() < 0.2:
            out = {"type": "string", "format": rng.choice(FORMATS)}
    elif kind in ("integer", "number"):
        low = number(kind == "integer")
        if rng.random() < 0.6:
            out[rng.choice(["minimum", "exclusiveMinimum"])] = low
        if rng.random() < 0.6:
            out[rng.choice(["maximum", "exclusiveMaximum"])] = low + abs(number(kind == "integer"))
        if rng.random() < 0.2:
            out["multipleOf"] = rng.randint(1, 9)
    elif kind == "array":
        least = rng.randint(0, 2)
        if rng.random() < 0.9:
            out["items"] = schema(depth - 1)
        if rng.random() < 0.2:
            out["prefixItems"] = [schema(depth - 1) for _ in range(rng.randint(1, 2))]
        if rng.random() < 0.4:
            out["minItems"] = least
        if rng.random() < 0.8:
            out["maxItems"] = least + rng.randint(0, 2)
    elif kind == "object":
        names = rng.sample(NAMES, rng.randint(0, 4))
        out["properties"] = {n: schema(depth - 1) for n in names}
        if names and rng.random() < 0.7:
            out["required"] = rng.sample(names, rng.randint(1, len(names)))
        if rng.random() < 0.1:
            out["required"] = out.get("required", []) + ["more"]
        if rng.random() < 0.8:
            out["additionalProperties"] = rng.choice([False, False, schema(depth - 1)])
        if rng.random() < 0.2:
            out["patternProperties"] = {rng.choice(["^a", "b$", "[0-9]"]): schema(depth - 1)}
        if rng.random() < 0.2:
            out["minProperties"] = rng.randint(0, 2)
        if rng.random() < 0.4:
            out["maxProperties"] = rng.randint(1, 4)
        if rng.random() < 0.1:
            out["propertyNames"] = rng.choice([{"maxLength": 2}, {"pattern": "^[a-z]"}])
    return out


refused, finishes, wrong = collections.Counter(), collections.Counter(), 0
prompts = tempfile.NamedTemporaryFile("w", suffix=".txt")
prompts.write("a\nb\nc\nd\n")
prompts.flush()
for i in range(count):
    s = schema(3)
    if isinstance(s, bool):
        continue
    s |= {"$defs": {"d": rng.choice([{"type": "integer"}, {"type": "array", "items": {"$ref": "#/$defs/d"}, "maxItems": 2}])}}
    run = subprocess.run([vibee, "run", model, "--prompts", prompts.name, "--json-schema", json.dumps(s), "-n", "300", "--batch", "4",
                          "--seed", str(i), "--temperature", "1", "--top-p", "1", "--min-p", "0", "--json", "--threads", "1"],
                         capture_output=True)
    if run.returncode != 0:
        message = run.stderr.decode().strip()
        refused[message.rsplit(": ", 1)[-1]] += 1
        if run.returncode != 1:
            print("CRASH", run.returncode, json.dumps(s), message)
            wrong += 1
        continue
    checker = jsonschema.Draft202012Validator(s, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    other = jsonschema_rs.validator_for(s) if jsonschema_rs else None
    for result in json.loads(run.stdout)["results"]:
        finishes[result["finish"]] += 1
        if result["finish"] != "stop":
            continue
        try:
            value = json.loads(result["text"])
            checker.validate(value)
            if other:
                other.validate(value)
        except Exception as e:
            wrong += 1
            print("WRONG", json.dumps(s), repr(result["text"]), str(e).split("\n")[0])
for reason, n in refused.most_common():
    print(f"{n:5d} refused: {reason}")
print(f"{count} schemas, {sum(refused.values())} refused; texts: {dict(finishes)}; {wrong} wrong")
sys.exit(wrong > 0)
