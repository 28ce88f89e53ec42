#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds programs of llama.cpp from the source package of llama-cpp-python (native flags), those that are not there yet, and prints the
# folder that they are in: build_llama_cpp.sh llama-bench llama-server. The first takes about 15 minutes on 2 cores.
set -euo pipefail
[ $# -gt 0 ] || { echo "usage: bench/peers/build_llama_cpp.sh PROGRAM..." >&2; exit 2; }
version=0.3.36
cache=${XDG_CACHE_HOME:-$HOME/.cache}/vibee/peers/llama_cpp-$version
bin=$cache/build/bin
missing=()
for program in "$@"; do [ -x "$bin/$program" ] || missing+=("$program"); done
if [ ${#missing[@]} -gt 0 ]; then
  mkdir -p "$cache"
  echo "building ${missing[*]} in $cache (up to 15 minutes on 2 cores)" >&2
  if [ ! -e "$cache/build/build.ninja" ]; then
    [ -e "$cache/llama_cpp_python-$version.tar.gz" ] ||
      python3 -m pip download --quiet --no-deps --no-binary :all: "llama-cpp-python==$version" -d "$cache" >&2 ||
      { echo "the source package could not be fetched" >&2; exit 1; }
    tar -xzf "$cache/llama_cpp_python-$version.tar.gz" -C "$cache"
    # GCC 12 puts stores of what _tile_loadconfig reads behind it (it names 8 of the 64 bytes): SIGILL on CPUs with AMX.
    sed -i 's/^    _tile_loadconfig(&tc);/    asm volatile("" : : "r"(\&tc) : "memory");\n&/' \
      "$cache/llama_cpp_python-$version/vendor/llama.cpp/ggml/src/ggml-cpu/amx/mmq.cpp"
    cmake -G Ninja -S "$cache/llama_cpp_python-$version/vendor/llama.cpp" -B "$cache/build" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
      -DGGML_NATIVE=ON -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_APP=OFF \
      -DLLAMA_CURL=OFF -DGGML_CCACHE=OFF > "$cache/cmake.log" 2>&1
  fi
  ninja -C "$cache/build" "${missing[@]}" > "$cache/build.log" 2>&1 || { echo "the build failed; see $cache/build.log" >&2; exit 1; }
fi
echo "$bin"
