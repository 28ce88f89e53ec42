# SPDX-License-Identifier: Apache-2.0
"""What the layout checks share: the files of the source tree, and a runner that also proves each check finds planted violations."""
import argparse
import sys
import tempfile
from pathlib import Path
from typing import Callable, Iterable

CODE = {".h", ".cc", ".inc", ".cu", ".cuh", ".cl"}


def code_files(root: Path) -> list[Path]:
    return sorted(p for p in (root / "src").rglob("*") if p.suffix in CODE and p.is_file())


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def write_tree(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def prove(name: str, check: Callable[[Path], Iterable[str]], good: dict[str, str], planted: dict[str, dict[str, str]]) -> int:
    """`good` must pass; with the files of each entry of `planted` laid over it, some message must contain that entry's key."""
    wrong = []
    for expected, files in [("", {}), *planted.items()]:
        with tempfile.TemporaryDirectory() as folder:
            write_tree(Path(folder), {**good, **files})
            found = list(check(Path(folder)))
        if expected and not any(expected in line for line in found):
            wrong.append(f"planted violation not found: {expected!r}; found {found}")
        if not expected and found:
            wrong.append(f"a clean tree was refused: {found}")
    for line in wrong:
        print(f"{name} --self-test: {line}", file=sys.stderr)
    if not wrong:
        print(f"{name} --self-test: {len(planted)} planted violations found")
    return 1 if wrong else 0


def main(name: str, doc: str, check: Callable[[Path], Iterable[str]], good: dict[str, str], planted: dict[str, dict[str, str]]) -> int:
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("root", nargs="?", default=Path(__file__).resolve().parent.parent, type=Path)
    parser.add_argument("--self-test", action="store_true", help="prove that planted violations are found")
    args = parser.parse_args()
    if args.self_test:
        return prove(name, check, good, planted)
    found = list(check(args.root))
    for line in found:
        print(f"{name}: {line}", file=sys.stderr)
    return 1 if found else 0
