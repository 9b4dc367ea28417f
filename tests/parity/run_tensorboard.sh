#!/bin/sh
# Opens the event files of a short run with TensorBoard: run_tensorboard.sh MUDELTA WORK_FOLDER.
# As a test of the build: ctest -C parity -L parity. PYTHON names the python3 to use.
set -eu
mudelta=$1
work=$2
here=$(dirname "$0")

python=
for candidate in ${PYTHON:-} "$work/.venv/bin/python3" python3 /usr/bin/python3; do
  if "$candidate" -c 'import tensorboard' 2>/dev/null; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  cat >&2 <<MESSAGE
This test needs TensorBoard, and found no python3 that has it. Install it so:
  python3 -m venv $work/.venv
  $work/.venv/bin/pip install tensorboard==2.21.0
MESSAGE
  exit 1
fi

"$python" -B "$here/compare_events.py" "$mudelta" "$work/tensorboard"
