#!/usr/bin/env bash
# mpirun.sh RANKS PROGRAM [ARGS...]: mpirun as the tests use it: more ranks than cores allowed, also as root in CI.
set -euo pipefail
ranks=$1
shift
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# What the program checks its world against: a failed start must not pass as a job of one rank.
export MUDELTA_TEST_RANKS=${MUDELTA_TEST_RANKS:-$ranks}
# In a sanitizer build: Open MPI never frees what it allocates at its start. Tests without ranks do check for leaks.
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0}
# Ranks that share cores must yield while they wait, and must not be pinned on top of each other.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec mpirun --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 --mca btl_vader_single_copy_mechanism none \
  -n "$ranks" "$@"
