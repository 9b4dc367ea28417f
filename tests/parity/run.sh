#!/bin/sh
# Compares the model with an independent one in PyTorch: run.sh DUMP_MODEL WORK_FOLDER.
# As a test of the build: ctest -C parity -L parity
set -eu
dump_model=$1
work=$2
here=$(dirname "$0")

python=
for candidate in /usr/bin/python3 python3 "$work/.venv/bin/python3"; do
  if "$candidate" -c 'import torch' 2>/dev/null; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  cat >&2 <<MESSAGE
This test needs PyTorch (a CPU build is enough) and found no python3 that has it. Install it in one of these ways:
  apt-get install python3-torch
  python3 -m venv $work/.venv && $work/.venv/bin/pip install torch==2.5.1
MESSAGE
  exit 1
fi

"$dump_model" "$work/cases"
"$python" -B "$here/compare_torch.py" "$work/cases"
