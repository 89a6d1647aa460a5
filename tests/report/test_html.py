import html.parser
import json
import re

import pytest
import synthetic

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.report import plots
from tf_prune_ofa.report.collect import collect_run
from tf_prune_ofa.report.devices import read_device
from tf_prune_ofa.report.html import build_report

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(html.parser.HTMLParser):
    """Checks that tags are closed in order, and collects text and links."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.sources = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [value for key, value in attributes if key in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def run_dir(tmp_path):
    return synthetic.write_run(tmp_path / "quickstart")


@pytest.fixture
def no_plots(monkeypatch):
    """For tests of the text: drawing takes two seconds."""
    monkeypatch.setattr(plots, "all_plots", lambda run: {})


def test_page_is_whole_and_needs_nothing_beside_it(run_dir, tmp_path):
    run = collect_run(run_dir, about=synthetic.ABOUT)
    page_file = build_report(run, tmp_path / "out" / "report.html")
    text = page_file.read_text()
    page = Page(text)
    assert len(page.sources) == 12
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert "<script" not in text and "http" not in re.sub(r"base64,[^\"]+", "", text)
    assert sorted(p.stem for p in (tmp_path / "out" / "plots").glob("*.png")) == sorted(
        ["score", "latency", "size", "sparsity", "learning_rate", "layer_sparsity", "time"]
        + [f"loss_{s}" for s in ("teacher_mlm", "teacher_task", "prune", "transfer", "quantize")]
    )
    assert "missing" not in "".join(page.text).split("</style>")[-1].replace(".missing", "")


def test_page_shows_results_circumstances_and_settings(run_dir, tmp_path, no_plots):
    run = collect_run(run_dir, about=synthetic.ABOUT)
    content = " ".join(Page(build_report(run, tmp_path / "r.html").read_text()).text)
    content = " ".join(content.split())
    for expected in (
        "Prune OFA, MiniLM-L6, 85 %",
        "sparse INT8 file 85.0 % 0.857 15.70 11.00 5.25 1.01",
        "ai-edge-litert 2.3.0",
        "A processor",
        "2 min 34 s",  # of one stage
        "20 min 32 s",  # of all eight
        '"learning_rate": 5e-05',
        "git commit 1a2b3c4",
        "tensorflow 2.21.0",
        "Layers, worst first (12 of 12)",
        "284/290 in 2",
    ):
        assert expected in content, expected


@pytest.mark.parametrize(
    ("stage", "says"),
    [
        ("07_verify", "The verification is missing: stage “verify”"),
        ("08_benchmark", "The latencies are missing: stage “benchmark”"),
    ],
)
def test_page_says_what_is_missing(run_dir, tmp_path, stage, says, no_plots):
    for file in run_dir.glob(f"{stage}-*/*.json"):
        file.unlink()
    content = " ".join(Page(build_report(run_dir, tmp_path / "r.html").read_text()).text)
    assert says in content


def test_page_without_an_export_stage(run_dir, tmp_path):
    for file in run_dir.glob("06_export-*/*.json"):
        file.unlink()
    content = " ".join(Page(build_report(run_dir, tmp_path / "r.html").read_text()).text)
    assert "The sizes are missing: stage “export”" in content


def test_page_of_a_run_that_has_only_begun(tmp_path):
    synthetic.add_training(tmp_path / "run", 1, "teacher", "teacher", {}, 3, ("mlm",))
    content = " ".join(Page(build_report(tmp_path / "run", tmp_path / "r.html").read_text()).text)
    assert "This run has not come to measured files yet." in content
    assert content.count("missing:") == 6


def test_text_from_files_is_escaped(run_dir, tmp_path, no_plots):
    about = {"title": "<b>bold</b> & more"}
    text = build_report(collect_run(run_dir, about=about), tmp_path / "r.html").read_text()
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; more" in text


def test_a_page_that_cannot_be_written_is_a_user_error(run_dir, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"):
        build_report(run_dir, tmp_path / "file" / "report.html")


def test_sections_that_all_stages_share_are_shown_once(run_dir, tmp_path, no_plots):
    text = build_report(run_dir, tmp_path / "r.html").read_text()
    assert text.count("minilm_l6") == 1
    assert text.count(json.dumps("3 epochs").replace('"', "&#34;")) == 8


def device_result(run):
    """What a device's JSON holds, made of the run's own benchmark."""
    bench = run.detail("bench")
    machine = bench["machine"] | {
        "device": "Some Phone 7",
        "cores_used": [6, 7],
        "clock_ghz": {"before": 2.8, "first_third": 2.8, "last_third": 2.7},
        "temperature": {"before": 30.0, "highest": 41.5, "after": 40.0},
        "battery_celsius": None,
        "battery_celsius_after": None,
    }
    return bench | {"machine": machine, "throttled": [], "refused": []}


def test_devices_and_another_run_are_shown(tmp_path):
    run = collect_run(synthetic.write_run(tmp_path / "run"))
    result = device_result(run)
    result["refused"] = [{"file": "float32_s64.tflite", "error": "no memory"}]
    (tmp_path / "phone.json").write_text(json.dumps(result))
    other = collect_run(synthetic.write_run(tmp_path / "other"), name="the other")
    page = build_report(
        run, tmp_path / "report.html", devices=[tmp_path / "phone.json"], other=other
    ).read_text(encoding="utf-8")
    assert "On devices" in page and "Some Phone 7" in page and "highest 41.5" in page
    assert "float32_s64.tflite does not run there: no memory." in page
    assert "Beside the other" in page and "+0.000" in page
    assert "Time of each stage" in page


def test_a_throttled_device_has_no_figures_and_other_files_are_said_to_be_others(tmp_path):
    run = collect_run(synthetic.write_run(tmp_path / "run"))
    result = device_result(run) | {"throttled": ["the clock fell by 40 %"]}
    result["files"] = [one | {"sha256": "cd" * 32} for one in result["files"]]
    path = tmp_path / "phone.json"
    path.write_text(json.dumps(result))
    found = read_device(path, run)
    assert found.rows == []
    assert "Throttled, so no figures: the clock fell by 40 %." in found.notes
    assert any(note.startswith("Not files of this run: ") for note in found.notes)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"machine": {}, "files": [1]}'])
def test_what_is_no_result_of_a_device_is_refused(tmp_path, content):
    run = collect_run(synthetic.write_run(tmp_path / "run"))
    (tmp_path / "phone.json").write_text(content)
    with pytest.raises(UserError, match="is no result of a device"):
        build_report(run, tmp_path / "report.html", devices=[tmp_path / "phone.json"])
    assert not (tmp_path / "report.html").exists()
