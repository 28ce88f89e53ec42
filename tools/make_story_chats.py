#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes data/chat/stories.jsonl (200 conversations) and stories_held.jsonl (40) of the stories of `vibee data stories`.

    tools/make_story_chats.py build/release/bin/vibee

Every other conversation asks for the beginning of a story, the rest ask who a beginning is about.
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "data/chat"
FORMS = [
    re.compile(r"^(?P<name>[A-Z]\w+) was (?P<kind>an? [^.]+)\. "),
    re.compile(r"^Once upon a time, there (?:was|lived) (?P<kind>an? [^.]+?) (?:called|named) (?P<name>[A-Z]\w+)\. "),
]


def conversations(stories):
    for story in stories:
        beginning = story.strip().split("\n")[0]
        found = next((m for m in (form.match(beginning) for form in FORMS) if m), None)
        if found is None or len(beginning) > 400:
            continue
        kind, name = found["kind"], found["name"]
        yield f"Write the beginning of a story about {kind} called {name}.", beginning
        yield f"{beginning}\n\nWho is this story about?", f"It is about {name}, {kind}."


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/stories.txt"
        subprocess.run([sys.argv[1], "data", "stories", path, "--bytes", "1200000", "--seed", "7"], check=True)
        stories = pathlib.Path(path).read_text().split("<|endoftext|>")
    FOLDER.mkdir(exist_ok=True)
    lines, seen = [], set()
    for i, (ask, answer) in enumerate(conversations(stories)):
        # One of both of a story, and no beginning twice.
        if i // 2 % 2 != i % 2 or ask in seen:
            continue
        seen.add(ask)
        messages = [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
        lines.append(json.dumps({"messages": messages}) + "\n")
    assert len(lines) >= 240, len(lines)
    (FOLDER / "stories.jsonl").write_text("".join(lines[:200]))
    (FOLDER / "stories_held.jsonl").write_text("".join(lines[200:240]))


if __name__ == "__main__":
    main()
