#pragma once

#include "launch/job/folder_lock.h"
#include "launch/train/trainer.h"
#include "launch/train/training_report.h"

namespace mudelta {

// The steps that `trainer` has left, with evaluations and checkpoints as configured. A step's checkpoint is written
// before its evaluation; a run that an error ends, at a point where its weights are whole, is saved first.
// With checkpoint.asynchronous, a checkpoint is written while training goes on, and waited for by the next one, by the
// last, and by a run that ends on an error. One that fails ends the run only if checkpoint.on_save_failure says so, or
// if it is the last. A bad step may send the run back to its newest checkpoint (train.on_bad_step).
// On a stop signal (launch/job/stop_signals.h) to any rank, the micro-batch that is under way, of a step or an
// evaluation, is finished, and the last whole step saved; but the first step of a job is finished, so that jobs that
// are stopped soon get on. An evaluation that was due and is not in the metrics, because the run was stopped before it,
// is made at the start. `lock`: rank 0's, of the run's folder; null on the others. If the folder has been renamed,
// checkpoints follow it. Collective over all ranks of the job, which catch stop signals. Returns the exit code: 0, or
// 143 after a signal.
int run_training_loop(Trainer& trainer, const ProcessGroup& world, const FolderLock* lock, TrainingReport& report);

}  // namespace mudelta
