#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that waits for a GPU, in order of value: what the machine reaches, kernels and plans against the CPU, models, benches, and
# the same beside PyTorch where it is installed. Needs a build (build/release by default) and a driver; nvcc for the probe alone. A stage
# that has its result is not run again; each ends within eight minutes. Results go to bench/results/gpu-DEVICE-DATE/.
#   tools/gpu/run-all.sh [--build DIR] [--out DIR] [STAGE...]
set -uo pipefail
cd "$(dirname "$0")/../.."
build=build/release out=
stages=()
while [ $# -gt 0 ]; do
  case $1 in
    --build) build=$2; shift ;;
    --out) out=$2; shift ;;
    -h|--help) sed -n '3,7s/^# *//p' "$0"; exit 0 ;;
    -*) echo "usage: tools/gpu/run-all.sh [--build DIR] [--out DIR] [STAGE...]" >&2; exit 2 ;;
    *) stages+=("$1") ;;
  esac
  shift
done
device=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1 | tr -c 'A-Za-z0-9\n' - | tr -s -)
[ -n "$device" ] || { echo "run-all: nvidia-smi shows no device" >&2; exit 1; }
[ -n "$out" ] || out=bench/results/gpu-$device-$(date -u +%Y-%m-%d)
mkdir -p "$out"
vibee=$build/bin/vibee
images=$build/cuda

stage_probe() {  # bandwidth, peaks, what launches cost
  local capability
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)
  [ "$capability" -lt 90 ] || capability=${capability}a
  nvcc -std=c++17 -O3 "-arch=sm_$capability" -o /tmp/vibee-probe tools/gpu/probe.cu && /tmp/vibee-probe > "$out/probe.json"
}
stage_doctor() { "$vibee" doctor --json > "$out/doctor.json"; }
test_program() {  # PROGRAM FILTER
  VIBEE_TEST_DEVICE=$images "$build/bin/$1" --gtest_filter="$2" --gtest_output="json:$out/$1.json"
}
stage_ops() {
  local failed=0
  test_program core_device_test 'WarpProduct*' || failed=1
  test_program kernels_pointwise_test '*Block*' || failed=1
  test_program kernels_gemm_test '*Block*' || failed=1
  test_program kernels_attention_test '*Block*:AttentionProduct*' || failed=1
  test_program kernels_update_test '*Block*' || failed=1
  return $failed
}
stage_plans() { test_program graph_device_test '*DevicePlan*'; }
stage_sessions() { test_program model_session_test 'DeviceSession*'; }
stage_memcheck() {
  command -v compute-sanitizer > /dev/null || { echo "no compute-sanitizer here" > "$out/memcheck.json"; return 0; }
  VIBEE_TEST_DEVICE=$images compute-sanitizer --error-exitcode 1 "$build/bin/graph_device_test" --gtest_filter='*DevicePlan*' > "$out/memcheck.txt"
}
stage_greedy() {  # the model in the binary gives the same text on both
  local prompt="Once upon a time" cpu gpu
  cpu=$("$vibee" run stories --weights f32 --kv f32 --greedy -n 48 --quiet "$prompt") || return 1
  gpu=$("$vibee" run stories --weights f32 --kv f32 --greedy -n 48 --quiet --device cuda "$prompt") || return 1
  printf '%s\n---\n%s\n' "$cpu" "$gpu" > "$out/greedy.txt"
  [ "$cpu" = "$gpu" ]
}
stage_bench() { "$vibee" bench stories --weights bf16 --device cuda --json > "$out/bench.json"; }

all=(doctor probe ops plans sessions greedy bench memcheck)
[ ${#stages[@]} -gt 0 ] || stages=("${all[@]}")
failed=0
for stage in "${stages[@]}"; do
  [ ! -e "$out/$stage.done" ] || { echo "$stage: has its result"; continue; }
  echo "$stage: $(date -u +%T)"
  begin=$(date +%s)
  export -f "stage_$stage" test_program 2> /dev/null || { echo "run-all: no stage $stage; there are ${all[*]}" >&2; exit 2; }
  export build out vibee images
  if timeout 480 bash -uo pipefail -c "stage_$stage" > "$out/$stage.log" 2>&1; then
    touch "$out/$stage.done"
    echo "$stage: done in $(($(date +%s) - begin)) s"
  else
    failed=1
    echo "$stage: FAILED, see $out/$stage.log"
    tail -5 "$out/$stage.log"
  fi
done
exit $failed
