#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The library as its users meet it, on a tiny model and without network: what it exports, its headers and packages installed, the examples
# built against them, the pages docs/c.md, docs/cpp.md and docs/python.md, and the Python package.  tests/library.sh BUILD
set -euo pipefail
cd "$(dirname "$0")/.."
build=$(realpath "${1:?usage: tests/library.sh BUILD}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say() { printf '  %s\n' "$*"; }
die() { echo "tests/library.sh: $*" >&2; exit 1; }

cmake --install "$build" --prefix "$work/prefix" > "$work/log" || { cat "$work/log"; die "cmake --install failed"; }
so=$(find "$work/prefix" -name libvibee.so)
# Exactly what the header declares, nothing else.
nm -D --defined-only "$so" | awk '{ print $3 }' | sort > "$work/exported"
grep -oE '^VIBEE_API .*\bvibee_\w+\(' include/vibee/vibee.h | grep -oE 'vibee_\w+\($' | tr -d '(' | sort > "$work/declared"
diff "$work/declared" "$work/exported" || die "libvibee.so does not export what vibee.h declares"
say "exports $(wc -l < "$work/exported") functions"

# The python3 of the pages is the first that has numpy (Debian's, where another one comes before it).
mkdir "$work/bin"
for python in python3 /usr/bin/python3; do
  "$python" -c 'import numpy' 2> /dev/null && break
done || die "no python3 with numpy; tools/install.sh test installs it"
ln -s "$(command -v "$python")" "$work/bin/python3"
export PATH=$work/bin:$work/prefix/bin:$PATH CMAKE_PREFIX_PATH=$work/prefix
PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name vibee.pc)") LD_LIBRARY_PATH=$(dirname "$so")
export PKG_CONFIG_PATH LD_LIBRARY_PATH PYTHONPATH=$build/python PYTHONDONTWRITEBYTECODE=1
"$build/bin/make_tiny_model" "$work/tiny.gguf"

strict=(-Wall -Wextra -Wpedantic -Werror)
read -ra flags < <(pkg-config --cflags --libs vibee)
cc -std=c99 "${strict[@]}" examples/generate.c "${flags[@]}" -o "$work/generate_c"
c++ -std=c++20 "${strict[@]}" examples/generate.cc "${flags[@]}" -o "$work/generate_cc"
for program in generate_c generate_cc; do
  "$work/$program" "$work/tiny.gguf" "hello" > "$work/$program.text" 2> "$work/err" || die "$program: $(cat "$work/err")"
  "$work/$program" "$work/tiny.gguf" "hello" 2> /dev/null | cmp "$work/$program.text" || die "$program: the text of a seed changes"
  code=0; "$work/$program" "$work/nothing" "hello" 2> "$work/err" || code=$?
  [ $code = 1 ] && [ "$(wc -l < "$work/err")" = 1 ] || die "$program: a missing model gave $code, $(cat "$work/err")"
done
# What the binary says of the same request is what the library says.
vibee run "$work/tiny.gguf" --raw hello -n 64 --temperature 0.7 --top-p 1 --min-p 0 --seed 1 --quiet | head -c -1 | cmp "$work/generate_c.text" ||
  die "library and binary differ"
say "examples in C and C++"

for page in c cpp python; do
  mkdir "$work/$page"
  cp "$work/tiny.gguf" "$work/$page/smollm2-135m"  # a file of that name comes before the known model
  tools/run_docs --in "$work/$page" docs/$page.md
done
mkdir "$work/data"
tools/run_docs --in "$work/data" docs/data.md
mkdir "$work/training"
tools/run_docs --in "$work/training" docs/training.md
say "docs/c.md, docs/cpp.md, docs/python.md, docs/data.md, docs/training.md"

python3 tests/python_test.py "$work/tiny.gguf"
