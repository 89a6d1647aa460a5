"""The stages that make files of a recipe's model, for recipes that end with the model."""

from __future__ import annotations

from typing import Any

from tf_prune_ofa.config import (
    ExportSettings,
    PruneSettings,
    Recipe,
    ReconstructSettings,
    TrainSettings,
)
from tf_prune_ofa.errors import UserError

NAMES = ("quantize", "export", "verify", "report")


def file_stages(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Return stages from a recipe's last model of the task to verified INT8 files.

    They are those that the shipped recipes for files have: a short quantization-aware training
    that learns from the dense teacher, or without one from the model itself as it was.

    Args:
        recipe: without such stages.

    Returns:
        Settings as plain values, by name, to be added to the recipe's.

    Raises:
        UserError: it makes files already, or has no model of the task.
    """
    has = [name for name, one in recipe.stages.items() if isinstance(one, ExportSettings)]
    taken = [name for name in NAMES if name in recipe.stages]
    if has or taken:
        raise UserError(
            f"the recipe {recipe.name} has the stage '{(has or taken)[0]}' already; leave out "
            "--export"
        )
    models = [
        name
        for name, one in recipe.stages.items()
        if isinstance(one, TrainSettings | ReconstructSettings) and one.objective == "task"
    ]
    if not models:
        raise UserError(f"the recipe {recipe.name} ends without a model of the task to export")
    last = recipe.stages[models[-1]]
    prunes = (PruneSettings, ReconstructSettings)
    is_sparse = any(isinstance(one, prunes) for one in recipe.stages.values())
    quantize = {
        "start": models[-1],
        "teacher": getattr(last, "teacher", "") or _dense_start(recipe, models[-1]),
        "length": "100 steps",
        "batch_size": 16,
        "learning_rate": 1e-4,
        "frozen": ["embeddings/.*"],
        "loss": {"hard": 0.0, "soft": 1.0, "temperature": 2.0, "hidden": 1.0},
    }
    variants = ["dynamic_int8", "dense_int8"] + ["sparse_int8"] * is_sparse
    return {
        "quantize": quantize,
        "export": {"sequence_length": recipe.task.max_length, "variants": variants},
        "verify": {},
        "report": {},
    }


def _dense_start(recipe: Recipe, name: str) -> str:
    """Return the stage that a reconstruction, or each of several, began with."""
    stage = recipe.stages[name]
    while isinstance(stage, ReconstructSettings) and stage.start in recipe.stages:
        name = stage.start
        stage = recipe.stages[name]
    return name
