#!/usr/bin/env bash
# Checks layering.sh itself: it accepts every downward include and refuses every other.
set -euo pipefail
layering=$(dirname "$(realpath "$0")")/layering.sh
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

make_rooms() { mkdir -p "$tree"/{core/files,kernels/cuda,dist,model,optim,data,launch/{config,job,train,interop,commands,transfer/sweep}}; }

# expect pass|fail FILE LINE: the verdict on a tree whose FILE has that one line.
expect() {
  local verdict=pass
  rm -rf "${tree:?}"/*
  make_rooms
  echo '#include <vector>' >"$tree/core/a.h"
  echo "$3" >"$tree/$2"
  "$layering" "$tree" >/dev/null 2>&1 || verdict=fail
  if [[ $verdict != "$1" ]]; then
    echo "error: '$3' in $2: verdict $verdict, expected $1" >&2
    exit 1
  fi
}

expect pass kernels/a.cpp '#include "core/tensor.h"'
expect pass optim/a.cpp '#include "dist/process_group.h"'
expect pass launch/a.cpp '#include "model/block.h"'
expect pass launch/config/config.proto 'import "model/config.proto";'
expect pass core/b.h '// see "kernels/gates.h"'
expect fail core/b.h '#include "kernels/gates.h"'
expect fail kernels/a.cpp '#include "dist/mpi.h"'
expect pass kernels/a.cu '#include "kernels/cuda/simt.h"'
expect fail kernels/cuda/a.h '#include "kernels/gates.h"'
expect fail dist/a.cpp '  #  include  "optim/optimizer.h"'
expect fail dist/a.cpp '#include <model/block.h>'
expect fail model/a.h '#include "optim/optimizer.h"'
expect fail optim/a.h '#include "data/loader.h"'
expect fail data/a.h '#include "model/block.h"'
expect fail model/a.h '#include "launch/train/trainer.h"'
expect fail core/a.h '#include "core/files/file_reader.h"'
expect fail model/a.h '#include "core/files/file_reader.h"'
expect pass data/a.h '#include "core/files/file_reader.h"'
expect pass launch/train/a.h '#include "launch/job/agreement.h"'
expect fail launch/job/a.h '#include "launch/train/trainer.h"'
expect pass launch/transfer/sweep/a.h '#include "launch/transfer/plot.h"'
expect fail launch/transfer/a.h '#include "launch/transfer/sweep/sweep_plan.h"'
expect fail launch/train/a.cpp '#include "launch/commands/commands.h"'
expect fail launch/train/a.cpp '#include "launch/interop/model_folder.h"'
expect pass launch/commands/a.cpp '#include "launch/interop/model_folder.h"'
expect fail launch/a.cpp '#include "tests/support/compare.h"'
expect fail model/config.proto 'import "optim/config.proto";'
expect fail model/config.proto 'import public "optim/config.proto";'

rm -rf "${tree:?}"/*
make_rooms
if "$layering" "$tree" >/dev/null 2>&1; then
  echo "error: a tree without sources passed" >&2
  exit 1
fi
echo "layering.sh judges as it should"
