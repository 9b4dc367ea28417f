#!/bin/sh
# Compares exports and imports with transformers: run_interop.sh MUDELTA INTEROP_CASE WORK_FOLDER.
# As a test of the build: ctest -C parity -L parity. PYTHON names the python3 to use.
set -eu
mudelta=$1
interop_case=$2
work=$3
here=$(dirname "$0")

python=
for candidate in ${PYTHON:-} "$work/.venv/bin/python3" python3 /usr/bin/python3; do
  if "$candidate" -c 'import torch, safetensors, transformers.models.qwen3_5' 2>/dev/null; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  cat >&2 <<MESSAGE
This test needs PyTorch (a CPU build is enough) and transformers, and found no python3 that has both. Install them so:
  python3 -m venv $work/.venv
  $work/.venv/bin/pip install torch==2.9.1 transformers==5.23.0
  $work/.venv/bin/pip install fla-core==0.6.0 && $work/.venv/bin/pip install --no-deps flash-linear-attention==0.6.0
The last line is for comparing with fla's classes, and may be left out.
MESSAGE
  exit 1
fi

"$python" -B "$here/compare_interop.py" "$mudelta" "$interop_case" "$work/interop"
