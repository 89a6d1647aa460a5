"""The model card beside exported files."""

from __future__ import annotations

from dataclasses import replace

from tf_prune_ofa import paths
from tf_prune_ofa.api.results import Files
from tf_prune_ofa.json_files import read_json
from tf_prune_ofa.report.card import write_card
from tf_prune_ofa.report.collect import Stage, collect_run

_BEHIND = {"verify": paths.VERIFICATION, "bench": paths.BENCHMARK}


def write_files_card(files: Files) -> None:
    """Write README.md beside files: from the stages that led to them, and what lies there."""
    folders = {name: result.folder for name, result in files.chain.results.items()}
    run = collect_run(folders, name=files.out_dir.resolve().name)
    behind = {
        key: read_json(files.out_dir / name, remedy="delete it")
        for key, name in _BEHIND.items()
        if (files.out_dir / name).is_file()
    }
    stages = (*run.stages, Stage("checks", "checks", details=behind))
    write_card(replace(run, stages=stages), files.out_dir)
