"""What a stage gets and what it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa import paths
from tf_prune_ofa.config import Recipe
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs
from tf_prune_ofa.pruning.lock import LEAST_ZEROS, load_masks
from tf_prune_ofa.replicas import Replicas

_NEAR = 1e-9


@dataclass(frozen=True)
class StageResult:
    """A finished stage: where its files are, and its figures (plain JSON values).

    `files` are the SHA-256 of what it left, by path in its folder; of older runs there are none.
    """

    name: str
    kind: str
    folder: Path
    digest: str
    figures: dict[str, Any]
    seconds: float
    start: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def model_folder(self) -> Path:
        """Hugging Face folder of the trained model."""
        return self.folder / paths.MODEL


@dataclass(frozen=True)
class Context:
    """Where a stage runs: its name and folder, the recipe, and the results of the stages before."""

    name: str
    folder: Path
    recipe: Recipe
    results: dict[str, StageResult]
    recipe_inputs: RecipeInputs
    replicas: Replicas = field(default_factory=Replicas)
    checkpoints: Path | None = None  # the chief's, in another process than the chief

    def masks_file(self, start: str) -> Path | None:
        """Return the mask file of the stage that pruned the weights of `start`, or None.

        Follows the chain of starts back, since masks are written once and never copied.

        Raises:
            UserError: a stage on the way says that it pruned, and its masks are gone, or are not
                those that it tells of.
        """
        pruned = ""
        while start in self.results:
            stage = self.results[start]
            path = stage.folder / paths.MASKS
            if path.exists():
                _check_masks(path, stage)
                return path
            if paths.MASKS in stage.files or stage.figures.get("sparsity", 0) > 0:
                pruned = start
            start = stage.start
        if pruned:
            stage = self.results[pruned]
            raise UserError(
                f"stage '{pruned}' found {stage.figures.get('sparsity', 0):.1%} of the weights of "
                f"its pruned layers to be zero, but the {paths.MASKS} that names them is gone "
                f"({stage.folder}, or a stage before it). Without it they would be trained as if "
                "nothing was pruned. Put the file back, or delete the folder of the stage that "
                "pruned, to run it again."
            )
        return None


def _check_masks(path: Path, stage: StageResult) -> None:
    """Compare masks with the zeros that the stage counted when it wrote them, layer by layer."""
    masks, told = load_masks(path), stage.figures.get("layers")
    if not isinstance(told, dict):
        return
    problems = [f"{name} is not in it" for name in told if name not in masks]
    problems += [f"{name} was not pruned" for name in masks if name not in told]
    for name, mask in masks.items():
        share = 1.0 - float(np.mean(mask))
        # A weight that was kept may be zero by chance.
        if name in told and not share <= told[name] + _NEAR <= share + LEAST_ZEROS:
            problems.append(f"{name} has {share:.1%} of its weights pruned, not {told[name]:.1%}")
    if problems:
        raise UserError(
            f"{path} is not the file that stage '{stage.name}' wrote: {'; '.join(problems[:5])}. "
            "Put that file back, or delete the stage's folder to run it again."
        )
