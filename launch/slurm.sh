#!/usr/bin/env bash
# An example of a Slurm job: sbatch launch/slurm.sh CONFIG.textproto RUN_DIR [--set field=value]...
# Sent again after it was preempted or ran out of time, it goes on from the newest checkpoint.
#SBATCH --job-name=mudelta
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2     # ranks; their product divides train.global_batch
#SBATCH --cpus-per-task=16      # threads of each rank
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120       # two minutes' notice before the end
#SBATCH --requeue               # preempted: queued again
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail

config=${1:?usage: sbatch launch/slurm.sh CONFIG.textproto RUN_DIR [--set field=value]...}
run=${2:?usage: sbatch launch/slurm.sh CONFIG.textproto RUN_DIR [--set field=value]...}
shift 2

export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}

# Slurm starts the ranks itself where its MPI plug-in speaks PMIx; else leave them to mpirun, which reads the job's
# nodes from Slurm:
#   mpirun --map-by "ppr:$SLURM_NTASKS_PER_NODE:node:PE=$OMP_NUM_THREADS" build/launch/mudelta train ...
srun --mpi=pmix --cpus-per-task="$OMP_NUM_THREADS" --cpu-bind=cores --kill-on-bad-exit=1 \
  build/launch/mudelta train "$config" --out "$run" --resume "$@"
