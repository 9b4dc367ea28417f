#!/usr/bin/env bash
# gpu.sh [--programs FOLDER] [--out FOLDER] [--steps "info tests sanitize speed fla"]: what only a GPU can show, in one
# go. Prints a line per check and leaves each one's output under --out (default: gpu-report). FOLDER (default: build)
# holds the programs of a build with CUDA, at any depth. Exits with 1 if a check failed.
#   info      the device and the libraries
#   tests     the tests with label gpu: kernels against oracles, 100 repeats bit for bit, NCCL, whole runs and resumes
#   sanitize  compute-sanitizer: memcheck, racecheck, synccheck of the kernels' tests
#   speed     mudelta bench: kernels, the gated delta rule with its floor, training with and without CUDA graphs
#   fla       the gated delta rule beside flash-linear-attention (a python3 with torch, triton and fla)
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)

programs=build
out=gpu-report
steps="info tests sanitize speed fla"
while [[ $# -gt 0 ]]; do
  case $1 in
    --programs) programs=${2:?} ;;
    --out) out=${2:?} ;;
    --steps) steps=${2:?} ;;
    *) sed -n '2,10p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done

program() { find "$programs" -type f -perm -u+x -name "$1" -print -quit; }
mudelta=$(program mudelta)
if [[ -z $mudelta ]]; then
  echo "gpu.sh: no program mudelta under $programs: expected a build (-DMUDELTA_CUDA=ON)" >&2
  exit 2
fi
# Tests that start programs were built to find them in the build folder.
MUDELTA_PROGRAM=$(realpath "$mudelta")
export MUDELTA_PROGRAM MUDELTA_MPIRUN="$here/mpirun.sh" OMP_WAIT_POLICY=passive
mkdir -p "$out"

rules="8x2048,16/16,128x128 4x2048,32/32,128x128 8x2048,8/8,256x256 8x2048,32/32,64x64 1x32768,16/16,128x128 1x32768,2/8,128x128"
failed=0

# check NAME SECONDS COMMAND...: in at most so long; its result is shown beside the verdict. A test program that ran no
# test has not passed.
check() {
  local name=$1 seconds=$2 status verdict start=$SECONDS
  shift 2
  timeout --kill-after=10 "$seconds" "$@" > "$out/$name.txt" 2>&1
  status=$?
  verdict=PASS
  case $status in
    0) if grep -q 'PASSED.* 0 tests' "$out/$name.txt"; then verdict="FAIL (no test)" failed=1; fi ;;
    124 | 137) verdict="FAIL (over $seconds s)"; failed=1 ;;
    *) verdict="FAIL ($status)"; failed=1 ;;
  esac
  printf '%-44s %-16s %4d s  %s\n' "$name" "$verdict" $((SECONDS - start)) \
    "$(grep -E 'PASSED|FAILED|SUMMARY|rror' "$out/$name.txt" | tail -n 1 | cut -c1-100)"
}
skip() { printf '%-44s %-16s %s\n' "$1" SKIP "$2"; }

# test_program NAME LABEL SECONDS [ARGS...]: a test of the build, under the command `prefix`.
prefix=()
test_program() {
  local name=$1 label=$2 seconds=$3 path
  shift 3
  path=$(program "$name")
  if [[ -z $path ]]; then
    failed=1
    printf '%-44s %-16s %s\n' "$label" FAIL "no program $name under $programs"
  else
    check "$label" "$seconds" "${prefix[@]}" "$path" --gtest_color=no "$@"
  fi
}

kernel_tests="kernels_ops_device_test_gpu kernels_gated_delta_rule_reference_device_test_gpu
  kernels_gated_delta_rule_forward_device_test_gpu kernels_gated_delta_rule_backward_device_test_gpu
  kernels_gated_delta_rule_segments_device_test_gpu"

run_info() { cat "$out/info.txt"; }

run_tests() {
  test_program core_device_test_gpu core_device_test_gpu 120
  for name in $kernel_tests; do test_program "$name" "$name" 300; done
  for ranks in 1 2; do
    prefix=("$here/mpirun.sh" "$ranks")
    test_program dist_device_test_gpu "dist_device_test_gpu_n$ranks" 120
    prefix=()
  done
  test_program launch_device_test_gpu launch_device_test_gpu 400
}

run_sanitize() {
  if ! command -v compute-sanitizer > /dev/null; then
    skip sanitize "no compute-sanitizer on the PATH"
    return
  fi
  for tool in memcheck racecheck synccheck; do
    prefix=(compute-sanitizer --tool "$tool" --error-exitcode 9)
    # The many repeats are for runs without it.
    for name in $kernel_tests; do
      test_program "$name" "$tool-$name" 400 --gtest_filter='-*SameBitsEveryTime*:*ManyTiny*'
    done
    prefix=()
  done
}

run_speed() {
  local sizes=(--widths 1024 2048 --sequence-length 2048 --seconds 0.2)
  # shellcheck disable=SC2086
  check bench 500 "$mudelta" bench --device CUDA --bfloat16 "${sizes[@]}" --rule $rules
  check bench-cuda-graph 300 "$mudelta" bench --device CUDA --bfloat16 "${sizes[@]}" --no-kernels --no-rule --cuda-graph
  # shellcheck disable=SC2086
  check launch-times 200 "$(program kernels_launch_times)" $rules
  cat "$out/bench.txt" "$out/bench-cuda-graph.txt" "$out/launch-times.txt"
}

run_fla() {
  if ! python3 -c 'import torch, triton, fla; assert torch.cuda.is_available()' 2> "$out/fla-import.txt"; then
    skip fla "$(tail -n 1 "$out/fla-import.txt")"
    return
  fi
  # shellcheck disable=SC2086
  check fla 600 python3 -B "$here/parity/compare_fla.py" "$mudelta" $rules
  cat "$out/fla.txt"
}

check info 60 "$mudelta" info
if ! grep -q '^GPU 0 ' "$out/info.txt"; then
  echo "gpu.sh: no GPU: $(grep '^CUDA' "$out/info.txt")" >&2
  exit 2
fi
for step in $steps; do
  case $step in
    info | tests | sanitize | speed | fla) "run_$step" ;;
    *) echo "gpu.sh: --steps $step: expected info, tests, sanitize, speed or fla" >&2; exit 2 ;;
  esac
done
exit "$failed"
