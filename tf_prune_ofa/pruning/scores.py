"""How much each weight matters: what masks rank by, under names that recipes use.

A score may rest on gradients. Then it keeps statistics of them, in variables that the pruning
wrapper holds, so that they are in every checkpoint and a resumed run ranks as an unbroken one. It
sees gradients before they are masked or clipped.

Legend: w weight · g gradient of the training loss · m gradients · B weights of a Fisher block.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping

import numpy as np

from tf_prune_ofa.config import SparsitySettings
from tf_prune_ofa.errors import UserError, did_you_mean
from tf_prune_ofa.keras_compat import tf
from tf_prune_ofa.pruning.fisher import BlockFisher

Statistics = Mapping[str, tf.Variable]
Arrays = Mapping[str, np.ndarray]
Shape = tuple[int, int]


class Score:
    """Base of all scores; one object serves all layers of a run.

    Attributes:
        steps_before: training steps that it has to see before its first ranking.
        restarts: whether its statistics go back to zero after each mask update.
    """

    steps_before = 0
    restarts = False

    def __init__(self, settings: SparsitySettings, seed: int) -> None:
        """Keep what is needed of the recipe's settings and the stage's seed."""

    def statistics(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the statistics of a kernel [in, out] by name; all begin at 0."""
        return {}

    def observe(self, kernel: tf.Variable, gradient: tf.Tensor, statistics: Statistics) -> None:
        """Update the statistics of a kernel, in the graph of each training step."""

    def values(self, name: str, kernel: np.ndarray, statistics: Arrays) -> np.ndarray:
        """Return the score of each weight [in, out]; the lowest are pruned."""
        raise NotImplementedError

    def compensated(
        self, kernel: np.ndarray, kept: np.ndarray, statistics: Arrays
    ) -> np.ndarray | None:
        """Return new values of a kernel that make up for what is pruned; None changes nothing.

        Args:
            kernel: [in, out], with the values of what is now pruned.
            kept: bool [in, out], from the new mask.
            statistics: as for `values`.
        """
        return None


class Magnitude(Score):
    """|w|."""

    def values(self, name: str, kernel: np.ndarray, statistics: Arrays) -> np.ndarray:
        """Return |w|."""
        return np.abs(kernel)


class Random(Score):
    """A random order, the same at every update: what any other score has to beat."""

    def __init__(self, settings: SparsitySettings, seed: int) -> None:
        """Draw from the stage's seed."""
        self.seed = seed

    def values(self, name: str, kernel: np.ndarray, statistics: Arrays) -> np.ndarray:
        """Return numbers in [0, 1) that depend on seed and layer alone."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())]).random(kernel.shape)


class Movement(Score):
    """-sum of w · g over the run so far: weights that move away from zero stay (Sanh et al. 2020).

    There, pruned weights still move and may return; here they are gone for good (docs/decisions,
    0003), and the ranking is by exact count ("hard" movement pruning).
    """

    steps_before = 1

    def statistics(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """Return one sum a weight."""
        return {"movement": shape}

    def observe(self, kernel: tf.Variable, gradient: tf.Tensor, statistics: Statistics) -> None:
        """Add -w · g."""
        statistics["movement"].assign_sub(kernel * gradient)

    def values(self, name: str, kernel: np.ndarray, statistics: Arrays) -> np.ndarray:
        """Return the sum."""
        return statistics["movement"]


class FisherDiagonal(Score):
    """w² · E[g²] / 2: the loss that pruning w alone costs, by the empirical Fisher's diagonal.

    The mean is over the steps since the last mask update.
    """

    steps_before = 1
    restarts = True

    def statistics(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """Return one sum a weight, and the count of its terms."""
        return {"squares": shape, "steps": ()}

    def observe(self, kernel: tf.Variable, gradient: tf.Tensor, statistics: Statistics) -> None:
        """Add g²."""
        statistics["squares"].assign_add(tf.square(gradient))
        statistics["steps"].assign_add(1.0)

    def values(self, name: str, kernel: np.ndarray, statistics: Arrays) -> np.ndarray:
        """Return w² · E[g²] / 2."""
        return np.square(kernel) * statistics["squares"] / (2 * statistics["steps"])


class FisherBlock(Score):
    """w² / (2 [F⁻¹]_ii), F the empirical Fisher in blocks of B weights (oBERT, Kurtic et al. 2022).

    F = dampening · I + mean of g gᵀ over the last m training steps. The paper takes fresh gradients
    at each update (m about 1,000); here those of training are used, so m is memory: m numbers a
    weight. See `fisher.BlockFisher` for the arithmetic.
    """

    def __init__(self, settings: SparsitySettings, seed: int) -> None:
        """Take m, B and dampening from the recipe."""
        self.settings = settings.fisher
        self.steps_before = self.settings.gradients

    def statistics(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """Return the last m gradients, and how many there have been."""
        return {"gradients": (self.settings.gradients, *shape), "steps": ()}

    def observe(self, kernel: tf.Variable, gradient: tf.Tensor, statistics: Statistics) -> None:
        """Put the gradient in place of the oldest."""
        place = tf.cast(statistics["steps"], tf.int32) % self.settings.gradients
        statistics["gradients"].scatter_update(tf.IndexedSlices(gradient[None], place[None]))
        statistics["steps"].assign_add(1.0)

    def values(self, name: str, kernel: np.ndarray, statistics: Arrays) -> np.ndarray:
        """Return w² / (2 [F⁻¹]_ii)."""
        return self._fisher(statistics).scores(kernel)

    def compensated(
        self, kernel: np.ndarray, kept: np.ndarray, statistics: Arrays
    ) -> np.ndarray | None:
        """Move the kept weights of each block to where they cost least without the pruned ones."""
        if not self.settings.compensate:
            return None
        return self._fisher(statistics).compensated(kernel, kept)

    def _fisher(self, statistics: Arrays) -> BlockFisher:
        return BlockFisher(statistics["gradients"], self.settings.block, self.settings.dampening)


def find_score(name: str) -> Callable[[SparsitySettings, int], Score]:
    """Return what makes the score of a name in a recipe.

    Raises:
        UserError: there is none of that name.
    """
    if name not in _SCORES:
        raise UserError(
            f"there is no score '{name}'{did_you_mean(name, _SCORES)}; scores are "
            f"{', '.join(_SCORES)}"
        )
    return _SCORES[name]


def register_score(name: str, factory: Callable[[SparsitySettings, int], Score]) -> None:
    """Add a score that recipes can name.

    Args:
        name: new.
        factory: (sparsity settings, the stage's seed) -> `Score`; a subclass of it will do.
    """
    if name in _SCORES:
        raise UserError(f"there is a score '{name}' already; choose another name")
    _SCORES[name] = factory


_SCORES: dict[str, Callable[[SparsitySettings, int], Score]] = {
    "magnitude": Magnitude,
    "random": Random,
    "movement": Movement,
    "fisher_diagonal": FisherDiagonal,
    "fisher_block": FisherBlock,
}
