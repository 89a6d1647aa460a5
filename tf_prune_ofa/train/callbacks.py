"""What happens beside training: records, progress, checkpoints."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tf_prune_ofa import paths
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import write_text
from tf_prune_ofa.keras_compat import keras, tf


class MetricsLog(keras.callbacks.Callback):
    """Writes a line to metrics.jsonl, and TensorBoard events, every few steps.

    A line has each loss term (mean since the last line), the learning rate, examples/s and whatever
    `extra(step)` returns. After a resume, lines beyond the checkpoint's step are dropped first, so
    that the file reads like that of an unbroken run; only the mean in the first line after a resume
    may be over fewer steps.
    """

    def __init__(
        self,
        folder: Path,
        *,
        start_step: int,
        total_steps: int,
        batch_size: int,
        every: int,
        learning_rate: Callable[[int], float],
        extra: Callable[[int], dict[str, float]] = lambda step: {},
    ) -> None:
        super().__init__()
        self.path = folder / paths.METRICS
        self.learning_rate = learning_rate
        self.step = start_step
        self.total_steps = total_steps
        self.batch_size = batch_size
        self.every = every
        self.extra = extra
        self._sums: dict[str, float] = {}
        self._count = 0
        self._writer = tf.summary.create_file_writer(str(folder / paths.TENSORBOARD))

    def on_train_begin(self, logs: Any = None) -> None:
        """Drop lines of steps that will be run again."""
        kept = []
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                # A kill may leave half of the last line.
                if line.endswith("}") and json.loads(line)["step"] <= self.step:
                    kept.append(line + "\n")
        write_text(self.path, "".join(kept))
        self._since = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Add up the batch's losses; write a line when it is time."""
        self.step += 1
        self._count += 1
        for name, value in (logs or {}).items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
        if self.step % self.every == 0 or self.step == self.total_steps:
            self._write()

    def _write(self) -> None:
        now = time.perf_counter()
        line: dict[str, float] = {"step": self.step}
        line |= {name: value / self._count for name, value in self._sums.items()}
        line |= {
            # The rate of the step just done; steps count from 0 there.
            "learning_rate": self.learning_rate(self.step - 1),
            "examples_per_s": self._count * self.batch_size / (now - self._since),
            **self.extra(self.step),
        }
        with _explained(self.path.parent):
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            with self._writer.as_default(step=self.step):
                for name, value in line.items():
                    if name != "step":
                        tf.summary.scalar(name, value)
            self._writer.flush()
        self._sums, self._count, self._since = {}, 0, time.perf_counter()


class Progress(keras.callbacks.Callback):
    """A progress bar that names the stage."""

    def __init__(self, title: str, *, start_step: int, total_steps: int) -> None:
        super().__init__()
        self._options = {"desc": title, "initial": start_step, "total": total_steps}

    def on_train_begin(self, logs: Any = None) -> None:
        """Open the bar."""
        self._bar = tqdm(**self._options, unit="step", mininterval=1.0, dynamic_ncols=True)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Advance the bar."""
        self._bar.set_postfix(loss=f"{float((logs or {}).get('loss', np.nan)):.3f}", refresh=False)
        self._bar.update()

    def on_train_end(self, logs: Any = None) -> None:
        """Close the bar."""
        self._bar.close()


class SaveCheckpoints(keras.callbacks.Callback):
    """Saves a checkpoint every few steps, after checking that the pattern holds."""

    def __init__(
        self,
        manager: tf.train.CheckpointManager,
        *,
        start_step: int,
        every: int,
        before_save: Callable[[str], None] = lambda where: None,
    ) -> None:
        super().__init__()
        self.manager = manager
        self.step = start_step
        self.every = every
        self.before_save = before_save

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Save when it is time."""
        self.step += 1
        if self.model is not None and self.model.stop_training:
            return  # the loss is not finite, nor are the weights
        if self.step % self.every == 0:
            self.before_save(f"the checkpoint of step {self.step}")
            with _explained(Path(self.manager.directory)), _half_a_checkpoint_removed(self.manager):
                self.manager.save(checkpoint_number=self.step)


class AtStep(keras.callbacks.Callback):
    """Calls a function before training step `step` (0 is the first); after a resume, at once."""

    def __init__(self, step: int, action: Callable[[], None], *, start_step: int) -> None:
        super().__init__()
        self.at = max(step, start_step)
        self.step = start_step
        self.action = action

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Act when it is time."""
        if self.step == self.at:
            self.action()
        self.step += 1


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn a failure to write, as on a full disk, into a UserError.

    TensorFlow reports some as OutOfRangeError, which `fit` would take for the end of the data: the
    run would stop without a word.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        # TensorFlow's begin with the names of its ops, in double braces.
        reason = re.sub(r"^\{\{.*\}\} ", "", str(error).splitlines()[0])[:300]
        raise UserError(
            f"cannot write in {folder} ({reason}). Free some space there and start again: the run "
            "goes on from its last checkpoint"
        ) from error


@contextlib.contextmanager
def _half_a_checkpoint_removed(manager: tf.train.CheckpointManager) -> Iterator[None]:
    """Remove what a failed save leaves, since it takes the space that is missing."""
    try:
        yield
    except (OSError, tf.errors.OpError):
        whole = {"checkpoint", *(Path(path).name for path in manager.checkpoints)}
        folder = Path(manager.directory)
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name.partition(".")[0] in whole and not path.name.startswith("checkpoint."):
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise
