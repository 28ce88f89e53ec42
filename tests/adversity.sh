#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The server in adversity, on a tiny model: calls that fail, attacks, a thousand connections, a neighbour with a clock. With --every each N-th
# call fails in turn, without it a sample (a minute in all).
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$build/bin/make_tiny_model" "$work/tiny.gguf"
python3 -W ignore tests/fault_test.py "$build/bin/vibee" "$work/tiny.gguf" "$build/lib/libfault_inject.so" "$@"
python3 -W ignore tests/security_test.py "$build/bin/vibee" "$work/tiny.gguf"
python3 -W ignore tests/scale_test.py "$build/bin/vibee" "$work/tiny.gguf" 512
python3 -W ignore tests/timing_test.py "$build/bin/vibee" "$work/tiny.gguf"
