#!/usr/bin/env bash
# An example of a Slurm job: sbatch launch/scripts/slurm.sh CONFIG RUN_DIR [--set field=value]...
# It runs the `mudelta` of the PATH, or what the variable MUDELTA names: MUDELTA=build/launch/mudelta sbatch ...
# Preempted or near the end of its time, it writes a checkpoint, queues itself again and goes on from there; so it does
# when it is sent again by hand. docs/clusters.md has more.
#SBATCH --job-name=mudelta
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2     # ranks; their product divides train.global_batch
#SBATCH --cpus-per-task=16      # threads of each rank
##SBATCH --gpus-per-node=2      # with GPUs (take one # away): one a rank; and ask for train.device: CUDA
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120       # two minutes' notice before the end
#SBATCH --requeue               # may be queued again
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail

config=${1:?usage: sbatch slurm.sh CONFIG RUN_DIR [--set field=value]...}
run=${2:?usage: sbatch slurm.sh CONFIG RUN_DIR [--set field=value]...}
shift 2
program=${MUDELTA:-mudelta}
if ! command -v "$program" > /dev/null; then
  echo "slurm.sh: there is no program $program: expected mudelta in the PATH, or MUDELTA=/path/to/mudelta" >&2
  exit 2
fi

export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}

# Needs Slurm's PMIx plug-in (srun --mpi=list); docs/clusters.md has the way without it.
status=0
srun --mpi=pmix --cpus-per-task="$OMP_NUM_THREADS" --cpu-bind=cores --kill-on-bad-exit=1 \
  "$program" train "$config" --out "$run" --resume "$@" || status=$?

# Stopped by a signal, with a checkpoint written. Slurm itself queues a preempted job again only if it had to kill it.
stopped=143
if [[ $status == "$stopped" ]]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$status"
