"""The card of an export, written by the stage itself and again by each one behind it."""

from __future__ import annotations

from dataclasses import replace

from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.plain_values import to_dict
from tf_prune_ofa.report.card import write_card
from tf_prune_ofa.report.collect import Run, collect_run


def run_so_far(context: Context) -> Run:
    """Return the run with all that the stages before, and this one so far, have written."""
    folders = {name: result.folder for name, result in context.results.items()}
    folders[context.name] = context.folder
    recipe = context.recipe
    return collect_run(folders, name=recipe.name, about=to_dict(recipe.about))


def refresh_cards(context: Context) -> None:
    """Write README.md into the folders of the exports so far, each from what is about it."""
    run, told = run_so_far(context), context.recipe.stages
    about = {stage.name: getattr(told[stage.name], "start", "") for stage in run.stages}
    # Manifests of older versions say too little.
    manifests = {stage.name: stage.details.get("manifest") for stage in run.stages}
    exports = {
        name for name, one in manifests.items() if isinstance(one, dict) and "outputs" in one
    }
    for export in run.stages:
        if export.name in exports:
            others = exports - {export.name}
            own = [s for s in run.stages if s.name not in others and about[s.name] not in others]
            write_card(replace(run, stages=tuple(own)), export.folder)
