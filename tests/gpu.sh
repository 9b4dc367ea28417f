#!/usr/bin/env bash
# gpu.sh [--programs FOLDER] [--out FOLDER] [--steps "info tests speed variants profile sanitize programs train fla"]
#        [--limit SECONDS] [--run COMMAND]: what only a GPU can show, in one go, within so many seconds (default: 3600).
# Prints a line per check, adds it to OUT/summary.txt, and keeps all output in OUT/logs.tgz, which is up to date even if
# the run is killed (OUT's default: gpu-report). FOLDER (default: build) holds the programs of a build with CUDA, at any
# depth; COMMAND (default: none) is put before each of them, as where they need libraries that other programs must not
# see. Each check has a limit of its own, or what is left. Exits with 1 if a check failed.
#   info      the device and the libraries
#   tests     kernels, products, collectives of one rank: all at once, as they wait for the host more than for the GPU,
#             but for one that fills the GPU's memory. The first failure again under compute-sanitizer, with exact blocks,
#             and its tensors as .npy
#   speed     the time of each launch, and mudelta bench of the gated delta rule; clocks beside them
#   variants  the gated delta rule in segments of several lengths, with narrow and wide slabs
#   profile   counters and stalls of four kernels (ncu)
#   sanitize  compute-sanitizer over the kernels' tests
#   programs  whole runs beside the CPU's, resumes, two ranks on the GPU
#   train     mudelta bench of training, with and without CUDA graphs
#   fla       the gated delta rule beside flash-linear-attention (a python3 with torch, triton and fla)
# A first run of few minutes: --steps "info tests speed profile sanitize"; if all is well the rest in a second one.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
all_steps="info tests speed variants profile sanitize programs train fla"
programs=build out=gpu-report steps=$all_steps limit=3600 run=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --programs) programs=${2:?} ;;
    --out) out=${2:?} ;;
    --steps) steps=${2:?} ;;
    --limit) limit=${2:?} ;;
    --run) read -ra run <<< "${2:?}" ;;
    *) sed -n '2,19p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done
for step in $steps; do
  [[ " $all_steps " == *" $step "* ]] || { echo "gpu.sh: --steps $step: expected some of $all_steps" >&2; exit 2; }
done
[[ $limit =~ ^[1-9][0-9]*$ ]] || { echo "gpu.sh: --limit $limit: expected seconds" >&2; exit 2; }

program() { find "$programs" -type f -perm -u+x -name "$1" -print -quit; }
mudelta=$(program mudelta)
if [[ -z $mudelta ]]; then
  echo "gpu.sh: no program mudelta under $programs: expected a build (-DMUDELTA_CUDA=ON)" >&2
  exit 2
fi
# Tests that start programs were built to find them in the build folder.
MUDELTA_PROGRAM=$(realpath "$mudelta")
export MUDELTA_PROGRAM MUDELTA_MPIRUN="$here/mpirun.sh" OMP_WAIT_POLICY=passive
logs=$out/logs
mkdir -p "$logs"

save() { tar -C "$out" --exclude='*.new' -czf "$out/logs.tgz.new" logs 2> /dev/null && mv "$out/logs.tgz.new" "$out/logs.tgz"; }
(while sleep 15; do save; done) & saver=$!
trap 'kill $saver 2> /dev/null; save' EXIT

start=$SECONDS
left() { echo $((limit - (SECONDS - start))); }
say() { printf '%5d s  %s\n' $((SECONDS - start)) "$*" | tee -a "$out/summary.txt"; }
# Checks run side by side: a failure is a file.
fail() { touch "$logs/failed"; say "$@"; }
rm -f "$logs/failed"

# check NAME SECONDS COMMAND...: in at most so long. A test program that ran no test has not passed.
check() {
  local name=$1 seconds=$2 status line begin=$SECONDS
  shift 2
  ((seconds > $(left))) && seconds=$(left)
  if ((seconds < 5)); then say "SKIP $name: no time left"; return 1; fi
  timeout --kill-after=5 "$seconds" "$@" > "$logs/$name.txt" 2>&1
  status=$?
  grep -qaE 'PASSED.* 0 tests' "$logs/$name.txt" && status="no test"
  [[ $status == 124 || $status == 137 ]] && status="over $seconds s"
  line="$name $((SECONDS - begin)) s  $(grep -aE 'PASSED|FAILED +\]|SUMMARY|rror' "$logs/$name.txt" | tail -n 1 | cut -c1-110)"
  if [[ $status == 0 ]]; then say "PASS $line"; else fail "FAIL($status) $line"; return 1; fi
}

# test_program NAME SECONDS [ARGS...]
test_program() {
  local name=$1 seconds=$2 path
  shift 2
  path=$(program "$name")
  if [[ -z $path ]]; then fail "FAIL $name: no such program under $programs"; return 1; fi
  check "$name" "$seconds" "${run[@]}" "$path" --gtest_color=no --gtest_brief=1 "$@"
}

# sanitize TOOL PROGRAM FILTER SECONDS: with blocks of GPU memory as large as they were asked for.
sanitize() {
  command -v compute-sanitizer > /dev/null || { say "SKIP $1-$2: no compute-sanitizer on the PATH"; return; }
  check "$1-$2" "$4" env MUDELTA_EXACT_BLOCKS=1 compute-sanitizer --tool "$1" --target-processes all --print-limit 20 \
    --error-exitcode 9 "${run[@]}" "$(program "$2")" --gtest_color=no --gtest_brief=1 --gtest_filter="$3"
}

rule=kernels_gated_delta_rule
tests="kernels_ops_device_test_gpu ${rule}_reference_device_test_gpu ${rule}_forward_device_test_gpu
  ${rule}_backward_device_test_gpu ${rule}_segments_device_test_gpu ${rule}_row_parts_device_test_gpu
  ${rule}_shapes_device_test_gpu kernels_large_device_test_gpu dist_nccl_device_test_gpu"
shapes="8x2048,16/16,128x128 4x8192,32/32,128x128 1x32768,16/16,128x128 1x32768,16/32,128x128 1x32768,2/8,128x128
  1x8192,16/32,128x128 8x1024,16/32,128x128 1x32768,8/16,128x128 1x32768,2/4,128x128 8x2048,8/8,256x256"

run_info() { { nvidia-smi; ldd --version | head -n 1; "${run[@]}" ldd "$mudelta"; } > "$logs/machine.txt" 2>&1; }

run_tests() {
  local name pids=() failed
  # Whose allocator test takes what memory there is; with it failing nothing else is worth running.
  test_program core_device_test_gpu 60 || return
  for name in $tests; do test_program "$name" 130 & pids+=($!); done
  wait "${pids[@]}"
  for name in $tests; do
    failed=$(grep -aoE '^\[  FAILED  \] [A-Za-z0-9_/.]+' "$logs/$name.txt" 2> /dev/null | head -n 1 | awk '{print $4}')
    [[ -n $failed ]] || continue
    say "first failure: $name $failed"
    mkdir -p "$logs/tensors"
    MUDELTA_DUMP=$logs/tensors check "again-$name" 40 "${run[@]}" "$(program "$name")" --gtest_filter="$failed"
    find "$logs/tensors" -size +8M -delete  # what comes back from such machines is small
    for tool in memcheck racecheck; do sanitize "$tool" "$name" "$failed" 40; done
    break
  done
}

run_speed() {
  local watch
  nvidia-smi --query-gpu=clocks.sm,clocks.mem,power.draw,temperature.gpu --format=csv,noheader -lms 500 \
    > "$logs/clocks.csv" 2> /dev/null & watch=$!
  # shellcheck disable=SC2086
  check launch-times 90 "${run[@]}" "$(program kernels_launch_times)" $shapes
  check bench-rule 40 "${run[@]}" "$mudelta" bench --device CUDA --bfloat16 --no-kernels --no-training --seconds 0.1 \
    --rule 8x2048,16/16,128x128 1x32768,2/8,128x128
  check bench-train 60 "${run[@]}" "$mudelta" bench --device CUDA --bfloat16 --no-rule --widths 1536 \
    --sequence-length 2048 --seconds 0.1
  kill $watch 2> /dev/null
  cat "$logs"/{launch-times,bench-rule,bench-train}.txt 2> /dev/null
}

run_variants() {
  check variants 60 "${run[@]}" "$(program kernels_variants)" 8x2048,16/16,128x128 1x32768,16/32,128x128 \
    1x32768,2/8,128x128 1x32768,2/4,128x128 8x2048,8/8,256x256
  cat "$logs/variants.txt" 2> /dev/null
}

run_profile() {
  local kernel report
  command -v ncu > /dev/null || { say "SKIP profile: no ncu on the PATH"; return; }
  for kernel in scan_kernel gradients_kernel backward_scan_kernel prepare_kernel; do
    report=$logs/ncu-$kernel
    check "ncu-$kernel" 45 ncu --clock-control none --target-processes all --set full -k "regex:^$kernel" -c 1 --kill yes \
      -f -o "$report" "${run[@]}" "$(program kernels_launch_times)" 8x2048,16/16,128x128
    ncu --import "$report.ncu-rep" --page details > "$report.details.txt" 2>&1
    ncu --import "$report.ncu-rep" --page source --csv > "$report.source.csv" 2>&1
    rm -f "$report.ncu-rep"
  done
}

# The many repeats and the large shapes are for runs without it.
run_sanitize() {
  local part
  for part in forward backward segments; do
    sanitize memcheck "${rule}_${part}_device_test_gpu" \
      '*MatchesOracle/AllLengths*:*MatchesOracle/Documents*:*Keys128*:*MatchesOracle/Length129*' 60
  done
  sanitize racecheck "${rule}_backward_device_test_gpu" '*MatchesOracle/Groups' 60
  for part in ops "${rule#kernels_}_reference" "${rule#kernels_}_row_parts"; do
    sanitize memcheck "kernels_${part}_device_test_gpu" '*' 200
  done
  sanitize synccheck "${rule}_backward_device_test_gpu" '*MatchesOracle/Groups' 60
}

run_programs() {
  local pids=() path
  test_program launch_device_test_gpu 400 & pids+=($!)
  path=$(program dist_device_test_gpu)
  check dist_device_test_gpu_n2 120 "${run[@]}" "$here/mpirun.sh" 2 "$path" --gtest_color=no --gtest_brief=1 & pids+=($!)
  wait "${pids[@]}"
}

run_train() {
  local graph
  for graph in "" --cuda-graph; do
    # shellcheck disable=SC2086
    check "train$graph" 90 "${run[@]}" "$mudelta" bench --device CUDA --bfloat16 --no-kernels --no-rule --widths 1024 1536 \
      --sequence-length 2048 --seconds 0.1 $graph
    cat "$logs/train$graph.txt" 2> /dev/null
  done
}

# Last: Triton compiles and tunes for minutes.
run_fla() {
  if ! python3 -c 'import torch, triton, fla; assert torch.cuda.is_available()' 2> "$logs/fla-import.txt"; then
    say "SKIP fla: $(tail -n 1 "$logs/fla-import.txt")"
    return
  fi
  printf '#!/bin/bash\nexec %s "%s" "$@"\n' "${run[*]}" "$MUDELTA_PROGRAM" > "$logs/mudelta-run"
  chmod +x "$logs/mudelta-run"
  check fla 600 python3 -B "$here/parity/compare_fla.py" "$(realpath "$logs/mudelta-run")" 8x2048,16/16,128x128
  cat "$logs/fla.txt" 2> /dev/null
}

check info 60 "${run[@]}" "$mudelta" info
if ! grep -q '^GPU 0 ' "$logs/info.txt"; then
  echo "gpu.sh: no GPU: $(grep '^CUDA' "$logs/info.txt")" >&2
  exit 2
fi
cat "$logs/info.txt"
for step in $steps; do "run_$step"; done
[[ ! -e $logs/failed ]]
