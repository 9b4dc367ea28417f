#!/usr/bin/env bash
# failures.sh PROGRAM (failing_ranks.cpp): a rank that fails must fail its job, soon, with its name.
set -euo pipefail
program=$1
mpirun=$(dirname "$(realpath "$0")")/../mpirun.sh

# expect CODE TEXT COMMAND...: exit code CODE ("nonzero": any but 0), with TEXT in the output, and not hang.
expect() {
  local wanted=$1 text=$2 code=0 output
  shift 2
  output=$(timeout 1800 "$@" 2>&1) || code=$?
  if [[ $code == 124 || ($wanted == nonzero && $code == 0) || ($wanted != nonzero && $code != "$wanted") ]]; then
    printf '%s\nerror: exit code %s, expected %s: %s\n' "$output" "$code" "$wanted" "$*" >&2
    exit 1
  fi
  if [[ $output != *"$text"* ]]; then
    printf '%s\nerror: "%s" expected in the output of: %s\n' "$output" "$text" "$*" >&2
    exit 1
  fi
}

expect 0 PASSED "$mpirun" 2 "$program" --gtest_filter=Rank1.Passes
expect nonzero "[rank 1]" "$mpirun" 2 "$program" --gtest_filter=Rank1.Expects
expect nonzero "[rank 1]" "$mpirun" 2 "$program" --gtest_filter=Rank1.AssertsWhileOthersWait
expect nonzero "[rank 1] thrown by rank 1" "$mpirun" 2 "$program" --gtest_filter=Rank1.ThrowsWhileOthersWait
expect 7 "" "$mpirun" 2 "$program" --gtest_filter=Rank1.AbortsTheJob
expect nonzero "[rank 0 on $(hostname)] MPI_Barrier has waited" "$mpirun" 2 "$program" \
  --gtest_filter=Rank1.StaysAwayWhileOthersWait
expect nonzero "[rank 0] at collective 2: barrier of the world group, from failing_ranks.cpp:41; its stack:" "$mpirun" 2 \
  "$program" --gtest_filter=Rank1.StaysAwayWhileOthersWait
expect nonzero "$(basename "$program")(main+" "$mpirun" 2 "$program" --gtest_filter=Rank1.StaysAwayWhileOthersWait
expect nonzero "rank 0 has waited 1 s for other ranks of its group in call 2 of the tensor group: all_reduce(3 float32" \
  "$mpirun" 2 "$program" --gtest_filter=Checked.Rank1LeavesACollectiveOut
expect nonzero "waits in vain in call 1 of the " "$mpirun" 2 "$program" \
  --gtest_filter=Checked.RanksTakeTwoGroupsInDifferentOrders
# A world that is smaller than promised is an error, not a job of one rank.
expect nonzero "3 promised" env MUDELTA_TEST_RANKS=3 "$mpirun" 2 "$program" --gtest_filter=Rank1.Passes
expect nonzero "mpirun promised 2" env OMPI_COMM_WORLD_SIZE=2 "$program" --gtest_filter=Rank1.Passes
expect nonzero "srun started 2 tasks" env SLURM_STEP_NUM_TASKS=2 "$program" --gtest_filter=Rank1.Passes
expect 0 PASSED env SLURM_STEP_NUM_TASKS=1 MUDELTA_TEST_RANKS=1 "$program" --gtest_filter=Rank1.Passes
echo "every failure was noticed"
