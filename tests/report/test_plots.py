import io

import pytest
import synthetic
from PIL import Image

from tf_prune_ofa.report import plots
from tf_prune_ofa.report.collect import Run, Stage, collect_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return collect_run(synthetic.write_run(tmp_path_factory.mktemp("run") / "quickstart"))


def test_draws_every_plot_at_the_width_that_a_phone_needs(run):
    drawn = plots.all_plots(run)
    assert list(drawn) == [
        "score",
        "latency",
        "size",
        "sparsity",
        "learning_rate",
        "layer_sparsity",
        "time",
        "loss_teacher_mlm",
        "loss_teacher_task",
        "loss_prune",
        "loss_transfer",
        "loss_quantize",
    ]
    for plot in drawn.values():
        image = Image.open(io.BytesIO(plot.png))
        assert image.width == 960
        assert len(image.convert("RGB").getcolors(maxcolors=2**24)) > 10, plot.key  # not blank
        assert plot.title and plot.caption


def test_an_empty_run_has_no_plots():
    assert plots.all_plots(Run("new", {}, (Stage("teacher", "teacher"),))) == {}


def test_layers_outside_the_encoder_get_a_panel_of_their_own():
    figures = {"layers": {"pooler": 0.5, "encoder_00/ffn/output": 0.9}}
    run = Run("r", {}, (Stage("prune", "prune", {"figures": figures}),))
    assert plots.layer_sparsity_plot(run) is not None


def test_a_run_without_ratios_or_changes_of_rate_is_drawn_too():
    metrics = [{"step": 1, "learning_rate": 0.0, "loss": 1.0}]
    run = Run("r", {}, (Stage("teacher", "teacher", metrics=metrics),))
    assert list(plots.all_plots(run)) == ["learning_rate", "loss_teacher"]
