import json

import numpy as np
import pytest

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.quant.activations import Activations, load_activations, of_folder

RANGES = {"a": (-1.0000000149011612, 0.30000001192092896), "b/output": (0.0, 5.5)}
FACTORS = {"b/output": np.array([1, 8, 1, 2], np.float32)}
OLD_FACTORS = {"b/output": {"channels": 4, "factors": {"1": 8.0, "3": 2.0}}}


def write(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_both_come_back_to_the_last_bit(tmp_path):
    Activations(RANGES, FACTORS).save(tmp_path / "ranges.json")
    loaded = of_folder(tmp_path)
    assert loaded.ranges == RANGES
    assert list(loaded.factors) == ["b/output"]
    np.testing.assert_array_equal(loaded.factors["b/output"], FACTORS["b/output"])
    assert [path.name for path in tmp_path.iterdir()] == ["ranges.json"]


def test_a_stage_that_did_not_quantize_has_none(tmp_path):
    assert of_folder(tmp_path) is None


def test_two_files_of_an_older_run(tmp_path):
    path = write(tmp_path / "ranges.json", RANGES)
    # By themselves its ranges would clip the outlying channels without a word.
    with pytest.raises(UserError, match="mean nothing without the channel factors"):
        load_activations(path)
    write(tmp_path / "channel_factors.json", OLD_FACTORS)
    beside = load_activations(path)
    assert beside.ranges == RANGES
    np.testing.assert_array_equal(beside.factors["b/output"], FACTORS["b/output"])
    elsewhere = tmp_path / "elsewhere.json"
    (tmp_path / "channel_factors.json").rename(elsewhere)
    named = load_activations(path, elsewhere)
    np.testing.assert_array_equal(named.factors["b/output"], FACTORS["b/output"])


def test_factors_beside_a_file_that_has_its_own(tmp_path):
    Activations(RANGES, FACTORS).save(tmp_path / "ranges.json")
    with pytest.raises(UserError, match="has factors of its own; leave .* out"):
        load_activations(tmp_path / "ranges.json", tmp_path / "f.json")


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "{}", '{"a": 1}', '{"a": [1]}', '{"a": ["x", 2]}', '{"a": null}', "{",
     '{"a": [2, 1]}', '{"a": [0, NaN]}', '{"a": [0, Infinity]}', '{"a": [false, true]}',
     '{"version": 3, "ranges": {}, "factors": {}}', '{"version": 2}',
     '{"version": 2, "ranges": {"a": [0, 1]}}', None],
)  # fmt: skip
def test_a_damaged_range_file(tmp_path, text):
    path = tmp_path / "ranges.json"
    if text is not None:
        write(path, text)
    with pytest.raises(UserError, match=str(path)):
        load_activations(path)


@pytest.mark.parametrize(
    "entry",
    [1, {}, {"channels": 2}, {"channels": 0, "factors": {}}, {"channels": 10**12, "factors": {}},
     {"channels": 2, "factors": {"2": 2.0}}, {"channels": 2, "factors": {"0": 3.0}},
     {"channels": 2, "factors": {"0": 0.5}}, {"channels": 2, "factors": {"-1": 2.0}},
     {"channels": 2, "factors": {"0": "2"}}, {"channels": 2, "factors": {"0": float("nan")}}],
)  # fmt: skip
def test_damaged_factors(tmp_path, entry):
    data = {"version": 2, "ranges": {"a": [0, 1]}, "factors": {"a": entry}}
    path = write(tmp_path / "ranges.json", data)
    with pytest.raises(UserError, match="is not a readable file of channel factors"):
        load_activations(path)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "ranges.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="is not JSON"):
        load_activations(tmp_path / "ranges.json")
