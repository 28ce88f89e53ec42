# SPDX-License-Identifier: Apache-2.0
"""Writes the result of a comparison whole or not at all."""
import json
import os
import sys


def record(result: dict, path: str) -> None:
    with open(path + ".part", "w") as f:
        json.dump(result, f, indent=1)
        f.write("\n")
    os.replace(path + ".part", path)
    print(f"wrote {path}", file=sys.stderr)
