import sys

import numpy as np
import pytest
from test_plan import masks_of

from tf_prune_ofa import schedules
from tf_prune_ofa.config import SparsitySettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.pruning import patterns, scores
from tf_prune_ofa.pruning.plugins import load_plugins
from tf_prune_ofa.pruning.scores import find_score
from tf_prune_ofa.schedules import SparsitySchedule

# The ten lines of docs/patterns.md.
PLUGIN = """
import numpy as np
from tf_prune_ofa.pruning.patterns import register_pattern
from tf_prune_ofa.pruning.scores import Score, register_score
from tf_prune_ofa.schedules import register_shape

class Largest(Score):
    def values(self, name, kernel, statistics):
        return -np.abs(kernel)

register_score("largest", Largest)
register_pattern("rows", lambda outputs, inputs: np.repeat(np.arange(outputs), inputs).reshape(outputs, inputs))
register_shape("sqrt", lambda progress, power: 1 - progress**0.5)
"""  # noqa: E501


@pytest.fixture(autouse=True)
def registries(monkeypatch):
    """Registries that are put back at the end."""
    monkeypatch.setattr(scores, "_SCORES", dict(scores._SCORES))
    monkeypatch.setattr(patterns, "_PATTERNS", dict(patterns._PATTERNS))
    monkeypatch.setattr(schedules, "_SHAPES", dict(schedules._SHAPES))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


def write(tmp_path, text=PLUGIN):
    (tmp_path / "mine.py").write_text(text)
    return str(tmp_path / "mine.py")


def test_a_file_adds_a_score_a_pattern_and_a_shape(tmp_path):
    load_plugins([write(tmp_path)])
    kernel = np.array([[1.0, 5, 2], [1, 4, 3]])  # [in, out]
    score = find_score("largest")(SparsitySettings(), 0)
    mask = masks_of("rows", 2 / 3, {"a": score.values("a", kernel, {})})["a"]
    assert mask.tolist() == [[1, 0, 0], [1, 0, 0]]
    schedule = SparsitySchedule(0.8, 0, ramp_end=100, mask_end=100, frequency=1, shape="sqrt")
    assert schedule.sparsity(25) == pytest.approx(0.4)


def test_a_plugin_is_loaded_once(tmp_path, monkeypatch):
    path = write(tmp_path)
    load_plugins([path, path])
    monkeypatch.chdir(tmp_path)
    load_plugins(["mine.py"])


def test_an_installed_module_is_a_plugin_too(tmp_path, monkeypatch):
    write(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    load_plugins(["mine"])
    find_score("largest")


def test_a_plugin_that_failed_can_be_loaded_again(tmp_path):
    with pytest.raises(ZeroDivisionError):
        load_plugins([write(tmp_path, "1 / 0")])
    load_plugins([write(tmp_path)])
    find_score("largest")


@pytest.mark.parametrize("name", ["nowhere.py", "no_such_module", "no_such_package.inner"])
def test_missing_plugins_are_refused(name):
    with pytest.raises(UserError, match=f"there is no plugin .*{name}"):
        load_plugins([name])


@pytest.mark.parametrize(
    ("units", "message"),
    [
        (lambda outputs, inputs: np.zeros((inputs, outputs + 1), int), "an int array"),
        (lambda outputs, inputs: np.zeros((outputs, inputs)), "numbers from 0.*got float64"),
        (lambda outputs, inputs: np.full((outputs, inputs), -1), "numbers from 0"),
        (lambda outputs, inputs: np.full((outputs, inputs), 2), "has 2 of 3 units without"),
    ],
)
def test_units_that_make_no_sense_are_refused(units, message):
    patterns.register_pattern("odd", units)
    with pytest.raises(UserError, match=message):
        masks_of("odd", 0.5, {"a": np.ones((4, 2))})


def test_names_are_taken_once():
    with pytest.raises(UserError, match="a pattern 'heads' already"):
        patterns.register_pattern("heads", lambda outputs, inputs: np.zeros((outputs, inputs)))
    with pytest.raises(UserError, match="a shape 'linear' already"):
        schedules.register_shape("linear", lambda progress, power: 1 - progress)
    with pytest.raises(UserError, match="no ramp of shape 'cubical'; shapes are polynomial, lin"):
        SparsitySchedule(0.8, 0, 1, 1, 1, shape="cubical")
