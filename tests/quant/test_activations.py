import json

import numpy as np
import pytest

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.models.checkpoint import digest_of
from tf_prune_ofa.quant.activations import Activations, load_activations, of_folder

RANGES = {"a": (-1.0000000149011612, 0.30000001192092896), "b/output": (0.0, 5.5)}
SCALES = {"b/output": np.array([1, 8, 1, 2], np.float32)}
OLD_SCALES = {"b/output": {"channels": 4, "factors": {"1": 8.0, "3": 2.0}}}


def write(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_both_come_back_to_the_last_bit(tmp_path):
    Activations(RANGES, SCALES).save(tmp_path / "ranges.json")
    loaded = of_folder(tmp_path)
    assert loaded.ranges == RANGES
    assert list(loaded.outlier_scales) == ["b/output"]
    np.testing.assert_array_equal(loaded.outlier_scales["b/output"], SCALES["b/output"])
    assert [path.name for path in tmp_path.iterdir()] == ["ranges.json"]


def test_a_stage_that_did_not_quantize_has_none(tmp_path):
    assert of_folder(tmp_path) is None


def test_two_files_of_an_older_run(tmp_path):
    path = write(tmp_path / "ranges.json", RANGES)
    # By themselves its ranges would clip the outlying channels without a word.
    with pytest.raises(UserError, match="mean nothing without the outlier scales"):
        load_activations(path)
    write(tmp_path / "channel_factors.json", OLD_SCALES)
    beside = load_activations(path)
    assert beside.ranges == RANGES
    np.testing.assert_array_equal(beside.outlier_scales["b/output"], SCALES["b/output"])
    elsewhere = tmp_path / "elsewhere.json"
    (tmp_path / "channel_factors.json").rename(elsewhere)
    named = load_activations(path, elsewhere)
    np.testing.assert_array_equal(named.outlier_scales["b/output"], SCALES["b/output"])


def test_a_file_that_still_says_factors(tmp_path, capsys):
    data = {"version": 2, "ranges": {n: list(r) for n, r in RANGES.items()}, "factors": OLD_SCALES}
    loaded = load_activations(write(tmp_path / "ranges.json", data))
    assert loaded.ranges == RANGES
    np.testing.assert_array_equal(loaded.outlier_scales["b/output"], SCALES["b/output"])
    assert "'factors' is now called 'outlier_scales'" in capsys.readouterr().err


def test_scales_beside_a_file_that_has_its_own(tmp_path):
    Activations(RANGES, SCALES).save(tmp_path / "ranges.json")
    with pytest.raises(UserError, match="has outlier scales of its own; leave .* out"):
        load_activations(tmp_path / "ranges.json", tmp_path / "f.json")


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "{}", '{"a": 1}', '{"a": [1]}', '{"a": ["x", 2]}', '{"a": null}', "{",
     '{"a": [2, 1]}', '{"a": [0, NaN]}', '{"a": [0, Infinity]}', '{"a": [false, true]}',
     '{"version": 4, "ranges": {}, "outlier_scales": {}}', '{"version": 2}',
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
    [1, {}, {"channels": 2}, {"channels": 0, "scales": {}}, {"channels": 10**12, "scales": {}},
     {"channels": 2, "scales": {"2": 2.0}}, {"channels": 2, "scales": {"0": 3.0}},
     {"channels": 2, "scales": {"0": 0.5}}, {"channels": 2, "scales": {"-1": 2.0}},
     {"channels": 2, "scales": {"0": "2"}}, {"channels": 2, "scales": {"0": float("nan")}},
     {"channels": 2, "factors": {"0": 2.0}}],
)  # fmt: skip
def test_damaged_scales(tmp_path, entry):
    data = {"version": 3, "ranges": {"a": [0, 1]}, "outlier_scales": {"a": entry}}
    path = write(tmp_path / "ranges.json", data)
    with pytest.raises(UserError, match="is not a readable file of outlier scales"):
        load_activations(path)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "ranges.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="is not JSON"):
        load_activations(tmp_path / "ranges.json")


def test_ranges_of_other_weights_are_refused(tmp_path):
    weights = {"a/kernel": np.ones((2, 3)), "a/bias": np.zeros(3)}
    digest = digest_of(weights)
    # Neither the order nor the type of the file matters.
    again = {name: value.astype(np.float16) for name, value in reversed(weights.items())}
    assert digest_of(again) == digest
    for other in ({"a/kernel": np.ones((3, 2)), "a/bias": np.zeros(3)}, {"a/kernel": np.ones(6)}):
        assert digest_of(other) != digest
    Activations(RANGES, SCALES, digest).save(tmp_path / "ranges.json")
    loaded = of_folder(tmp_path)
    loaded.require_same_weights(digest, "here")
    with pytest.raises(UserError, match="the ranges are of other weights than the model in x"):
        loaded.require_same_weights(digest_of({"a/kernel": np.ones(6)}), "the model in x")
    # Those of older runs do not say whose they are.
    Activations(RANGES).require_same_weights(digest, "here")
