"""What a stage gets and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_prune_ofa.config import Recipe
from tf_prune_ofa.jobs.workspace import Workspace

MODEL_FOLDER = "model"
MASKS_FILE = "masks.npz"
RANGES_FILE = "ranges.json"
FACTORS_FILE = "channel_factors.json"
RESULT_FILE = "result.json"


@dataclass(frozen=True)
class StageResult:
    """A finished stage: where its files are, and its figures (plain JSON values)."""

    name: str
    kind: str
    folder: Path
    digest: str
    figures: dict[str, Any]
    seconds: float
    start: str = ""

    @property
    def model_folder(self) -> Path:
        """Hugging Face folder of the trained model."""
        return self.folder / MODEL_FOLDER


@dataclass(frozen=True)
class Context:
    """Where a stage runs: its name and folder, the recipe, and the results of the stages before."""

    name: str
    folder: Path
    recipe: Recipe
    results: dict[str, StageResult]
    workspace: Workspace

    def masks_file(self, start: str) -> Path | None:
        """Return the mask file of the stage that pruned the weights of `start`, or None.

        Follows the chain of starts back, since masks are written once and never copied.
        """
        while start in self.results:
            path = self.results[start].folder / MASKS_FILE
            if path.exists():
                return path
            start = self.results[start].start
        return None
