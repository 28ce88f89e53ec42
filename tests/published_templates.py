#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares what vibee makes of published chat templates with what jinja2, set up as transformers does, makes of them.

  tests/published_templates.py [--vibee FILE] [--templates DIR ...]

The templates are those that the source package of llama-cpp-python carries, which `make peers` unpacks; none is kept
here. Every template is rendered over every conversation of data/golden/template/templates.json; where jinja2 gives an
error vibee must give one too. Exit status 77, and the reason, where the templates or jinja2 are missing.
"""

import argparse
import collections
import concurrent.futures
import glob
import importlib.util
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PUBLISHED = "~/.cache/vibee/peers/llama_cpp-*/llama_cpp_python-*/vendor/llama.cpp/models/templates"


def skip(reason):
    print(f"tests/published_templates.py: skipped: {reason}")
    sys.exit(77)


def goldens_maker():
    spec = importlib.util.spec_from_file_location("goldens", os.path.join(ROOT, "tools/make_template_goldens.py"))
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as e:
        skip(f"the Python package {e.name} is not installed")
    return module


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vibee", default=os.path.join(ROOT, "build/release/bin/vibee"))
    parser.add_argument("--templates", nargs="*", default=glob.glob(os.path.expanduser(PUBLISHED)))
    parser.add_argument("--verbose", action="store_true", help="print both texts of a difference, and why vibee refuses")
    args = parser.parse_args()
    files = sorted(f for d in args.templates for f in glob.glob(os.path.join(d, "*.jinja")))
    if not files:
        skip(f"no published templates in {PUBLISHED}; run `make peers`, or name a folder with --templates")
    maker = goldens_maker()
    env = maker.environment()
    with open(os.path.join(ROOT, "data/golden/template/templates.json"), encoding="utf-8") as f:
        conversations = json.load(f)["conversations"]
    del conversations["snippet"]

    def case(file, name):
        with open(file, encoding="utf-8") as f:
            expected = maker.render(env, f.read(), conversations[name])
        run = subprocess.run(
            [args.vibee, "tokenizer", "render", file, "--now", str(maker.NOW)],
            input=json.dumps(conversations[name]).encode(), capture_output=True, env={**os.environ, "TZ": "UTC"}, check=False,
        )
        got = run.stdout.decode("utf-8", "surrogateescape") if run.returncode == 0 else None
        return file, name, expected, got, run.stderr.decode("utf-8", "replace").strip()

    jobs = [(file, name) for file in files for name in conversations]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        done = list(pool.map(lambda j: case(*j), jobs))
    different = [d for d in done if d[2] != d[3]]
    for file, name, expected, got, message in different:
        print(f"{os.path.basename(file)} over {name}: " + (f"vibee refuses: {message}" if got is None else "jinja2 refuses" if expected is None else "the texts differ"))
        if args.verbose:
            print(f"--- jinja2\n{expected}\n--- vibee\n{got}")
    if args.verbose:
        for message, n in collections.Counter(d[4].split(": ", 1)[-1] for d in done if d[2] is None and d[3] is None).most_common():
            print(f"refused {n} times: {message}")
    counts = collections.Counter("refused by both" if d[2] is None else "same text" for d in done if d[2] == d[3])
    print(f"{len(files)} templates x {len(conversations)} conversations: {counts['same text']} the same, "
          f"{counts['refused by both']} refused by both, {len(different)} different")
    if not counts["same text"]:
        sys.exit("nothing was rendered")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
