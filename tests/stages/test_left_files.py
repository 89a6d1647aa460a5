"""What a finished stage left is what later stages and re-runs accept, and nothing else."""

import numpy as np
import pytest

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.context import Context, StageResult
from tf_prune_ofa.jobs.left_files import digests, require_unchanged
from tf_prune_ofa.pruning.lock import save_masks

KEPT = np.arange(200).reshape(10, 20) % 5 == 0  # a fifth
MASKS = {"a": KEPT, "b": KEPT.T}
LAYERS = {"a": 0.8, "b": 0.8}


@pytest.fixture
def chain(tmp_path):
    """A context of a pruning stage, one that starts from it, and one that starts from that."""
    results = {}
    for name, start in (("prune", ""), ("transfer", "prune"), ("quantize", "transfer")):
        folder = tmp_path / name
        folder.mkdir()
        figures = {"sparsity": 0.8, "layers": LAYERS}
        results[name] = StageResult(name, name, folder, "0", figures, 1.0, start)
    save_masks(tmp_path / "prune" / "masks.npz", MASKS)
    return Context("export", tmp_path / "export", None, results, None)


def test_masks_are_found_where_they_were_written(chain, tmp_path):
    for start in ("prune", "transfer", "quantize"):
        assert chain.masks_file(start) == tmp_path / "prune" / "masks.npz"


def test_lost_masks_do_not_mean_dense(chain, tmp_path):
    (tmp_path / "prune" / "masks.npz").unlink()
    for start in ("prune", "transfer", "quantize"):
        with pytest.raises(UserError, match=r"80.0% of the weights .* masks.npz .* is gone"):
            chain.masks_file(start)


def test_a_chain_that_never_pruned_has_no_masks(chain, tmp_path):
    (tmp_path / "prune" / "masks.npz").unlink()
    for result in chain.results.values():
        result.figures.clear()
    assert chain.masks_file("quantize") is None


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({}, "masks of none"),
        ({"a": KEPT}, "b is not in it"),
        ({**MASKS, "c": KEPT}, "c was not pruned"),
        ({"a": KEPT, "b": np.ones_like(KEPT.T)}, "b has 0.0% of its weights pruned, not 80.0%"),
        ({"a": KEPT, "b": np.zeros_like(KEPT.T)}, "b has 100.0% of its weights pruned"),
    ],
)
def test_masks_that_are_not_those_of_the_stage(chain, tmp_path, masks, message):
    save_masks(tmp_path / "prune" / "masks.npz", masks)
    with pytest.raises(UserError, match=message):
        chain.masks_file("quantize")


def test_files_of_a_stage(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "vocab.txt").write_text("a")
    (tmp_path / "x.tflite").write_bytes(b"12345678")
    for spare in ("tensorboard", "checkpoint"):
        (tmp_path / spare).mkdir()
        (tmp_path / spare / "log").write_text("x")
    (tmp_path / "metrics.jsonl").write_text("{}")
    left = digests(tmp_path)
    assert sorted(left) == ["model/vocab.txt", "x.tflite"]
    require_unchanged(tmp_path, "export", left)
    require_unchanged(tmp_path, "export", {})  # of an older run nothing is known
    (tmp_path / "x.tflite").write_bytes(b"1234")
    (tmp_path / "model" / "vocab.txt").unlink()
    message = "'export' was done before.*vocab.txt is gone, x.tflite was changed.*delete"
    with pytest.raises(UserError, match=message):
        require_unchanged(tmp_path, "export", left)
