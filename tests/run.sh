#!/usr/bin/env bash
# run.sh [--all-architectures] [CTEST ARGS...]: installs what is needed, builds and runs the whole suite; the last line
# is its result. Where nvcc is, it compiles the device code for one architecture, or for all that are supported.
# Labels `parity` (needs PyTorch) and `gpu` are left to those who ask ctest for them.
set -euo pipefail
cd "$(dirname "$0")/.."

architectures=ONE
if [[ ${1:-} == --all-architectures ]]; then
  architectures=ALL
  shift
fi

launch/scripts/install_packages.sh build test
cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DMUDELTA_BUILD_TESTS=ON \
  -DMUDELTA_CUDA=AUTO -DMUDELTA_CUDA_ARCHITECTURES="$architectures"
ninja -C build

log=build/ctest.log
status=0
ctest --test-dir build -j 2 --output-on-failure --no-tests=error --label-exclude '^(parity|gpu)$' "$@" | tee "$log" ||
  status=$?

summary=$(sed -nE 's/.* tests passed, ([0-9]+) tests failed out of ([0-9]+)$/\1 \2/p' "$log")
read -r failed total <<< "${summary:-0 0}"
echo "$((total - failed)) passed, $failed failed"
[[ $status -eq 0 && $total -gt 0 && $failed -eq 0 ]]
