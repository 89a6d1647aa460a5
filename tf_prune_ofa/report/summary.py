"""What a run comes to: the sentence, the key figures and the stages, as text for the page."""

from dataclasses import dataclass
from typing import Any

from tf_prune_ofa.bench.rows import DELEGATE_SUFFIX
from tf_prune_ofa.report.collect import Run, Stage
from tf_prune_ofa.report.rows import (
    ModelRow,
    milliseconds,
    model_rows,
    model_sparsity,
    score_name,
)


@dataclass(frozen=True)
class Card:
    """A key figure: its value, what it is, and what it compares with ("" where nothing does)."""

    value: str
    title: str
    compared: str


@dataclass(frozen=True)
class StageRow:
    """A stage as the page shows it; `seconds` and `steps` are None where there are none."""

    name: str
    kind: str
    seconds: float | None
    steps: int | None
    figures: str


def headline(run: Run) -> str:
    """One sentence: how sparse, how good, how small and how fast the sparse INT8 file is."""
    sparse, dense = _file(run, "sparse_int8"), _file(run, "dense_int8")
    delegated = _file(run, "sparse_int8" + DELEGATE_SUFFIX)
    sparsity = model_sparsity(run)
    subject = "The sparse INT8 file"
    if sparsity is not None:
        subject += f", with {100 * sparsity:.1f} % zeros in the pruned layers,"
    facts = []
    if sparse.size_bytes and dense.size_bytes:
        facts.append("is " + _compared(dense.size_bytes / sparse.size_bytes, "smaller", "larger"))
    if sparse.latency_ms and dense.latency_ms:
        times = dense.latency_ms["median"] / sparse.latency_ms["median"]
        facts.append(_compared(times, "faster", "slower"))
    if not facts:
        return "This run has not come to measured files yet."
    sentence = f"{subject} {' and '.join(facts)} than the dense INT8 file"
    if sparse.score is not None and dense.score is not None:
        difference = sparse.score - dense.score
        amount = "the same" if abs(difference) < 5e-4 else f"{difference:+.3f} in"
        sentence += f", with {amount} {score_name(run)}"
    if delegated.latency_ms and dense.latency_ms:
        times = dense.latency_ms["median"] / delegated.latency_ms["median"]
        sentence += f"; with the delegate it is {_compared(times, 'faster', 'slower')}"
    return sentence + "."


def in_short(run: Run) -> str:
    """Return what a run was for, in a sentence: speed, size, and what they cost; "" if unmeasured.

    The sparse INT8 file, with the delegate where that was measured, beside the dense INT8 file and
    the dense teacher.
    """
    sparse, dense = _file(run, "sparse_int8"), _file(run, "dense_int8")
    fastest, teacher = _fastest(run), _teacher(run)
    if not (fastest.latency_ms and dense.latency_ms and sparse.size_bytes and dense.size_bytes):
        return ""
    times = dense.latency_ms["median"] / fastest.latency_ms["median"]
    smaller = 100 * (1 - sparse.size_bytes / dense.size_bytes)
    how = "With the delegate the" if _is_delegated(fastest) else "The"
    sentence = (
        f"{how} sparse INT8 file is {times:.1f} times as fast as the dense INT8 file and "
        f"{abs(smaller):.0f} % {'smaller' if smaller >= 0 else 'larger'}"
    )
    if sparse.score is None or teacher.score is None:
        return sentence + "."
    points = 100 * (sparse.score - teacher.score)
    amount = f"{abs(points):.1f} points of {score_name(run)}"
    side = "below" if points < 0 else "above"
    return f"{sentence}, {amount} {side} the dense teacher."


def cards(run: Run) -> list[Card]:
    """The four figures that most readers come for, those of them that were measured."""
    sparse, dense = _file(run, "sparse_int8"), _file(run, "dense_int8")
    teacher, fastest = _teacher(run), _fastest(run)
    sparsity = model_sparsity(run)
    found = []
    if sparsity is not None:
        found.append(Card(f"{100 * sparsity:.1f} %", "zeros in the pruned layers", ""))
    if sparse.score is not None:
        compared = "" if teacher.score is None else f"{teacher.model}: {teacher.score:.3f}"
        found.append(Card(f"{sparse.score:.3f}", f"{score_name(run)}, sparse INT8 file", compared))
    if sparse.size_bytes:
        compared = f"dense INT8 file: {_mb(dense.size_bytes)}" if dense.size_bytes else ""
        found.append(Card(_mb(sparse.size_bytes), "sparse INT8 file", compared))
    if fastest.latency_ms:
        how = "for one run of it" + (", with the delegate" if _is_delegated(fastest) else "")
        compared = f"dense INT8 file: {_ms(dense)}" if dense.latency_ms else ""
        found.append(Card(_ms(fastest), how, compared))
    return found


def stage_rows(run: Run) -> list[StageRow]:
    """Every stage with its time, its steps and those of its figures that are numbers."""
    return [
        StageRow(
            name=stage.name,
            kind=stage.kind,
            seconds=stage.result.get("seconds"),
            steps=stage.metrics[-1]["step"] if stage.metrics else None,
            figures=", ".join(f"{words(key)} {number(value)}" for key, value in _numbers(stage)),
        )
        for stage in run.stages
    ]


def pruned_layers_note(run: Run) -> str:
    """What the pruned kernels alone take in the dense and in the sparse INT8 file, or ""."""
    sizes = {entry["variant"]: entry.get("pruned_bytes") for entry in run.exported}
    dense, sparse = sizes.get("dense_int8"), sizes.get("sparse_int8")
    if not dense or not sparse:
        return ""
    return (
        f"The pruned kernels alone take {_mb(dense)} in the dense INT8 file and {_mb(sparse)} in "
        f"the sparse one: {dense / sparse:.2f} times smaller."
    )


def number(value: Any) -> str:
    """A figure for reading: four digits, thousands apart, `-` for None, yes and no."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def words(key: str) -> str:
    """A JSON key for reading: `size_bytes` is `size bytes`."""
    return key.replace("_", " ")


def _file(run: Run, variant: str) -> ModelRow:
    return next((row for row in model_rows(run) if row.variant == variant), ModelRow(""))


def _fastest(run: Run) -> ModelRow:
    """The sparse INT8 file, with the delegate where that was measured."""
    delegated = _file(run, "sparse_int8" + DELEGATE_SUFFIX)
    return delegated if delegated.latency_ms else _file(run, "sparse_int8")


def _is_delegated(row: ModelRow) -> bool:
    return row.variant.endswith(DELEGATE_SUFFIX)


def _teacher(run: Run) -> ModelRow:
    return next((row for row in model_rows(run) if not row.variant), ModelRow(""))


def _compared(times: float, better: str, worse: str) -> str:
    # Below 2 % the benchmark's own spread decides, and a size is the same for all uses.
    if abs(times - 1) < 0.02:
        return f"no {better}"
    return f"{times:.2f} times {better}" if times > 1 else f"{1 / times:.2f} times {worse}"


def _numbers(stage: Stage) -> list[tuple[str, int | float]]:
    return [
        (key, value)
        for key, value in stage.figures.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def _mb(size_bytes: int) -> str:
    size_mb = size_bytes / 1e6
    return f"{size_mb:.1f} MB" if size_mb >= 1 else f"{size_mb:.2g} MB"


def _ms(row: ModelRow) -> str:
    assert row.latency_ms  # of rows that were timed
    return f"{milliseconds(row.latency_ms['median'])} ms"
