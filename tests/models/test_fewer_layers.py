"""A model with some layers of a deeper one."""

import numpy as np
import pytest

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.models import bert, huggingface
from tf_prune_ofa.models.bert import Classification, EncoderConfig
from tf_prune_ofa.models.fewer_layers import write_with_layers

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "film"]
CONFIG = EncoderConfig(
    "bert", vocab_size=6, hidden_size=8, num_layers=4, num_heads=2, intermediate_size=16,
    max_positions=8,
)  # fmt: skip
TOKENIZER = {"lower_case": True, "strip_accents": None, "split_chinese": True}
HEAD = Classification(2)


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deep")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    huggingface.write_folder(
        folder / "model",
        bert.build_model(CONFIG, HEAD, seed=1),
        CONFIG,
        HEAD,
        folder / "vocab.txt",
        tokenizer=TOKENIZER,
        labels=["bad", "good"],
    )
    return folder / "model"


def test_the_layers_that_stay_are_numbered_anew_and_all_else_is_the_same(deep, tmp_path):
    write_with_layers(deep, [1, 4], tmp_path / "two", head=HEAD)
    assert huggingface.read_config(tmp_path / "two").num_layers == 2
    assert list(huggingface.read_labels(tmp_path / "two")) == ["bad", "good"]
    before, after = huggingface.read_weights(deep), huggingface.read_weights(tmp_path / "two")
    old = {"encoder_00": "encoder_00", "encoder_01": "encoder_03"}
    for name, value in after.items():
        first, slash, rest = name.partition("/")
        assert np.array_equal(value, before[f"{old.get(first, first)}{slash}{rest}"]), name
    gone = ("encoder_02/", "encoder_03/")
    assert len(after) == len(before) - sum(name.startswith(gone) for name in before)


@pytest.mark.parametrize("layers", [[0, 1], [2, 1], [1, 1], [1, 5], []])
def test_layers_that_are_not_there_are_refused(deep, tmp_path, layers):
    with pytest.raises(UserError, match="name some of 1 to 4, each once, in ascending order"):
        write_with_layers(deep, layers, tmp_path / "none", head=HEAD)
