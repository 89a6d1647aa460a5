"""Masks that come in beside a model: those of its zeros, or nothing is written."""

import numpy as np
import pytest
from exported_models import make_model
from small_runs import TOKENIZER, VOCABULARY

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.models import huggingface
from tf_prune_ofa.models.bert import Classification, EncoderConfig, dense_kernels
from tf_prune_ofa.pruning.lock import masks_from_weights
from tf_prune_ofa.stages.export import export_folder

CONFIG = EncoderConfig(
    "bert", len(VOCABULARY), hidden_size=32, num_layers=1, num_heads=2, intermediate_size=64,
    max_positions=16,
).without_dropout()  # fmt: skip
LENGTH = 8
QUERY = "encoder_00/attention/query"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder of a model whose encoder is 90 % zero, and its masks."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    head = Classification(2)
    built = make_model(CONFIG, head, length=LENGTH)
    huggingface.write_folder(
        folder / "model", built, CONFIG, head, folder / "vocab.txt", tokenizer=TOKENIZER,
        labels=["bad", "good"],
    )  # fmt: skip
    kernels = {name: kernel.numpy() for name, kernel in dense_kernels(built).items()}
    sparse = {name: kernel for name, kernel in kernels.items() if name.startswith("encoder")}
    return folder / "model", masks_from_weights(sparse)


def write(model, masks, out):
    return export_folder(model, out, sequence_length=LENGTH, variants=["float32"], masks=masks)


def test_the_models_own_masks_are_taken(model, tmp_path):
    folder, masks = model
    file = write(folder, masks, tmp_path / "out")["files"][0]
    assert file["sparsity"] == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda mask: None, "921 of 1024 weights are zero, and the layer has no mask"),
        (lambda mask: np.ones_like(mask), "921 of 1024 weights are zero, and the masks keep them"),
        (lambda mask: mask & (mask.cumsum().reshape(mask.shape) > 40), "pruned weights not zero"),
        (lambda mask: np.roll(mask, 1, axis=0), "pruned weights not zero"),
        (lambda mask: mask[:, 1:], r"kernel \(32, 32\), mask \(32, 31\)"),
    ],
    ids=["left out", "kept", "pruned further", "moved", "cut"],
)
def test_masks_that_disagree_are_refused(model, tmp_path, change, message):
    folder, masks = model
    changed = {**masks, QUERY: change(masks[QUERY])}
    given = {name: mask for name, mask in changed.items() if mask is not None}
    with pytest.raises(UserError, match=f"{QUERY}: .*{message}"):
        write(folder, given, tmp_path / "out")
    assert not (tmp_path / "out").exists()
