import builtins

import numpy as np
import pytest

from tf_prune_ofa.data.glue import glue_task
from tf_prune_ofa.data.tfds_task import tfds_task
from tf_prune_ofa.errors import UserError

tfds = pytest.importorskip("tensorflow_datasets")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, write_dataset):
    folder = tmp_path_factory.mktemp("tfds")
    text = tfds.features.Text
    # GLUE's features, which TFDS knows from its own code.
    write_dataset(
        folder,
        "glue/sst2/2.0.0",
        {
            "sentence": text(),
            "label": tfds.features.ClassLabel(names=["negative", "positive"]),
            "idx": np.int32,
        },
        {
            name: [{"sentence": f"café {i}", "label": label(i), "idx": i} for i in range(count)]
            for name, count, label in [
                ("train", 6, lambda i: i % 2),
                ("validation", 3, lambda i: 1),
                ("test", 2, lambda i: -1),
            ]
        },
    )
    write_dataset(
        folder,
        "glue/stsb/2.0.0",
        {"sentence1": text(), "sentence2": text(), "label": np.float32, "idx": np.int32},
        {
            name: [
                {"sentence1": f"a{i}", "sentence2": f"b{i}", "label": i + 0.5, "idx": i}
                for i in range(2)
            ]
            for name in ("train", "validation")
        },
    )
    write_dataset(
        folder,
        "glue/mnli/2.0.0",
        {
            "premise": text(),
            "hypothesis": text(),
            "label": tfds.features.ClassLabel(names=["entailment", "neutral", "contradiction"]),
            "idx": np.int32,
        },
        {
            name: [{"premise": name, "hypothesis": f"h{i}", "label": i, "idx": i} for i in range(3)]
            for name in ("train", "validation_matched", "validation_mismatched")
        },
    )
    # Datasets that TFDS has no code for.
    write_dataset(
        folder,
        "own_words/1.0.0",
        {"sentence": text(), "label": text()},
        {name: [{"sentence": "c", "label": "yes"}] for name in ("train", "validation")},
    )
    write_dataset(
        folder,
        "own_empty/1.0.0",
        {"sentence": text(), "label": text()},
        {"train": [{"sentence": "c", "label": "yes"}], "validation": []},
    )
    write_dataset(
        folder,
        "own_numbers/1.0.0",
        {"sentence": text(), "label": np.int64},
        {
            name: [{"sentence": f"c{i}", "label": i} for i in range(2)]
            for name in ("train", "validation")
        },
    )
    return folder


def read(data_dir, name, **settings):
    return tfds_task(name, data_dir=data_dir, **{"text_a": "sentence", **settings})


def test_classification(data_dir):
    task = read(data_dir, "glue/sst2")
    assert task.labels == ("negative", "positive")
    rows = dict(zip(task.train.text_a, task.train.label.tolist(), strict=True))
    assert rows == {f"café {i}": i % 2 for i in range(6)}
    assert task.train.text_b is None
    assert task.dev.label.tolist() == [1, 1, 1]


def test_labels_in_another_order_keep_their_meaning(data_dir):
    task = read(data_dir, "glue/sst2", labels=("positive", "negative"))
    assert task.labels == ("positive", "negative")
    assert task.dev.label.tolist() == [0, 0, 0]


def test_regression_on_pairs(data_dir):
    task = read(data_dir, "glue/stsb", text_a="sentence1", text_b="sentence2")
    assert task.kind == "regression"
    rows = zip(task.train.text_a, task.train.text_b, task.train.label.tolist(), strict=True)
    assert sorted(rows) == [("a0", "b0", 0.5), ("a1", "b1", 1.5)]


def test_glue_by_name(data_dir):
    """Two splits to judge by, a regression, and one that is plain."""
    task = glue_task("mnli", data_dir=data_dir)
    assert (task.dev.text_a[0], task.train.text_a[0]) == ("validation_matched", "train")
    assert task.more_dev["mismatched"].text_a == ["validation_mismatched"] * 3
    assert sorted(zip(task.dev.text_b, task.dev.label.tolist(), strict=True)) == [
        ("h0", 0),
        ("h1", 1),
        ("h2", 2),
    ]
    assert glue_task("stsb", data_dir=data_dir).metrics == ("pearson", "spearman")
    assert glue_task("sst2", data_dir=data_dir).labels == ("negative", "positive")


def test_numbers_without_names_need_labels(data_dir):
    task = read(data_dir, "own_numbers", labels=("no", "yes"))
    rows = dict(zip(task.train.text_a, task.train.label.tolist(), strict=True))
    assert rows == {"c0": 0, "c1": 1}
    with pytest.raises(UserError, match="list the task's labels"):
        read(data_dir, "own_numbers")


def test_text_labels(data_dir):
    assert read(data_dir, "own_words", labels=("no", "yes")).train.label.tolist() == [1]
    with pytest.raises(UserError, match="example 0: the label 'yes' is not one of 'no', 'ja'"):
        read(data_dir, "own_words", labels=("no", "ja"))


def test_bad_requests(data_dir):
    with pytest.raises(UserError, match="no feature 'sentense'; the nearest is 'sentence'"):
        read(data_dir, "glue/sst2", text_a="sentense")
    with pytest.raises(UserError, match="the feature 'idx' is not text"):
        read(data_dir, "glue/sst2", text_a="idx")
    with pytest.raises(UserError, match="this is regression"):
        read(data_dir, "glue/stsb", text_a="sentence1", labels=("low", "high"))
    with pytest.raises(UserError, match="Dataset no_such_set not found.$"):
        read(data_dir, "no_such_set")
    with pytest.raises(UserError, match="Unknown split 'validaton'"):
        read(data_dir, "glue/sst2", dev="validaton")
    with pytest.raises(UserError, match=r"example 0: the label '-1' is not one of"):
        read(data_dir, "glue/sst2", dev="test")
    with pytest.raises(UserError, match="those of tfds:glue/sst2 are 'negative', 'positive'"):
        read(data_dir, "glue/sst2", labels=("bad", "good"))
    with pytest.raises(UserError, match="corresponds to no data"):
        read(data_dir, "glue/sst2", dev="validation[:0]")
    with pytest.raises(UserError, match="own_empty.*validation.*no"):
        read(data_dir, "own_empty", labels=("yes", "no"))
    with pytest.raises(UserError, match="cannot give 'glue/cola'"):
        read(data_dir, "glue/cola", download=False)


@pytest.mark.parametrize("name", ["glue/cola", "imdb_reviews", "squad/v1.1"])
def test_a_dataset_to_be_prepared_gets_as_far_as_its_download(tmp_path, monkeypatch, name):
    """All that TFDS itself imports on the way is installed; only the network is not there."""

    def no_network(manager, urls):
        raise ConnectionError("no route to host")

    for method in ("download", "download_and_extract"):
        monkeypatch.setattr(tfds.download.DownloadManager, method, no_network)
    with pytest.raises(UserError, match="ConnectionError: no route to host"):
        read(tmp_path, name)


def test_broken_file(tmp_path, write_dataset):
    examples = [{"sentence": "x" * 99, "label": 0}]
    features = {"sentence": tfds.features.Text(), "label": np.int64}
    write_dataset(tmp_path, "broken/1.0.0", features, {"train": examples, "validation": examples})
    (file,) = tmp_path.rglob("*train*")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(UserError, match="cannot give 'broken'"):
        read(tmp_path, "broken", labels=("a", "b"))


def test_missing_package(monkeypatch):
    whole_import = builtins.__import__

    def without_tfds(name, *args, **kwargs):
        if name == "tensorflow_datasets":
            raise ImportError(name)
        return whole_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_tfds)
    with pytest.raises(UserError, match="pip install tensorflow-datasets"):
        tfds_task("glue/sst2", text_a="sentence")
