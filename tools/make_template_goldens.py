#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes data/golden/template/expected.json: what jinja2, set up as transformers does, makes of templates.json there.

  tools/make_template_goldens.py data/golden/template

templates.json holds {"conversations": {name: context}, "templates": {name: source}, "snippets": [source, ...]}: every
template is rendered over every conversation, every snippet over the conversation named "snippet". An error is written
as null, because messages differ. Needs the PyPI package jinja2.
"""

import datetime
import json
import os
import sys

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = 1735732800  # what strftime_now takes for the time: noon of a day that is the same one almost everywhere


class Generation(jinja2.ext.Extension):
    """{% generation %} marks what the model says; for the text alone it is transparent."""

    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda f: datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).strftime(f)
    return env


def render(env, source, context):
    try:
        return env.from_string(source).render(**context)
    except Exception:  # whatever it is, the template cannot be rendered
        return None


def main():
    folder = sys.argv[1]
    with open(os.path.join(folder, "templates.json"), encoding="utf-8") as f:
        given = json.load(f)
    env = environment()
    conversations = {n: c for n, c in given["conversations"].items() if n != "snippet"}
    expected = {
        "made_by": f"tools/make_template_goldens.py with jinja2 {jinja2.__version__}",
        "templates": {
            name: {c: render(env, source, context) for c, context in conversations.items()}
            for name, source in given["templates"].items()
        },
        "snippets": [render(env, s, given["conversations"]["snippet"]) for s in given["snippets"]],
    }
    with open(os.path.join(folder, "expected.json"), "w", encoding="utf-8") as f:
        json.dump(expected, f, ensure_ascii=False, indent=0)
        f.write("\n")


if __name__ == "__main__":
    main()
