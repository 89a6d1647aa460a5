"""Score against latency and file size of several runs of one task: a table, JSON and two plots.

    frontier.py --dense=RUN_DIR [--delegate] [--threads=N] [--device=JSON] [--earlier=JSON]
        [--name=NAME] [--out=DIR] RUN_DIR...

Each RUN_DIR is a recipe's run with its export and verify stages done; the run named by --dense is
one without pruning, whose dense INT8 file is the reference. Other runs without pruning, of fewer
layers, say, are rivals by their folders' names. A file that another one dominates, as good and
faster, or better and as fast, is hollow and its table names the other. All files are measured in
turns, here or by benchmark_device.py: --device names the JSON that it wrote. --earlier adds points
of runs that are gone, as they were measured then.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from tf_prune_ofa.bench.settings import BenchSettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import write_bytes
from tf_prune_ofa.json_files import write_json
from tf_prune_ofa.text_table import megabytes, text_table
from tf_prune_ofa.tools._main import run

_DENSE = flags.DEFINE_string("dense", None, "run without pruning: the reference", required=True)
_OUT = flags.DEFINE_string("out", "runs/frontier", "folder of the JSON and the plots")
_VARIANTS = flags.DEFINE_list(
    "variants",
    ["sparse_int8", "block_sparse_int8", "dense_int4"],
    "exported files of the runs; of those without pruning dense_int8, too",
)
_DELEGATE = flags.DEFINE_boolean("delegate", False, "also run sparse files with our delegate")
_DEVICE = flags.DEFINE_string("device", None, "take times from this result of a device")
_EARLIER = flags.DEFINE_string("earlier", None, "a result of this tool, of runs that are gone")
_NAME = flags.DEFINE_string("name", None, "of the JSON and the plots; by default the task's")
_THREADS = flags.DEFINE_integer("threads", 1, "threads of the runtime")
_RUNS = flags.DEFINE_integer("runs", 200, "counted runs of each file")
_SECONDS = flags.DEFINE_float("seconds", 120.0, "stop taking turns after so long")
_MARGIN = flags.DEFINE_float("margin", 0.01, "how far below the teacher a good file may score")


def main(argv: list[str]) -> None:
    """Measures the files of the runs named in `argv`, and prints and draws the frontier."""
    if len(argv) < 2:
        raise UserError("name at least one run folder beside --dense")
    folders = [Path(_DENSE.value), *map(Path, argv[1:])]
    settings = BenchSettings(threads=_THREADS.value, runs=_RUNS.value, seconds=_SECONDS.value)
    device = Path(_DEVICE.value) if _DEVICE.value else None
    from tf_prune_ofa.report.frontier import best_within, earlier_points, file_stem
    from tf_prune_ofa.report.frontier_plot import plots

    result = measure(folders, _VARIANTS.value, settings, delegate=_DELEGATE.value, device=device)
    if _EARLIER.value:
        result["points"] += earlier_points(Path(_EARLIER.value), result)
    print(table(result))
    best = best_within(result["points"], result["teacher_score"], _MARGIN.value)
    if best is None:
        print(f"\nNo file scores within {_MARGIN.value} of the teacher.")
    else:
        print(
            f"\nFastest within {_MARGIN.value} of the teacher ({result['teacher_score']:.4f}): "
            f"{best['series']} at {best['sparsity']:.0%}, {best['score']:.4f}, "
            f"{1 / best['ratio']:.2f} times as fast as the dense INT8 file."
        )
    out = Path(_OUT.value)
    name = _NAME.value or file_stem(result["task"])
    target = out / f"frontier_{name}.json"
    write_json(target, result)
    for plot in plots(result, name):
        write_bytes(out / f"{plot.key}.png", plot.png)
    print(f"\nWritten to {target}, plots beside it.")


def measure(
    folders: list[Path],
    variants: list[str],
    settings: BenchSettings,
    *,
    delegate: bool,
    device: Path | None = None,
) -> dict[str, Any]:
    """Return the frontier as plain JSON values; the first folder is the dense run."""
    from tf_prune_ofa.bench.host import benchmark_rows
    from tf_prune_ofa.bench.rows import Row
    from tf_prune_ofa.report import frontier
    from tf_prune_ofa.report.collect import collect_run
    from tf_prune_ofa.report.device_times import read_times
    from tf_prune_ofa.report.rows import score_name

    runs = [collect_run(folder, name=folder.resolve().name) for folder in folders]
    options = {"delegate": "auto"} if delegate else None
    [reference] = frontier.candidates(runs[0], folders[0], variants=["dense_int8"])
    chosen = [reference]
    for one, folder in zip(runs[1:], folders[1:], strict=True):
        is_dense = frontier.pattern_of(one) == frontier.DENSE
        own = ["dense_int8", *variants] if is_dense else variants
        chosen += frontier.candidates(one, folder, variants=own, delegate=options)
    rows = [
        Row(one.path, options=one.options, label=f"{place} {one.series} {one.variant}")
        for place, one in enumerate(chosen)
    ]
    if device is None:
        measured = benchmark_rows(rows, settings, reference=0)
    else:
        measured = read_times(device, chosen)
    task = runs[0].stages[0].config.get("task") or {}
    return {
        "task": task.get("source", "task"),
        "score_name": score_name(runs[0]),
        "teacher_score": frontier.teacher_score(runs),
        "runtime": measured["runtime"],
        "machine": measured["machine"],
        "warnings": measured["warnings"],
        "points": frontier.points(chosen, measured),
    }


def table(result: dict[str, Any]) -> str:
    """Return the frontier as a table, fastest first."""
    from tf_prune_ofa.report.frontier import dominator

    rows = [
        [
            point["series"],
            point["variant"],
            f"{100 * point['sparsity']:.0f} %",
            f"{point['score']:.4f}",
            f"{100 * (point['score'] - result['teacher_score']):+.1f}",
            f"{point['ratio']:.2f}",
            "" if point["latency_ms"] is None else f"{point['latency_ms']:.2f}",
            megabytes(point["size_bytes"]),
            "" if point["gzip_bytes"] is None else megabytes(point["gzip_bytes"]),
            _name(dominator(point, result["points"])),
        ]
        for point in sorted(result["points"], key=lambda point: point["ratio"])
    ]
    heads = ["zeros", "file", "sparsity", result["score_name"], "to teacher, points",
             "ratio", "latency ms", "MB", "MB gzip", "dominated by"]  # fmt: skip
    return text_table(heads, rows, left=(0, 1, len(heads) - 1))


def _name(point: Mapping[str, Any] | None) -> str:
    return "" if point is None else f"{point['series']}, {point['variant']}"


if __name__ == "__main__":
    run(main)
