import pytest
import synthetic

from tf_prune_ofa.report.collect import Run, Stage, collect_run
from tf_prune_ofa.report.rows import duration, model_rows
from tf_prune_ofa.report.summary import (
    cards,
    headline,
    in_short,
    number,
    pruned_layers_note,
    stage_rows,
)


@pytest.fixture
def run(tmp_path):
    return collect_run(synthetic.write_run(tmp_path / "quickstart"))


def with_sparse_figures(run, *, median, accuracy):
    for entry in run.detail("bench")["files"]:
        if entry["file"].startswith("sparse"):
            entry["latency_ms"]["median"] = median
    for entry in run.detail("verify")["files"]:
        if entry["file"].startswith("sparse"):
            entry["accuracy"] = accuracy
    return run


def with_delegate(run, median):
    entries = run.detail("bench")["files"]
    sparse = next(entry for entry in entries if entry["file"].startswith("sparse"))
    timing = {**sparse["latency_ms"], "median": median}
    entries.append({**sparse, "file": sparse["file"] + ", delegate", "latency_ms": timing})
    return run


@pytest.mark.parametrize(
    ("median", "accuracy", "ends"),
    [
        (5.25, 0.857, "times smaller and no faster than the dense INT8 file, with the same"),
        (2.6, 0.854, "and 2.00 times faster than the dense INT8 file, with -0.003 in accuracy."),
        (10.4, 0.857, "and 2.00 times slower than the dense INT8 file, with the same accuracy."),
    ],
)
def test_headline_compares_the_sparse_with_the_dense_file(run, median, accuracy, ends):
    sentence = headline(with_sparse_figures(run, median=median, accuracy=accuracy))
    assert sentence.startswith(
        "The sparse INT8 file, with 85.0 % zeros in the pruned layers, is 1.48"
    )
    assert ends in sentence


def test_headline_says_what_the_delegate_brings(run):
    with_delegate(with_sparse_figures(run, median=5.2, accuracy=0.854), median=2.6)
    assert headline(run).endswith(
        "with -0.003 in accuracy; with the delegate it is 2.00 times faster."
    )
    rows = model_rows(run)
    place = [row.variant for row in rows].index("sparse_int8")
    assert rows[place + 1].model == "the same, with the delegate"
    assert rows[place + 1].latency_ms["median"] == 2.6
    assert rows[place + 1].size_bytes == rows[place].size_bytes


def test_in_short(run):
    assert in_short(run) == (
        "The sparse INT8 file is 1.0 times as fast as the dense INT8 file and 32 % smaller, "
        "1.1 points of accuracy below the dense teacher."
    )
    with_delegate(with_sparse_figures(run, median=5.2, accuracy=0.87), median=2.0)
    assert in_short(run).startswith("With the delegate the sparse INT8 file is 2.6 times as fast")
    assert in_short(run).endswith("0.2 points of accuracy above the dense teacher.")
    assert in_short(Run("new", {}, ())) == ""


def test_cards_show_what_was_measured(run):
    assert [card.value for card in cards(run)] == ["85.0 %", "0.857", "15.7 MB", "5.25 ms"]
    assert cards(run)[1].compared == "dense teacher (Keras): 0.868"
    assert cards(Run("new", {}, ())) == []


def test_size_of_the_pruned_kernels_alone(run):
    assert "10.6 MB in the dense INT8 file and 3.5 MB in the sparse one: 3.03 times" in (
        pruned_layers_note(run)
    )
    assert pruned_layers_note(Run("new", {}, ())) == ""


def test_an_unfinished_stage_has_steps_but_no_time():
    (row,) = stage_rows(Run("r", {}, (Stage("prune", "prune", metrics=[{"step": 7}]),)))
    assert (row.steps, row.seconds, row.figures) == (7, None, "")


def test_figures_for_reading():
    assert [number(v) for v in (None, True, 12345, 0.123456, 12345.6, "x")] == [
        "-",
        "yes",
        "12,345",
        "0.1235",
        "12,346",
        "x",
    ]
    assert [duration(v) for v in (None, 9.96, 754, 59.99)] == [
        "not finished",
        "10.0 s",
        "12 min 34 s",
        "60.0 s",
    ]
