"""The results of a benchmark as text: ratios first, and never without the circumstances."""

from collections.abc import Sequence
from typing import Any

from tf_prune_ofa.text_table import megabytes, text_table

FILE_HEADER = (
    "file",
    "ratio",
    "95 % interval",
    "median ms",
    "p10",
    "p90",
    "p99",
    "min",
    "CPU ms",
    "first of turn",
    "load ms",
    "peak MB",
    "file MB",
    "delegated",
)

COLUMN_MEANINGS = (
    ("ratio", "median latency divided by that of the reference: 0.50 is twice as fast"),
    ("95 % interval", "of the ratio, by bootstrap over rounds"),
    (
        "median ms",
        "latency of one run; p10, p90, p99, min: percentiles and fastest of the same runs",
    ),
    (
        "CPU ms",
        "median processor time of one run, all threads together; suffers less on a busy machine",
    ),
    ("first of turn", "median ms of the runs right after another file ran; not in the latency"),
    ("load ms", "opening the file in a fresh process, with the file in the page cache"),
    ("peak MB", "most memory that loading and a first run added to a fresh process"),
    (
        "delegated",
        "operators that XNNPACK runs / operators in the file, in how many partitions; + those that "
        "the sparse delegate runs",
    ),
)


def facts(result: dict[str, Any]) -> list[tuple[str, str]]:
    """The circumstances of a benchmark as (what, value)."""
    machine, runtime, settings = result["machine"], result["runtime"], result["settings"]
    load = machine["load_average"]
    rounds = min(rounds_of(file, settings) for file in result["files"])
    return [
        ("runtime", f"{runtime['name']} {runtime['version']}"),
        ("threads", str(runtime["threads"])),
        ("XNNPACK", "on" if runtime["xnnpack"] else "off"),
        ("processor", machine["cpu"]),
        ("INT8 instructions", ", ".join(machine["cpu_features"]) or "none that are known"),
        ("usable cores", str(machine["usable_cores"])),
        ("frequency governor", machine["governor"] or "not readable here"),
        ("load average at the start", "not readable here" if load is None else f"{load[0]:.2f}"),
        ("system", f"{machine['system']}, {machine['architecture']}"),
        (
            "method",
            f"{settings['warmup']} warm-up runs, then {rounds} rounds over all files in turns, "
            f"{settings['burst']} counted runs in each turn; seed {settings['seed']}",
        ),
        ("inputs", "; ".join(sorted({_described_inputs(file) for file in result["files"]}))),
        ("measured", result["created"]),
    ]


def rounds_of(file: dict[str, Any], settings: dict[str, Any]) -> int:
    """Rounds that a file was really run for; the time limit may have cut them."""
    return file["latency_ms"]["runs"] // settings["burst"]


def file_rows(result: dict[str, Any]) -> list[list[str]]:
    """Cells under `FILE_HEADER`, one row for each file."""
    return [_row(file, file["file"] == result["reference"]) for file in result["files"]]


def describe(result: dict[str, Any]) -> str:
    """The whole result as text for the console."""
    parts = [
        text_table(FILE_HEADER, file_rows(result)),
        _pairs(COLUMN_MEANINGS),
        _pairs(facts(result)),
        *_differences(result["files"]),
        *(f"Warning: {warning}" for warning in result["warnings"]),
    ]
    return "\n\n".join(parts)


def _differences(files: Sequence[dict[str, Any]]) -> list[str]:
    """One paragraph on the rows whose outputs were compared with another's, or nothing."""
    compared = [
        f"{file['file']} and {file['difference']['to']}: outputs "
        + (
            f"differ by at most {file['difference']['max_abs']:.2g}"
            if file["difference"]["max_abs"]
            else "equal"
        )
        for file in files
        if file.get("difference")  # not compared by older versions
    ]
    return ["\n".join(compared)] if compared else []


def _pairs(pairs: Sequence[tuple[str, str]]) -> str:
    width = max(len(what) for what, _ in pairs)
    return "\n".join(f"{what.ljust(width)}  {value}" for what, value in pairs)


def _row(file: dict[str, Any], is_reference: bool) -> list[str]:
    ratio, latency, cpu = file["ratio"], file["latency_ms"], file.get("cpu_ms")
    interval = f"{ratio['low']:.3f}-{ratio['high']:.3f}" if ratio else "-"
    return [
        file["file"],
        "-" if ratio is None else f"{ratio['ratio']:.3f}",
        "reference" if is_reference else interval,
        *(f"{latency[key]:.3f}" for key in ("median", "p10", "p90", "p99", "min")),
        "-" if cpu is None else f"{cpu:.3f}",  # not measured by older versions
        f"{file['first_of_turn_ms']:.3f}",
        "-" if file["load_ms"] is None else f"{file['load_ms']:.1f}",
        megabytes(file["peak_memory_bytes"]),
        megabytes(file["size_bytes"]),
        _delegation_text(file["delegation"]),
    ]


def _delegation_text(delegation: dict[str, int] | None) -> str:
    if delegation is None:
        return "-"
    text = f"{delegation['delegated']}/{delegation['operators']} in {delegation['partitions']}"
    if "sparse" in delegation:
        text += f" + {delegation['sparse']} in {delegation['sparse_partitions']} sparse"
    return text


def _described_inputs(file: dict[str, Any]) -> str:
    return ", ".join(f"{port['name']} {port['dtype']} {port['shape']}" for port in file["inputs"])
