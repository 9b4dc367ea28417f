#!/usr/bin/env bash
# layering.sh SOURCE_DIR: fails if a room includes (or, in a .proto, imports) a room that it must not know.
# Prints every offending line.
set -euo pipefail
cd "$1"

# ROOM: the rooms that it may include, beside itself. A file belongs to the room with the longest name that fits.
below_launch="core core/files kernels dist model optim data data/text data/tokenizers"
below_transfer="launch/train launch/checkpoint launch/job launch/config $below_launch"
transfer="launch/transfer launch/transfer/coord_check launch/transfer/sweep launch/transfer/scale_up"
rooms="
core:
core/files: core
kernels: core kernels/cuda
kernels/cuda: core
dist: core kernels
model: core kernels dist
optim: core kernels dist
data: data/text data/tokenizers core core/files kernels dist
data/text: core core/files
data/tokenizers: data/text core core/files
launch/config: $below_launch
launch/job: launch/config $below_launch
launch/checkpoint: launch/job launch/config $below_launch
launch/train: launch/checkpoint launch/job launch/config $below_launch
launch/bench: $below_transfer
launch/plan: launch/bench $below_transfer
launch/transfer: $below_transfer
launch/transfer/coord_check: launch/transfer $below_transfer
launch/transfer/sweep: launch/transfer $below_transfer
launch/transfer/scale_up: launch/transfer launch/transfer/sweep $below_transfer
launch/interop: $below_transfer
launch/commands: launch/bench launch/plan launch/interop $transfer $below_transfer
launch: launch/commands launch/bench launch/plan launch/interop $transfer $below_transfer
tests:
"

includes=$(grep -rnE '^[[:space:]]*(#[[:space:]]*include|import( public| weak)?)[[:space:]]*["<][a-z_]+/' \
  core kernels dist model optim data launch --include='*.h' --include='*.cpp' --include='*.cu' --include='*.proto' \
  --include='*.in' || true)

ROOMS="$rooms" awk '
  BEGIN {
    count = split(ENVIRON["ROOMS"], lines, "\n")
    for (i = 1; i <= count; ++i) {
      if (lines[i] !~ /:/) continue
      words = split(lines[i], word, "[: ]+")
      known[word[1]] = 1
      for (j = 2; j <= words; ++j) allowed[word[1], word[j]] = 1
    }
  }
  function room_of(path) {  # empty: a file of no room of ours
    while (path ~ /\//) {
      sub(/\/[^\/]*$/, "", path)
      if (path in known) return path
    }
    return ""
  }
  NF {
    file = $0
    sub(/:.*/, "", file)
    included = $0
    sub(/^[^"<]*["<]/, "", included)
    sub(/[">].*/, "", included)
    from = room_of(file)
    to = room_of(included)
    if (to == "" || to == from) next
    if (!((from, to) in allowed)) {
      print
      print "error: " from " must not include " to > "/dev/stderr"
      offences++
    }
  }
  END { exit offences > 0 }
' <<< "$includes"

sources=$(find core kernels dist model optim data launch -name '*.h' -o -name '*.cpp' | wc -l)
if ((sources == 0)); then
  echo "error: no source file found in the rooms of $1" >&2
  exit 1
fi
echo "$sources source files keep to their layer"
