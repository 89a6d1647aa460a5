"""The rows and columns of the final table, for the console and for the page."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tf_prune_ofa.bench.rows import DELEGATE_SUFFIX
from tf_prune_ofa.report.collect import Run
from tf_prune_ofa.tasks.scores import SCORES
from tf_prune_ofa.text_table import megabytes
from tf_prune_ofa.variants import VARIANTS


@dataclass(frozen=True)
class ModelRow:
    """One model or file; None where something was not measured.

    Attributes:
        model: what a reader calls it.
        variant: the exported variant, or "" for a Keras model without a file.
        sparsity: share of zeros over all pruned kernels, in [0, 1], counted in what the row is of.
        score: on held-out examples; `score_name` says which one.
        size_bytes: of the file.
        gzip_bytes: of the file after gzip.
        parts: bytes of the file's `words`, `encoder` and `rest`.
        latency_ms: `median`, `p10`, `p90` and more, as the benchmark wrote them.
        ratio: `ratio`, `low`, `high` of the latency to the reference's.
    """

    model: str
    variant: str = ""
    sparsity: float | None = None
    score: float | None = None
    size_bytes: int | None = None
    gzip_bytes: int | None = None
    parts: dict[str, int] | None = None
    latency_ms: dict[str, float] | None = None
    ratio: dict[str, float] | None = None


_PARTS = (
    "what the size is made of: the table of words + weights and biases of the encoder + the rest, "
    "such as the list of word pieces"
)


@dataclass(frozen=True)
class Column:
    """A column of the table: its title, what it means, and how a row's cell is written."""

    title: str
    meaning: str
    cell: Callable[[ModelRow], str]


def score_name(run: Run) -> str:
    """Which of `tasks.scores.SCORES` the run is judged by; `accuracy` while nothing was judged."""
    figures = [stage.figures for stage in run.stages]
    stated = [f["main_metric"] for f in figures if f.get("main_metric") in SCORES]
    if stated:
        return stated[-1]
    return next((name for name in SCORES if any(name in f for f in figures)), "accuracy")


def model_rows(run: Run) -> list[ModelRow]:
    """One row for the dense teacher and for the sparse float model, then one for each file."""
    score, rows = score_name(run), []
    for label, kinds in (
        ("dense teacher (Keras)", ("finetune",)),
        ("sparse model, float (Keras)", ("prune", "reconstruct", "transfer")),
    ):
        judged = [stage.figures for stage in run.of_kind(*kinds) if score in stage.figures]
        if judged:
            last = judged[-1]
            zeros = last.get("sparsity", last.get("zeros_in_kernels"))
            rows.append(ModelRow(label, sparsity=zeros, score=last[score]))
    measured = by_file((run.detail("bench") or {}).get("files"))
    verified = by_file((run.detail("verify") or {}).get("files"))
    for entry in run.exported:
        name = _base_name(entry["file"])
        timing = measured.get(name, {})
        variant = entry["variant"]
        rows.append(
            ModelRow(
                model=VARIANTS[variant].label if variant in VARIANTS else variant,
                variant=variant,
                sparsity=_counted(entry, verified.get(name, {})),
                score=verified.get(name, {}).get(score),
                size_bytes=entry.get("size_bytes"),
                gzip_bytes=entry.get("gzip_bytes"),
                parts=entry.get("parts"),
                latency_ms=timing.get("latency_ms"),
                ratio=timing.get("ratio"),
            )
        )
        if with_delegate := measured.get(name + DELEGATE_SUFFIX):
            # The same file, with results that are equal bit for bit.
            row = replace(
                rows[-1],
                model="the same, with the delegate",
                variant=variant + DELEGATE_SUFFIX,
                latency_ms=with_delegate["latency_ms"],
                ratio=with_delegate["ratio"],
            )
            rows.append(row)
    return rows


def _counted(exported: dict[str, Any], verified: dict[str, Any]) -> float | None:
    """Share of zeros that was counted in a file: by verification, or else when it was written."""
    return verified.get("zeros_in_pruned_layers", exported.get("sparsity"))


def model_sparsity(run: Run) -> float | None:
    """Share of zeros that the last stage which measured it found, in [0, 1]."""
    stages = run.of_kind("prune", "reconstruct", "transfer", "quantize")
    found = [stage.figures["sparsity"] for stage in stages if "sparsity" in stage.figures]
    return found[-1] if found else None


def by_file(entries: list[dict[str, Any]] | None) -> dict[str, dict[str, Any]]:
    """Entries of a JSON list by the name of the file that they are about."""
    return {_base_name(entry["file"]): entry for entry in entries or [] if "file" in entry}


def columns(run: Run) -> list[Column]:
    """The columns in order. Their explanations name this run's reference and machine."""
    bench = run.detail("bench") or {}
    reference = bench.get("reference")
    runtime = bench.get("runtime", {})
    how = (
        f"{runtime.get('name')} {runtime.get('version')}, {_threads(runtime.get('threads'))}"
        if runtime
        else "not measured in this run"
    )
    has_parts = any(entry.get("parts") for entry in run.exported)
    return [
        Column("model", "what is measured: a Keras model or an exported .tflite file", _model),
        Column("sparsity", "share of zeros in the layers that were pruned", _sparsity),
        Column(score_name(run), SCORES[score_name(run)].meaning + _judged_on(run), _score),
        Column("MB", "size of the file, in million bytes", lambda r: megabytes(r.size_bytes)),
        Column("MB gzip", "the same after gzip, as an app store ships it", _gzip),
        *([Column("MB by part", _PARTS, _by_part)] if has_parts else []),
        Column("latency ms", f"median time of one run, batch of one ({how})", _latency),
        Column(
            "ratio",
            f"latency divided by that of {reference or 'the reference'}: 0.50 is twice as fast",
            _ratio,
        ),
    ]


def ratio_interval(row: ModelRow) -> str:
    """The 95 % interval of a row's ratio, such as `0.48-0.53`; empty where there is none."""
    if not row.ratio or row.ratio["low"] == row.ratio["high"]:
        return ""
    return f"{row.ratio['low']:.2f}-{row.ratio['high']:.2f}"


def milliseconds(value: float) -> str:
    """A latency with two decimals, or three digits below 1 ms.

    >>> milliseconds(15.2), milliseconds(0.01712)
    ('15.20', '0.0171')
    """
    return f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def duration(seconds: float | None) -> str:
    """Seconds for reading.

    >>> duration(754)
    '12 min 34 s'
    """
    if seconds is None:
        return "not finished"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s"


def _judged_on(run: Run) -> str:
    """Says so where the files were judged on fewer examples than the Keras models."""
    verified = (run.detail("verify") or {}).get("files") or []
    files = max((entry.get("examples", 0) for entry in verified), default=0)
    models = max((stage.figures.get("dev_examples", 0) for stage in run.stages), default=0)
    return f" (files: of the first {files} only)" if 0 < files < models else ""


def _model(row: ModelRow) -> str:
    return row.model


def _sparsity(row: ModelRow) -> str:
    return "-" if row.sparsity is None else f"{100 * row.sparsity:.1f} %"


def _score(row: ModelRow) -> str:
    return "-" if row.score is None else f"{row.score:.3f}"


def _by_part(row: ModelRow) -> str:
    """The bytes of words, encoder and rest."""
    if row.parts is None:
        return "-"
    return " + ".join(megabytes(row.parts.get(name, 0)) for name in ("words", "encoder", "rest"))


def _gzip(row: ModelRow) -> str:
    return megabytes(row.gzip_bytes)


def _latency(row: ModelRow) -> str:
    return milliseconds(row.latency_ms["median"]) if row.latency_ms else "-"


def _ratio(row: ModelRow) -> str:
    return f"{row.ratio['ratio']:.2f}" if row.ratio else "-"


def _base_name(file: str) -> str:
    return file.replace("\\", "/").rsplit("/", 1)[-1]


def _threads(threads: int | None) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"
