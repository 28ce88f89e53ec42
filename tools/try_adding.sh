#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Adds a technique to a copy of the tree as docs/adding.md says, two files, and looks for it in the tree, its check, the conformance
# test, the bench and the docs. The copy lies in BUILD/try_adding; the compiler cache makes it quick (nvcc has none and is left out).
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "${1:?usage: tools/try_adding.sh BUILD}" && pwd)
copy=$build/try_adding/tree
id=plain_fold
fail() { echo "tools/try_adding.sh: $*" >&2; exit 1; }

rm -rf "$build/try_adding"
mkdir -p "$copy"
for part in src include python examples bench cmake tools data docs tests CMakeLists.txt CMakePresets.json; do cp -r "$source/$part" "$copy/"; done
cd "$copy"
snapshot() { find . -path ./build -prune -o -type f -exec sha256sum {} + | sort; }
snapshot > ../before

# The row and the file are those printed in docs/adding.md.
folder=src/vibee/kernels/attention
grep -oE "VIBEE_TECHNIQUE\($id, .*\)$" docs/adding.md >> $folder/techniques.inc
awk '/```cpp/ { on = 1; next } /```/ { if (on) exit } on { sub(/^   /, ""); print }' docs/adding.md > $folder/$id.cc
snapshot > ../after
touched=$({ diff ../before ../after || true; } | awk '/^[<>]/ { print $3 }' | sort -u)
[ "$(wc -l <<< "$touched")" -eq 2 ] || fail "touched more than two files: $touched"

cmake --preset release -DVIBEE_NVCC= > ../log 2>&1 || { cat ../log; fail "configuring failed"; }
nice ninja -C build/release -j "$(nproc)" vibee kernels_attention_test > ../log 2>&1 || { tail -n 40 ../log; fail "the build failed"; }
vibee=build/release/bin/vibee
find_in() { grep -q -- "$1" <<< "$3" || fail "$2 does not show $1"; }
find_in "$id" "vibee tree" "$($vibee tree)"
find_in "131 techniques in 9 branches" "vibee tree" "$($vibee tree)"
find_in '"name": "plain_fold"' "vibee tree --json --all" "$($vibee tree --json --all)"
[ "$($vibee tree --json | grep -c '"id": "v')" -eq 131 ] || fail "the 131 are no longer 131"
find_in "$id: passed" "vibee tree check" "$($vibee tree check $id)"
find_in "GFLOP/s" "vibee bench" "$($vibee bench $id)"
find_in "$id" "the conformance test" "$(build/release/bin/kernels_attention_test --gtest_list_tests)"
build/release/bin/kernels_attention_test --gtest_filter="*Conformance*/$id" --gtest_brief=1 > ../log || { cat ../log; fail "conformance failed"; }
tools/docs_fresh $vibee 2> /dev/null && fail "docs_fresh did not notice the new technique"
tools/docs_fresh --write $vibee || fail "docs_fresh refuses the written docs"
find_in "$id" "docs/techniques.md" "$(cat docs/techniques.md)"
tools/check_names && tools/check_floors || fail "the layout checks refuse the new files"

# A row whose own check is not there must not link.
sed -i "/$id/s/family, family/own, family/" $folder/techniques.inc
nice ninja -C build/release -j "$(nproc)" vibee > ../log 2>&1 && fail "a row without its own check linked"
grep -q "check_$id" ../log || fail "the linker does not name check_$id"
rm -rf "$build/try_adding"
echo "two files added $id to the tree, its check, the conformance test, the bench and the docs"
