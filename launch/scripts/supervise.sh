#!/usr/bin/env bash
# Starts a training job again after a crash, from its newest checkpoint:
#   supervise.sh [--tries N] [--pause SECONDS] COMMAND...
# COMMAND is the whole job, with --out RUN_DIR and --resume:
#   supervise.sh mpirun -n 8 mudelta train run.textproto --out runs/1 --resume
# It ends with the job's exit code when that is 0 (done), 2 (an error that another try would meet again, which the job
# has named) or 143 (stopped by a signal, saved). Otherwise it starts the job again after a pause, twice as long each time, up to
# 5 minutes; N crashes (3) with no new checkpoint between them are the end. SIGTERM, SIGINT and SIGUSR1 reach the job as
# SIGUSR1, which mpirun passes on. docs/operations.md has more.
set -uo pipefail

usage() {
  echo "supervise.sh: $1; usage: supervise.sh [--tries N] [--pause SECONDS] COMMAND... --out RUN_DIR --resume" >&2
  exit 2
}

tries=3 pause=5
while [[ ${1:-} == --tries || ${1:-} == --pause ]]; do
  [[ ${2:-} =~ ^[0-9]+$ ]] || usage "$1 is '${2:-}', expected a whole number"
  [[ $1 == --tries ]] && tries=$2 || pause=$2
  shift 2
done
((tries >= 1)) || usage "--tries is $tries, expected at least 1"

run='' resumes=no
for ((i = 1; i <= $#; ++i)); do
  [[ ${!i} == --resume ]] && resumes=yes
  [[ ${!i} == --out=* ]] && run=${!i#--out=}
  [[ ${!i} == --out ]] && ((i < $#)) && next=$((i + 1)) && run=${!next}
done
[[ -n $run ]] || usage "the command has no --out RUN_DIR"
[[ $resumes == yes ]] || usage "the command has no --resume: a second start would be refused"

# The step of the newest checkpoint; 0 with none.
newest_step() {
  local name newest=0
  for name in "$run"/checkpoints/step-*; do
    name=${name##*/step-}
    if [[ $name =~ ^[0-9]+$ ]] && ((10#$name > newest)); then newest=$((10#$name)); fi
  done
  echo "$newest"
}

say() { echo "supervise.sh: $(date -u +%Y-%m-%dT%H:%M:%SZ) $*" >&2; }

job='' signalled=no
pass_on() {
  signalled=yes
  if [[ -n $job ]]; then kill -USR1 "$job" 2> /dev/null; fi
}
trap pass_on TERM INT USR1

failures=0 failed_step=-1 wait_for=$pause
while true; do
  "$@" &
  job=$!
  while true; do  # a signal ends `wait` before the job ends
    wait "$job"
    status=$?
    kill -0 "$job" 2> /dev/null || break
  done
  job=''
  step=$(newest_step)
  case $status in
    0) exit 0 ;;
    2) say "the job ended with an error (exit code 2) that a restart would meet again; its newest checkpoint is of step $step"
       exit 2 ;;
    143) say "the job was stopped, at step $step"
         exit 143 ;;
  esac
  if ((step == failed_step)); then
    failures=$((failures + 1))
  else
    failures=1 failed_step=$step wait_for=$pause
  fi
  if [[ $signalled == yes ]]; then
    say "stopped while the job ended with exit code $status, at step $step"
    exit "$status"
  fi
  if ((failures >= tries)); then
    say "giving up: the job has crashed $failures times in a row (last with exit code $status) with step $step as its" \
      "newest checkpoint; look at $run/log and at what the job has printed"
    exit "$status"
  fi
  say "the job crashed (exit code $status) with step $step as its newest checkpoint; try $((failures + 1)) of $tries in $wait_for s"
  sleep "$wait_for" &
  job=$!
  wait "$job"
  job=''
  if [[ $signalled == yes ]]; then
    say "stopped between two tries, at step $step"
    exit 143
  fi
  wait_for=$((2 * wait_for > 300 ? 300 : 2 * wait_for))
done
