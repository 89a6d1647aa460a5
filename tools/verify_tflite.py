"""Verify the exported files of a run: integers, zeros, logits and labels, worst layers first.

    verify_tflite.py --recipe=configs/quickstart.yaml [--run_dir=DIR] [--examples=N]

Compares the integers in each file with the masks, and the file's logits with Keras on the held-out
examples. The recipe's stages up to the export must have been run; a file that was changed since, or
replaced by another one of the same name, is checked as it is now.
"""

from pathlib import Path

from absl import flags

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.text_table import text_table
from tf_prune_ofa.tools._main import run

_RECIPE = flags.DEFINE_string("recipe", None, "recipe file of the run", required=True)
_RUN_DIR = flags.DEFINE_string("run_dir", None, "folder of the run; default runs/<recipe's name>")
_SET = flags.DEFINE_multi_string("set", [], "the overrides that the recipe was run with")
_TINY = flags.DEFINE_boolean("tiny", False, "the run was a tiny one")
_EXAMPLES = flags.DEFINE_integer("examples", 0, "held-out examples to compare; 0 means all")
_COLUMNS = (
    "examples",
    "accuracy",
    "keras_accuracy",
    "label_agreement",
    "max_logit_difference",
    "max_logit_difference_steps",
    "zeros_in_pruned_layers",
)
_LAYERS = flags.DEFINE_integer("layers", 10, "how many of the worst layers to show")


def main(argv: list[str]) -> None:
    """Verifies the run named by the flags."""
    if len(argv) > 1:
        raise UserError(f"unexpected arguments {argv[1:]}; write --recipe=FILE")
    from tf_prune_ofa.recipe import load_recipe
    from tf_prune_ofa.stages.runner import open_run
    from tf_prune_ofa.stages.verify import verify

    recipe = load_recipe(_RECIPE.value, _SET.value, tiny=_TINY.value)
    context = open_run(recipe, Path(_RUN_DIR.value or Path("runs") / recipe.name), last="export")
    checked = verify(context, "export", examples_limit=_EXAMPLES.value, threads=2)
    columns = ["file", *_COLUMNS]
    rows = [[_cell(entry.get(column)) for column in columns] for entry in checked["files"]]
    print(text_table([column.replace("_", " ") for column in columns], rows))
    worst = checked["layers"][: _LAYERS.value]
    print("\nLargest differences from Keras, in INT8 steps of each layer's output, worst first")
    layer_rows = [
        [row["layer"], _cell(row["mean_steps"]), _cell(row["max_steps"])] for row in worst
    ]
    print(text_table(["layer", "mean", "largest"], layer_rows))


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    run(main)
