"""Run a recipe: all its stages in order, skipping what is done, resuming what was killed.

    run_recipe.py --recipe=configs/quickstart.yaml [--run_dir=DIR] [--set=stage.key=value]...
    [--export] [--until=STAGE] [--tiny] [--dry_run] [--print_recipe]
    [--push_to_hub=user/name [--create_pr]]
    [--distribute=mirrored|workers]

The same command again goes on where it stopped. It ends with a table and the path of an HTML
report, with a sentence on what came out and the lines that use it.
"""

import os
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import yaml
from absl import flags

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tools._hub import is_asked, push_export
from tf_prune_ofa.tools._main import run

_WIDTH = 80

_RECIPE = flags.DEFINE_string(
    "recipe", None, "recipe file, or the name of one in configs/, e.g. quickstart", required=True
)
_RUN_DIR = flags.DEFINE_string("run_dir", None, "folder of the run; default runs/<recipe's name>")
_SET = flags.DEFINE_multi_string(
    "set",
    [],
    "override a setting: section.key=value, e.g. prune.learning_rate=1e-4; may be repeated",
)
_TINY = flags.DEFINE_boolean(
    "tiny", False, "shrink model, data and steps: the whole path in about a minute on a CPU"
)
_EXPORT = flags.DEFINE_boolean(
    "export",
    False,
    "go on from the recipe's last model to verified INT8 files: stages quantize, export, verify "
    "and report, for recipes that have none (settings by --set, e.g. export.sequence_length=128)",
)
_PRINT = flags.DEFINE_boolean(
    "print_recipe",
    False,
    "only print the recipe with its base, its task and all --set put in, as a recipe of its own",
)
_UNTIL = flags.DEFINE_string("until", None, "stop after this stage")
_DRY_RUN = flags.DEFINE_boolean(
    "dry_run",
    False,
    "only show what would be run: steps, learning rate, sparsity and mask updates of each training "
    "stage, and its hours, memory and disk, measured on a few real steps; nothing is kept",
)


_DISTRIBUTE = flags.DEFINE_enum(
    "distribute",
    "one",
    ["one", "mirrored", "workers"],
    "train on one device, on all of this machine, or on those of all processes in TF_CONFIG",
)
_VIRTUAL = flags.DEFINE_integer(
    "virtual_devices", 0, "cut the processor into so many devices, to try --distribute=mirrored"
)
_AGAIN = "TF_PRUNE_OFA_STARTED_AGAIN"
_MOST_STARTS = 20  # of a process whose peers are lost again and again


def main(argv: list[str]) -> None:
    """Runs the recipe named by the flags."""
    # TensorFlow is slow to load: a wrong flag, or --help, should answer at once.
    from tf_prune_ofa.recipe import load_recipe, resolved_recipe, truncate

    if len(argv) > 1:
        raise UserError(f"unexpected arguments {argv[1:]}; write --recipe=FILE")
    recipe = load_recipe(_RECIPE.value, _SET.value, tiny=_TINY.value, export=_EXPORT.value)
    if _UNTIL.value:
        recipe = truncate(recipe, _UNTIL.value)
    if is_asked() and all(stage.kind != "export" for stage in recipe.stages.values()):
        raise UserError(
            "--push_to_hub is for exported files, and no stage that is to run writes any; add "
            "--export, or leave out --until"
        )
    if _DRY_RUN.value:
        from tf_prune_ofa.experiments.dry_run import as_text, dry_run

        print(as_text(dry_run(recipe)))
        return
    if _PRINT.value:
        data = resolved_recipe(_RECIPE.value, _SET.value, export=_EXPORT.value)
        data["stages"] = {name: data["stages"][name] for name in recipe.stages}
        print(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100), end="")
        return
    from tf_prune_ofa.replicas import LostWorker, open_replicas

    replicas = open_replicas(_DISTRIBUTE.value, virtual=_VIRTUAL.value)
    run_dir = Path(_RUN_DIR.value or Path("runs") / recipe.name)

    from tf_prune_ofa.stages.runner import run_recipe

    try:
        results = run_recipe(recipe, run_dir, replicas)
    except LostWorker as error:
        _start_again(error)
    for result in results.values():
        if result.kind == "export" and replicas.is_chief:
            push_export(result.folder)
        if result.kind == "report":
            _show(result.figures, result.folder)


def _show(figures: Mapping[str, Any], folder: Path) -> None:
    """Print what a run came to; one of an older version has a table only."""
    parts = [figures["table"], textwrap.fill(figures.get("in_short", ""), _WIDTH)]
    if figures.get("use"):
        parts.append("To use it:\n\n" + textwrap.indent(figures["use"], "    "))
    print("\n" + "\n\n".join(filter(None, parts)) + f"\n\nReport: {folder / figures['report']}")


def _start_again(error: Exception) -> NoReturn:
    """Begin this process anew: TensorFlow cannot take a worker back into a running one."""
    count = int(os.environ.get(_AGAIN, "0")) + 1
    if count > _MOST_STARTS:
        raise error
    print(f"{error}. This one waits for them (start {count})", file=sys.stderr, flush=True)
    os.environ[_AGAIN] = str(count)
    os.execv(sys.executable, [sys.executable, *sys.argv])


if __name__ == "__main__":
    run(main)
