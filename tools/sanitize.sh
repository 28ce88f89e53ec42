#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds with clang and runs tests under a sanitizer: all of them with `asan`, with `tsan` those of the parts that share memory
# between threads.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:?usage: tools/sanitize.sh asan|tsan}
case $preset in
  asan) pattern='_test$' ;;
  tsan) pattern='^(base_thread|dist_[a-z]+|kernels_gemm|graph_exec|serve_[a-z]+|app_capi)_test$' ;;
  *) echo "tools/sanitize.sh: '$preset' is not asan or tsan" >&2; exit 2 ;;
esac
cmake --preset "$preset" > /dev/null
mapfile -t tests < <(cd "build/$preset" && ctest -N -R "$pattern" -LE 'layout|slow' | sed -n 's/^ *Test *#[0-9]*: //p')
[ ${#tests[@]} -gt 0 ] || { echo "tools/sanitize.sh: no tests match $pattern" >&2; exit 1; }
ninja $([ -t 1 ] || echo --quiet) -C "build/$preset" -j "$(nproc)" "${tests[@]}"
# A report is a failure, and an impossible allocation is one too: hostile files must be refused before memory is asked for.
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
cd "build/$preset" && exec ctest --output-on-failure -j "$(nproc)" -R "$pattern" -LE 'layout|slow'
