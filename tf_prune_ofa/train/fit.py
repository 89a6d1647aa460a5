"""One training run that can be killed at any moment and resumed.

Order of what is loaded: the run's own checkpoint if there is one, else what the caller has put into
the model. A checkpoint holds the student with its masks, ranges and dropout counters, the optimizer
with its moments, and the step; batches are a pure function of (seed, step). That is all the state
there is, so a resumed run ends with the same weights as an unbroken one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tf_prune_ofa import paths
from tf_prune_ofa.distill.distiller import Distiller
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import remove_leftovers, require_writable_dir
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.replicas import Replicas, lost_workers_explained
from tf_prune_ofa.schedules import LearningRateSchedule
from tf_prune_ofa.train.callbacks import MetricsLog, Progress, SaveCheckpoints
from tf_prune_ofa.train.optimizer import adamw

METRICS_PER_RUN = 100  # lines of metrics.jsonl that a long run writes


@dataclass(frozen=True)
class Run:
    """How long to train, how fast, and where the records go."""

    title: str
    folder: Path
    schedule: LearningRateSchedule
    batch_size: int
    weight_decay: float
    checkpoint_every: int
    checkpoints: Path | None = None  # of the chief, where the run is another process's too
    replicas: Replicas = field(default_factory=Replicas)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.schedule.total


def fit(
    distiller: Distiller,
    batches: Callable[[int], tf.data.Dataset],
    run: Run,
    *,
    callbacks: Callable[[int], Sequence[keras.callbacks.Callback]] = lambda start: (),
    extra_metrics: Callable[[int], dict[str, float]] = lambda step: {},
    before_save: Callable[[str], None] = lambda where: None,
) -> None:
    """Train to the end of the run, from its last checkpoint if it was killed before.

    Args:
        distiller: the model; compiled here.
        batches: returns the dataset of (inputs, targets) from a step to the end of the run.
        run: length, rate, records.
        callbacks: further callbacks, given the step that training starts at.
        extra_metrics: further values for a line of metrics.jsonl, given the step.
        before_save: called with a description before each checkpoint; raises if something is wrong.

    Raises:
        UserError: the checkpoint is damaged, the folder is not writable, or the loss is not finite.
    """
    require_writable_dir(run.folder)
    remove_leftovers(run.folder)
    is_chief = run.replicas.is_chief
    optimizer = adamw(run.schedule, distiller.trained_variables, weight_decay=run.weight_decay)
    distiller.compile(optimizer=optimizer)
    checkpoint = tf.train.Checkpoint(student=distiller.student, optimizer=optimizer)

    def manager(folder: Path) -> tf.train.CheckpointManager:
        return tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=2)

    own = manager(run.folder / paths.CHECKPOINT)
    start = restore(checkpoint, manager(run.checkpoints) if run.checkpoints else own)
    if start < run.total_steps:
        every = max(1, run.total_steps // METRICS_PER_RUN)
        log = MetricsLog(
            run.folder,
            start_step=start,
            total_steps=run.total_steps,
            batch_size=run.batch_size,
            every=every,
            learning_rate=run.schedule.rate,
            extra=extra_metrics,
        )
        # In every process, for variables are gathered from all of them; the chief's are read.
        saves = SaveCheckpoints(
            own, start_step=start, every=run.checkpoint_every, before_save=before_save
        )
        progress = Progress(run.title, start_step=start, total_steps=run.total_steps)
        with lost_workers_explained():
            distiller.fit(
                batches(start),
                steps_per_epoch=run.total_steps - start,
                verbose=0,
                callbacks=[
                    *callbacks(start),
                    keras.callbacks.TerminateOnNaN(),
                    *((log, saves, progress) if is_chief else (saves,)),
                ],
            )
        # Only TerminateOnNaN stops a run; in the last step, too, where no step is missing.
        if distiller.stop_training:
            raise UserError(
                f"training of '{run.title}' stopped at step {int(optimizer.iterations.numpy())} of "
                f"{run.total_steps}: the loss is no longer a finite number. Lower the learning "
                f"rate and delete {run.folder / paths.CHECKPOINT}"
            )
        if int(optimizer.iterations.numpy()) < run.total_steps:
            raise RuntimeError(f"the batches of '{run.title}' ended before the run")
    before_save("the trained model")


def restore(checkpoint: tf.train.Checkpoint, manager: tf.train.CheckpointManager) -> int:
    """Restore the newest checkpoint; return its step, or 0 if there is none.

    Raises:
        UserError: the checkpoint is damaged or belongs to another model.
    """
    newest = manager.latest_checkpoint
    if newest is None:
        return 0
    try:
        checkpoint.restore(newest).assert_existing_objects_matched()
    # IndexError is what TensorFlow makes of a file that is cut short.
    except (tf.errors.OpError, IndexError, ValueError, AssertionError) as error:
        reason = str(error).splitlines()[0][:300]
        raise UserError(
            f"the checkpoint {newest} cannot be read ({reason}). Delete the folder "
            f"{Path(newest).parent} to start this stage from its inputs"
        ) from error
    return int(checkpoint.optimizer.iterations.numpy())


def remove_checkpoints(folder: Path) -> None:
    """Delete a finished run's checkpoints; its result holds the weights."""
    shutil.rmtree(folder / paths.CHECKPOINT, ignore_errors=True)
