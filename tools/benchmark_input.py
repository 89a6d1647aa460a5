"""Measure what batches by length, made ahead of their use from cached tokens, are worth.

    benchmark_input.py --recipe NAME [--set=section.key=value ...] [--stage task_teacher]
        [--steps 16] [--rounds 2]

Trains the model of one stage for a few steps with batches made in five ways that take turns, and
prints examples/s of each, the share of the time that the step waited for its batch, and how many
tokens an example has with its padding.
"""

import tempfile
from pathlib import Path

from absl import flags

from tf_prune_ofa.recipe import load_recipe
from tf_prune_ofa.text_table import text_table
from tf_prune_ofa.tools._main import run

_RECIPE = flags.DEFINE_string("recipe", None, "recipe file or name", required=True)
_SET = flags.DEFINE_multi_string("set", [], "override, e.g. task.max_length=64")
_STAGE = flags.DEFINE_string("stage", "task_teacher", "a stage that trains the task from 'model'")
_STEPS = flags.DEFINE_integer("steps", 16, "steps of each way in each round", 1)
_ROUNDS = flags.DEFINE_integer("rounds", 2, "turns of each way", 1)
_TINY = flags.DEFINE_boolean("tiny", False, "shrink model and data, as run_recipe --tiny does")


def main(argv: list[str]) -> None:
    """Prints the table."""
    del argv
    from tf_prune_ofa.experiments.input_speed import measure

    recipe = load_recipe(_RECIPE.value, _SET.value, tiny=_TINY.value)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(recipe, _STAGE.value, Path(folder), steps=_STEPS.value, rounds=_ROUNDS.value)
    cells = [
        [
            row.way,
            f"{row.examples_per_s:.1f}",
            f"{100 * row.input_share:.1f} %",
            f"{row.tokens:.1f}",
        ]
        for row in rows
    ]
    print(text_table(["batches", "examples/s", "waiting", "tokens an example"], cells))


if __name__ == "__main__":
    run(main)
