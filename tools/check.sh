#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# clang-format and clang-tidy over the C++ files that differ from the branch main (or from what BASE names), or over all with --all.
set -euo pipefail
cd "$(dirname "$0")/.."
code=('src/*.cc' 'src/*.h' 'include/*.h' 'include/*.hpp' 'examples/*.c' 'examples/*.cc' 'tests/*.cc')
if [ "${1:-}" = --all ]; then
  mapfile -t files < <(git ls-files "${code[@]}")
else
  base=${1:-}
  for name in main origin/main; do [ -n "$base" ] || base=$(git merge-base HEAD "$name" 2> /dev/null || true); done
  mapfile -t files < <({ git diff --name-only --diff-filter=d "${base:-HEAD}" -- "${code[@]}"
                         git ls-files --others --exclude-standard "${code[@]}"; } | sort -u)
fi
if [ ${#files[@]} -eq 0 ]; then echo "no C++ file differs from main (tools/check.sh --all checks all)"; exit 0; fi
unformatted=$(clang-format --dry-run "${files[@]}" 2>&1 | sed -n 's/^\([^ :]*\):[0-9]*:.*/\1/p' | sort -u)
if [ -n "$unformatted" ]; then
  echo "tools/check.sh: not formatted; clang-format -i" $unformatted >&2
  exit 1
fi
mapfile -t sources < <(printf '%s\n' "${files[@]}" | grep '\.cc$' | while read -r f; do
  grep -qF "/$f\"" build/release/compile_commands.json && echo "$f"; done)
[ ${#sources[@]} -eq 0 ] || printf '%s\0' "${sources[@]}" | xargs -0 -n 1 -P "$(nproc)" \
  clang-tidy --quiet -p build/release --warnings-as-errors='*' --extra-arg=-Wno-unknown-warning-option 2> build/release/tidy.log ||
  { grep -v 'warnings generated' build/release/tidy.log >&2; exit 1; }
echo "${#files[@]} files formatted and tidy"
