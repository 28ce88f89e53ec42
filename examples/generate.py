# SPDX-License-Identifier: Apache-2.0
"""Answers a question from Python, printing it as it comes.

    pip install .
    python examples/generate.py smollm2-135m "Why is the sky blue?"
"""
from __future__ import annotations

import sys

import vibee


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print("usage: generate.py MODEL QUESTION", file=sys.stderr)
        return 2
    try:
        with vibee.load(arguments[0], ctx=1024) as model:
            prompt = model.tokenize_chat([{"role": "user", "content": arguments[1]}])
            for piece in model.stream(prompt, max_tokens=64, temperature=0.7, seed=1):
                print(piece, end="", flush=True)
            print()
            first, second = model.generate(["One", "Two"], max_tokens=8)
            print(first.tokens, second.finish, second.stats.decode_rate, model.logits(first.tokens).shape)
    except vibee.Error as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
