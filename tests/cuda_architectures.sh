#!/usr/bin/env bash
# cuda_architectures.sh CMAKE SOURCE_DIR: which architectures a build compiles for, by what nvidia-smi and nvcc say.
set -euo pipefail
cmake=$1 source=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

printf '#!/bin/sh\nprintf "compute_%%s\\n" 80 86 90 100\n' > "$folder/nvcc"
printf '#!/bin/sh\ntest -s "%s/gpus" && cat "%s/gpus"\n' "$folder" "$folder" > "$folder/nvidia-smi"
chmod +x "$folder/nvcc" "$folder/nvidia-smi"
cat > "$folder/ask.cmake" <<ASK
set(CMAKE_CUDA_COMPILER "$folder/nvcc")
include("$source/cmake/cuda_architectures.cmake")
mudelta_cuda_architectures(architectures)
message("\${architectures}")
ASK

status=0
expect() {  # ANSWER ALL|ONE CAPABILITY...
  local expected=$1 choice=$2 answer
  shift 2
  printf '%s\n' "$@" > "$folder/gpus"
  [[ $# -gt 0 ]] || : > "$folder/gpus"
  answer=$(PATH=$folder:$PATH "$cmake" -DMUDELTA_CUDA_ARCHITECTURES="$choice" -P "$folder/ask.cmake" 2>&1)
  if [[ $answer != "$expected" ]]; then
    echo "$choice with GPUs \"$*\": expected $expected, got $answer"
    status=1
  fi
}
expect '80;90a-real' ALL 9.0
expect 90a-real ONE
expect 90a-real ONE 9.0 9.0
expect '80-real' ONE 8.0
expect '86-real;90a-real' ONE 8.6 9.0
expect '100-real' ONE 10.0
expect '90a-real' ONE 7.5               # a GPU that no kernel runs on
expect '80;90a-real' ONE 12.0           # newer than nvcc: PTX
expect 90a-real ONE 'NVIDIA-SMI has failed'
exit $status
