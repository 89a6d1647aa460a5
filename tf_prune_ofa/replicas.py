"""Training on several devices, in one process or in several: tf.distribute behind a few questions.

Each replica computes its rows of a global batch. Losses divide by what the whole batch holds
(`total`), so a replica's loss is its share, and the sum over replicas is the loss of one device
with the same batch; gradients are summed before anything else looks at them. So all replicas do the
same to the same weights, and masks, scores and optimizer states are equal on all of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import keras, tf

ONE, MIRRORED, WORKERS = "one", "mirrored", "workers"
WAYS = (ONE, MIRRORED, WORKERS)


@dataclass(frozen=True)
class Replicas:
    """Where a run trains.

    Attributes:
        strategy: of tf.distribute; None for one device.
        worker: number of this process.
        workers: how many processes take part.
    """

    strategy: Any = None
    worker: int = 0
    workers: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether this process writes what the run leaves."""
        return self.worker == 0

    def check_batch(self, size: int, where: str, *, parts: int = 1) -> None:
        """Check that a global batch can be shared out.

        Args:
            size: of the global batch.
            where: name of the setting.
            parts: that each replica computes its share in.

        Raises:
            UserError: not every replica, or every part, would get as many examples.
        """
        replicas = self.strategy.num_replicas_in_sync if self.strategy else 1
        if size % (replicas * parts):
            shared = f"there are {replicas} replicas" if replicas > 1 else ""
            parted = f"each is computed in {parts} parts" if parts > 1 else ""
            raise UserError(
                f"{where} is {size}, the whole batch of a step, and "
                f"{' and '.join(filter(None, (shared, parted)))}: choose a multiple of "
                f"{replicas * parts}"
            )

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Return the scope that models and optimizers are made and trained in."""
        return self.strategy.scope() if self.strategy else contextlib.nullcontext()

    def chief_says(self, value: bool) -> bool:
        """Return the chief's value in all processes; none goes on before all have come here."""
        if self.workers == 1:
            return value
        mine = tf.constant(int(value and self.is_chief), tf.int32)
        shares = self.strategy.run(lambda: mine)
        return bool(self.strategy.reduce("SUM", shares, axis=None).numpy())


def open_replicas(way: str, *, virtual: int = 0) -> Replicas:
    """Return the replicas of a run; call it before TensorFlow has done anything.

    Args:
        way: one of `WAYS`: one device; all devices of this machine; or those of all processes that
            TF_CONFIG names.
        virtual: cut this machine's processor into so many devices, to try things out.

    Raises:
        UserError: TF_CONFIG is missing or not what it should be, there is only one device, or
            virtual devices are asked for that nothing would be shared over.
    """
    if virtual and way != MIRRORED:
        raise UserError(
            f"--virtual_devices={virtual} would do nothing with --distribute={way}: it is to try "
            f"--distribute={MIRRORED}; set that, or leave it out"
        )
    if virtual:
        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration()] * virtual
        tf.config.set_logical_device_configuration(cpu, parts)
    if way == ONE:
        return Replicas()
    if way == MIRRORED:
        kind = "GPU" if tf.config.list_physical_devices("GPU") and not virtual else "CPU"
        devices = [device.name for device in tf.config.list_logical_devices(kind)]
        if len(devices) < 2:
            raise UserError(
                f"--distribute=mirrored needs several devices, and there is one {kind}; leave it "
                "out"
            )
        return Replicas(tf.distribute.MirroredStrategy(devices))
    addresses, task = _cluster()
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    return Replicas(strategy, task, len(addresses))


def _cluster() -> tuple[list[str], int]:
    """Return the addresses of the workers in TF_CONFIG, and which of them this process is."""
    form = (
        'TF_CONFIG=\'{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
        '"task": {"type": "worker", "index": 0}}\''
    )
    try:
        config = json.loads(os.environ["TF_CONFIG"])
        addresses, task = config["cluster"]["worker"], config["task"]
        index = task["index"]
        if task["type"] != "worker" or list(config["cluster"]) != ["worker"]:
            raise ValueError("all tasks are workers here, and worker 0 is the chief")
        if not 0 <= index < len(addresses):
            raise ValueError(f"there is no worker {index} among {len(addresses)}")
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(
            "--distribute=workers needs the environment variable TF_CONFIG in each process, in the "
            f"form {form}; it is missing or wrong ({type(error).__name__}: {error})"
        ) from error
    return addresses, index


# Inside of training

# What stands in for `total` while parts of a batch are traced one after another; by thread, for
# each replica is traced in its own.
_tracing = threading.local()


@contextlib.contextmanager
def totals_by(find: Callable[[tf.Tensor], tf.Tensor]) -> Iterator[None]:
    """Let `total` return what `find` returns, for losses that are computed in here."""
    _tracing.find = find
    try:
        yield
    finally:
        _tracing.find = None


def count() -> int:
    """Return how many replicas compute the step that is being traced; 1 outside of training."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def is_whole() -> bool:
    """Return whether what is being traced is a whole batch: no replica's share, and no part."""
    return count() == 1 and getattr(_tracing, "find", None) is None


def total(value: tf.Tensor) -> tf.Tensor:
    """Return the sum over the whole batch of what no gradient goes through."""
    value = tf.stop_gradient(value)
    find = getattr(_tracing, "find", None)
    if find is not None:
        return find(value)
    if count() == 1:
        return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def summed(gradients: list[tf.Tensor | None]) -> list[tf.Tensor | None]:
    """Return gradients summed over replicas; None stays None."""
    if count() == 1:
        return gradients
    known = [tf.convert_to_tensor(one) for one in gradients if one is not None]
    context = tf.distribute.get_replica_context()
    found = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, known))
    return [None if one is None else next(found) for one in gradients]


def rows_square(gradient: tf.Tensor | tf.IndexedSlices | None) -> tf.Tensor | None:
    """Return the squared norm of a table's gradient, row by row; None of any other."""
    if not isinstance(gradient, tf.IndexedSlices):
        return None
    return tf.reduce_sum(tf.square(gradient.values))


def global_norm(
    gradients: list[tf.Tensor | tf.IndexedSlices | None], squares: Sequence[tf.Tensor | None]
) -> tf.Tensor:
    """Return the norm of all gradients together, as TensorFlow gives it on one device.

    There a table's gradient is a list of rows, which count one by one where a word comes twice.

    Args:
        gradients: of the whole batch, by variable; tables' became dense where they were summed.
        squares: `rows_square` of what this replica gave to them.
    """
    pairs = list(zip(gradients, squares, strict=True))
    rows = [s for g, s in pairs if s is not None and not isinstance(g, tf.IndexedSlices)]
    others = [g for g, s in pairs if s is None or isinstance(g, tf.IndexedSlices)]
    norm = tf.linalg.global_norm(others)
    return tf.sqrt(tf.square(norm) + total(tf.add_n(rows))) if rows else norm


def datasets(
    make: Callable[[Callable[[int], Any], int, int], tf.data.Dataset],
    batch: Callable[[int], Any],
    start: int,
    end: int,
) -> tf.data.Dataset | Any:
    """Return what `fit` takes for the batches of steps `start` to `end` - 1.

    Args:
        make: makes a dataset of a function of the step and of two steps.
        batch: returns the global batch of a step; each replica gets its rows of it.
        start: first step.
        end: behind the last one.
    """
    strategy = tf.distribute.get_strategy()
    if strategy.num_replicas_in_sync == 1:
        return make(batch, start, end)

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        here = context.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * here
        latest: list[tuple[int, Any]] = []

        def share(turn: int) -> Any:
            step, replica = divmod(turn, here)
            if not latest or latest[0][0] != step:
                latest[:] = [(step, batch(step))]
            part = slice(first + replica, None, context.num_replicas_in_sync)
            return tf.nest.map_structure(lambda array: array[part], latest[0][1])

        return make(share, start * here, end * here)

    return keras.utils.experimental.DatasetCreator(of_worker)


@contextlib.contextmanager
def lost_workers_explained() -> Iterator[None]:
    """Turn what TensorFlow raises when another process is gone into a `LostWorker`."""
    try:
        yield
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
    ) as error:
        raise LostWorker(
            f"another worker is gone ({str(error).splitlines()[0][:200]}). The run goes on from "
            "its last checkpoint when all workers are started again"
        ) from error


class LostWorker(UserError):
    """Another process of the run has ended."""
