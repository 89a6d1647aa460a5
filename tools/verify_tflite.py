"""Verify the exported files of a run: every number, what they compute, and whether they pass.

    verify_tflite.py --recipe=configs/quickstart.yaml [--run_dir=DIR] [--stage=NAME] [--examples=N]

Compares all that is in each file with the model and the manifest, and its outputs with Keras on the
held-out examples. The recipe's stages up to the export must have been run; a file that was changed
since, or replaced by another one of the same name, is checked as it is now. Exits with 1 if a file
does not pass.
"""

from pathlib import Path
from typing import Any

from absl import flags

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.text_table import text_table
from tf_prune_ofa.tools._main import run

_RECIPE = flags.DEFINE_string("recipe", None, "recipe file of the run", required=True)
_RUN_DIR = flags.DEFINE_string("run_dir", None, "folder of the run; default runs/<recipe's name>")
_SET = flags.DEFINE_multi_string("set", [], "the overrides that the recipe was run with")
_TINY = flags.DEFINE_boolean("tiny", False, "the run was a tiny one")
_STAGE = flags.DEFINE_string("stage", None, "the export stage; default the recipe's last one")
_EXAMPLES = flags.DEFINE_integer("examples", 0, "held-out examples to compare; 0 means all")
_LAYERS = flags.DEFINE_integer("layers", 10, "how many of the worst layers to show")
# Behind the scores, which depend on the task.
_COLUMNS = (
    "label_agreement",
    "relative_difference",
    "max_logit_difference",
    "max_logit_difference_steps",
    "equals_dense_int8",
    "zeros_in_pruned_layers",
)
_NO_FIGURES = ("file", "variant", "problems", "verdict", "limits", "examples", *_COLUMNS)


def main(argv: list[str]) -> None:
    """Verifies the run named by the flags."""
    if len(argv) > 1:
        raise UserError(f"unexpected arguments {argv[1:]}; write --recipe=FILE")
    from tf_prune_ofa.recipe import load_recipe
    from tf_prune_ofa.stages.runner import open_run
    from tf_prune_ofa.stages.verify import require_pass, verify

    recipe = load_recipe(_RECIPE.value, _SET.value, tiny=_TINY.value)
    exports = [name for name, stage in recipe.stages.items() if stage.kind == "export"]
    stage = _STAGE.value or next(reversed(exports), "")
    if stage not in exports:
        raise UserError(
            f"the recipe has no export stage {stage!r}; it has {', '.join(exports) or 'none'}"
        )
    context = open_run(recipe, Path(_RUN_DIR.value or Path("runs") / recipe.name), last=stage)
    checked = verify(context, stage, examples_limit=_EXAMPLES.value, threads=2)
    _show(checked)
    require_pass(checked)


def _show(checked: dict[str, Any]) -> None:
    entries = checked["files"]
    scores = [key for entry in entries for key in entry if key not in _NO_FIGURES]
    shown = [c for c in _COLUMNS if any(c in entry for entry in entries)]
    columns = ["file", "verdict", "examples", *dict.fromkeys(scores), *shown]
    rows = [[_cell(entry.get(column)) for column in columns] for entry in entries]
    print(text_table([column.replace("_", " ") for column in columns], rows))
    worst = checked["layers"][: _LAYERS.value]
    if worst:
        print("\nLargest differences from Keras, in INT8 steps of each layer's output, worst first")
        layer_rows = [
            [row["layer"], _cell(row["mean_steps"]), _cell(row["max_steps"])] for row in worst
        ]
        print(text_table(["layer", "mean", "largest"], layer_rows))


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    run(main)
