"""What folders hold, by the names in their files: under wrappers, in other formats, damaged."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.models.bert import Classification, EncoderConfig, SpanQA
from tf_prune_ofa.models.checkpoint import read_tensors, weight_files
from tf_prune_ofa.models.heads import for_head, require_head, without_heads
from tf_prune_ofa.models.hf_config import head_of_class

TENSORS = {
    "bert.embeddings.word_embeddings.weight": np.arange(6, dtype=np.float32).reshape(3, 2),
    "bert.pooler.dense.bias": np.ones(2, np.float32),
    "classifier.bias": np.zeros(2, np.float32),
}


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, TENSORS)
    describe(tmp_path, "BertForSequenceClassification")
    return tmp_path


def write(folder, tensors):
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def describe(folder, name, **more):
    config = {"model_type": "bert", "architectures": name and [name], **more}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "model.", "module._orig_mod.",
                                     "0.auto_model."])  # fmt: skip
def test_what_every_name_has_in_front_is_taken_off(folder, wrapper):
    write(folder, {wrapper + name: value for name, value in TENSORS.items()})
    assert set(dict(read_tensors(folder))) == set(TENSORS)


def test_what_some_names_have_in_front_is_part_of_them(folder):
    odd = {"module." + name: value for name, value in list(TENSORS.items())[:2]}
    write(folder, {**odd, "classifier.bias": TENSORS["classifier.bias"]})
    assert set(dict(read_tensors(folder))) == {*odd, "classifier.bias"}
    both = {"module.model.a": np.ones(1, np.float32), "module.b": np.ones(1, np.float32)}
    write(folder, both)
    assert set(dict(read_tensors(folder))) == {"model.a", "b"}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_refused_by_tensor_and_place(folder, value):
    spoilt = TENSORS["bert.embeddings.word_embeddings.weight"].copy()
    spoilt[2, 1] = value
    write(folder, {**TENSORS, "bert.embeddings.word_embeddings.weight": spoilt})
    with pytest.raises(
        UserError, match=r"word_embeddings\.weight is -?(nan|inf) at \[2, 1\]; 1 of"
    ):
        dict(read_tensors(folder))


def test_float64_that_float32_cannot_hold_is_refused(folder):
    write(folder, {"classifier.bias": np.array([0.0, 1e300])})
    with pytest.raises(UserError, match=r"classifier.bias is inf at \[1\]"):
        dict(read_tensors(folder))


def test_large_finite_numbers_pass(folder):
    write(folder, {"classifier.bias": np.full(4, 3e38, np.float32)})
    assert np.all(dict(read_tensors(folder))["classifier.bias"] == np.float32(3e38))


def test_a_pointer_of_git_lfs_is_named(folder):
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    (folder / "model.safetensors").write_text(text)
    with pytest.raises(UserError, match="pointer of Git LFS.*git lfs pull"):
        dict(read_tensors(folder))


def test_other_formats_are_named(folder):
    (folder / "model.safetensors").rename(folder / "tf_model.h5")
    with pytest.raises(UserError, match=r"It has tf_model\.h5, which is not read here"):
        weight_files(folder)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "a/b.safetensors", ".."])
def test_an_index_that_names_files_outside_its_folder_is_refused(folder, name):
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"classifier.bias": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="is no file of its folder"):
        weight_files(folder)


# Heads

LABELS = ("bad", "good")
WEIGHTS = {"classifier/bias": np.arange(2.0), "classifier/kernel": np.zeros((3, 2)),
           "pooler/bias": np.zeros(3), "encoder_00/ffn/output/bias": np.zeros(3)}  # fmt: skip


@pytest.mark.parametrize(
    "name", ["BertForTokenClassification", "BertForMultipleChoice", "BertForNextSentencePrediction"]
)
def test_a_head_of_another_class_is_refused_by_the_class(folder, name):
    describe(folder, name)
    checks = [
        lambda: for_head(WEIGHTS, folder, Classification(2), LABELS),
        lambda: require_head(folder, Classification(2)),
    ]
    if name != "BertForTokenClassification":  # the only one of them that there is a head for
        checks.append(lambda: head_of_class(folder))
    for check in checks:
        with pytest.raises(UserError, match=f"is a {name} by its config.json.*head to new"):
            check()


def test_a_head_is_taken_in_the_task_s_order(folder):
    describe(folder, "BertForSequenceClassification", id2label={"0": "Good", "1": "Bad"})
    found = for_head(WEIGHTS, folder, Classification(2), LABELS)
    assert found["classifier/bias"].tolist() == [1, 0]
    # Without a class, tensors are what they are called.
    describe(folder, None)
    assert for_head(WEIGHTS, folder, Classification(2), LABELS).keys() == WEIGHTS.keys()


def test_heads_that_a_model_does_not_have_do_not_matter(folder):
    describe(folder, "BertForTokenClassification")
    for head in (None, SpanQA()):
        assert for_head(WEIGHTS, folder, head, LABELS).keys() == WEIGHTS.keys()
    assert set(without_heads(WEIGHTS)) == {"pooler/bias", "encoder_00/ffn/output/bias"}


def test_labels_of_another_number_are_refused(folder):
    names = {"0": "a", "1": "b", "2": "c"}
    describe(folder, "BertForSequenceClassification", id2label=names)
    with pytest.raises(
        UserError, match=r"names 3 labels \(a, b, c\), the classifier has 2 outputs"
    ):
        require_head(folder, Classification(2))
    describe(folder, "BertForSequenceClassification", id2label={"0": "a", "1": "a"})
    with pytest.raises(UserError, match="names two outputs alike"):
        require_head(folder, Classification(2))


# Sizes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_layers": 10**9}, "num_layers of the encoder is 1000000000; it must be a whole"),
        ({"num_heads": 0}, "num_heads of the encoder is 0"),
        ({"hidden_size": "8"}, "hidden_size of the encoder is '8'"),
        ({"hidden_size": 8.0}, "hidden_size of the encoder is 8.0"),
        ({"num_layers": True}, "num_layers of the encoder is True"),
        ({"dropout": 1.5}, "dropout of the encoder is 1.5"),
        ({"layer_norm_epsilon": float("nan")}, "layer_norm_epsilon of the encoder is nan"),
        ({"hidden_size": 16_384, "num_layers": 256}, "weights; this package takes up to"),
        ({"activation": "relu"}, "activation is 'relu'"),
        ({"architecture": "gpt"}, "'gpt' is no architecture of this package; it has 'bert'"),
        ({"num_heads": 3}, "hidden_size 8 is not a multiple of num_heads 3"),
    ],
)
def test_absurd_sizes_are_refused_before_anything_is_built(changes, message):
    sizes = {"architecture": "bert", "vocab_size": 30, "hidden_size": 8, "num_layers": 1,
             "num_heads": 2, "intermediate_size": 16}  # fmt: skip
    with pytest.raises(UserError, match=message):
        EncoderConfig(**{**sizes, **changes})
