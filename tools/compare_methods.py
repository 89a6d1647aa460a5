"""Compare methods: run a plan of methods x tasks x sparsities x seeds, and write its table.

    compare_methods.py --plan=configs/comparisons/methods.yaml --out=DIR
    [--markdown=docs/results.md] [--only=PATTERN]... [--seeds_at_once=2] [--list] [--table] [--tiny]

The same command again skips what is done, resumes what was killed and tries again what failed.
Stages that recipes have in common are run once.
"""

from dataclasses import asdict
from pathlib import Path

from absl import flags

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tools._main import run

_PLAN = flags.DEFINE_string("plan", None, "plan file", required=True)
_OUT = flags.DEFINE_string("out", None, "folder for runs, logs, outcomes, results.json and .md")
_MARKDOWN = flags.DEFINE_string(
    "markdown", None, "also write the table into this file, between markers with the plan's name"
)
_ONLY = flags.DEFINE_multi_string(
    "only", [], "run only what is named like this, e.g. 'gmp-*-0.9-*'; may be repeated"
)
_SEEDS_AT_ONCE = flags.DEFINE_integer(
    "seeds_at_once", 1, "run so many seeds side by side, each with its share of the cores", 1
)
_LIST = flags.DEFINE_boolean("list", False, "only list the names of the runs")
_TABLE = flags.DEFINE_boolean("table", False, "only write the table of what is done")
_TINY = flags.DEFINE_boolean("tiny", False, "shrink model, data and steps, to try the plan")


def main(argv: list[str]) -> None:
    """Runs the plan named by the flags."""
    from tf_prune_ofa.experiments.comparison import (
        experiments,
        known_outcomes,
        load_plan,
        run_experiments,
        selected,
    )
    from tf_prune_ofa.experiments.comparison_table import comparison_table, write_between_markers
    from tf_prune_ofa.files import write_text
    from tf_prune_ofa.json_files import write_json

    if len(argv) > 1:
        raise UserError(f"unexpected arguments {argv[1:]}; write --plan=FILE")
    path = Path(_PLAN.value)
    every = experiments(load_plan(path), path.parent, tiny=_TINY.value)
    chosen = selected(every, _ONLY.value)
    if _LIST.value:
        print("\n".join(one.name for one in chosen))
        return
    if not _OUT.value:
        raise UserError("name a folder for the results with --out=DIR")
    out = Path(_OUT.value)

    def write_table(_: object = None) -> None:
        outcomes = known_outcomes(every, out)
        table = comparison_table(outcomes)
        write_json(out / "results.json", [asdict(outcome) for outcome in outcomes])
        write_text(out / "results.md", table)
        if _MARKDOWN.value:
            write_between_markers(Path(_MARKDOWN.value), path.stem, table)

    if not _TABLE.value:
        run_experiments(chosen, out, seeds_at_once=_SEEDS_AT_ONCE.value, after=write_table)
    write_table()
    print(f"\n{(out / 'results.md').read_text(encoding='utf-8')}\nTable: {out / 'results.md'}")


if __name__ == "__main__":
    run(main)
