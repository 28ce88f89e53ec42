#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Schemas, and which texts are values of each by PyPI jsonschema: data/golden/grammar/schemas.json.

usage: tools/make_schema_goldens.py OUT.json

Every schema meets every value of one pool; names in schemas are in the order of the alphabet, as in the values, so that
all that is valid can be written.
"""
import json
import sys

import jsonschema

SCHEMAS = [
    {}, {"type": "object"}, {"type": "array"}, {"type": "string"}, {"type": "number"}, {"type": "integer"}, {"type": ["null", "boolean"]},
    {"enum": ["a", 1, None, [1, 2], {"a": 1}]}, {"const": {"a": 1, "b": "x"}}, {"const": 1.5}, {"const": "\"\\\n\u00e9"},
    {"type": "string", "minLength": 2, "maxLength": 3}, {"type": "string", "pattern": "^a+$"}, {"type": "string", "pattern": "\\d"},
    {"type": "string", "pattern": "^(a|b)", "maxLength": 2}, {"pattern": "[^ -~]"},
    {"type": "integer", "minimum": 0, "maximum": 12}, {"type": "number", "exclusiveMinimum": -3, "exclusiveMaximum": 1.5},
    {"type": "number", "minimum": 0.25}, {"type": "integer", "multipleOf": 4}, {"type": "number", "maximum": -0.5},
    {"type": "array", "items": {"type": "integer"}}, {"type": "array", "minItems": 1, "maxItems": 2},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}, {"prefixItems": [True, {"const": 2}], "items": False, "type": "array"},
    {"type": "array", "items": {"type": "array", "items": {"type": "integer"}, "minItems": 1}},
    {"type": "object", "properties": {"a": {"type": "integer"}}}, {"type": "object", "required": ["a"]},
    {"type": "object", "properties": {"a": {}, "b": {"type": "string"}}, "additionalProperties": False},
    {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["b"], "additionalProperties": {"type": "integer"}},
    {"type": "object", "patternProperties": {"^a": {"type": "integer"}, "b$": {"type": "string"}}, "additionalProperties": False},
    {"type": "object", "patternProperties": {"^[ab]$": True}, "additionalProperties": {"type": "null"}},
    {"type": "object", "propertyNames": {"maxLength": 1}}, {"type": "object", "minProperties": 1, "maxProperties": 1},
    {"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "minProperties": 2, "additionalProperties": False},
    {"allOf": [{"type": "integer"}, {"minimum": 2}, {"maximum": 10}]},
    {"allOf": [{"properties": {"a": {"type": "integer"}}}, {"required": ["a"]}, {"properties": {"a": {"minimum": 2}}}], "type": "object"},
    {"anyOf": [{"type": "integer", "minimum": 10}, {"type": "string", "maxLength": 1}, {"type": "null"}]},
    {"anyOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object"},
    {"oneOf": [{"type": "integer"}, {"type": "string"}]},
    {"oneOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}, {"properties": {"a": {"const": 2}}, "required": ["a"]}], "type": "object"},
    {"$ref": "#/$defs/list", "$defs": {"list": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/list"}, {"type": "integer"}]}}}},
    {"type": "object", "properties": {"a": {"$ref": "#"}}, "additionalProperties": False},
    {"definitions": {"x/y": {"type": "string"}}, "$ref": "#/definitions/x~1y"},
    {"type": "object", "properties": {"a": False}}, {"type": "array", "items": False},
]
VALUES = [
    None, True, False, 0, 1, 2, 4, 5, 9, 10, 11, 12, 13, 100, -1, -3, -4, 0.25, 0.24, 1.5, 1.49, -0.5, -0.49, -2.75, 1234567890123,
    "", "a", "b", "aa", "ab", "ba", "aaa", "abcd", "a1", "12", "\u00e9", "a\u00e9", "\"\\\n\u00e9", "\t", "\U0001f600", "\U0001f600\U0001f600",
    [], [1], [1, 2], [2, 2], [1, "a"], ["a"], [1, "a", None], [None, 2], [[]], [[1]], [[1], [2, 3]], [1, [2, [3, []]]], [[[1]], 2], [1, 2, 3], [True], [1.5],
    {}, {"a": 1}, {"a": 2}, {"a": 3}, {"a": "x"}, {"b": 1}, {"b": "x"}, {"a": 1, "b": "x"}, {"a": 1, "b": 2}, {"a": 1, "c": 1}, {"b": 1, "c": 1},
    {"b": 1, "c": "x"}, {"a": None, "b": None, "c": None}, {"c": None}, {"aa": 1}, {"aa": "x"}, {"ab": 1}, {"bb": "x"}, {"a": {}}, {"a": {"a": {}}},
    {"a": {"b": {}}}, {"a": [{}]}, {"\u00e9": 1}, {"": 0}, {"a\"b": 1},
]

rows = []
for schema in SCHEMAS:
    validator = jsonschema.Draft202012Validator(schema)
    row = {"schema": json.dumps(schema), "valid": [], "invalid": []}
    for value in VALUES:
        row["valid" if validator.is_valid(value) else "invalid"].append(json.dumps(value, ensure_ascii=False))
    rows.append(row)
with open(sys.argv[1], "w") as out:
    out.write(json.dumps(rows, ensure_ascii=False, indent=0) + "\n")
print(f"{len(rows)} schemas, {sum(len(r['valid']) for r in rows)} valid texts of {len(SCHEMAS) * len(VALUES)}")
