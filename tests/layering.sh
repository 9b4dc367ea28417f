#!/usr/bin/env bash
# layering.sh SOURCE_DIR: fails if a room includes (or, in a .proto, imports) a room that it must not know:
#   core < kernels < dist < {model, optim, data} < launch
# Prints every offending line.
set -euo pipefail
cd "$1"

rooms="core kernels dist model optim data launch"
declare -A allowed=(
  [core]="core"
  [kernels]="core kernels"
  [dist]="core kernels dist"
  [model]="core kernels dist model"
  [optim]="core kernels dist optim"
  [data]="core kernels dist data"
  [launch]="$rooms"
)

sources=0
offences=0
for room in $rooms; do
  for target in $rooms tests; do
    [[ " ${allowed[$room]} " == *" $target "* ]] && continue
    if grep -rnE "^[[:space:]]*(#[[:space:]]*include|import( public| weak)?)[[:space:]]*[\"<]$target/" "$room"; then
      echo "error: $room must not include $target" >&2
      offences=$((offences + 1))
    fi
  done
  files=$(find "$room" -name '*.h' -o -name '*.cpp' | wc -l)
  sources=$((sources + files))
done

if ((sources == 0)); then
  echo "error: no source file found in the rooms of $1" >&2
  exit 1
fi
if ((offences > 0)); then exit 1; fi
echo "$sources source files keep to their layer"
