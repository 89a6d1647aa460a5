import builtins

import numpy as np
import pytest

from tf_prune_ofa.data.tfds_task import tfds_task
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import tf

tfds = pytest.importorskip("tensorflow_datasets")


def write_dataset(folder, features, splits):
    """Writes a prepared dataset, as TFDS documents it for files made elsewhere."""
    folder.mkdir(parents=True)
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder,
        dataset_name="glue",
        filetype_suffix="tfrecord",
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    )
    infos = []
    for name, examples in splits.items():
        path = folder / f"glue-{name}.tfrecord-00000-of-00001"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for example in examples:
                writer.write(features.serialize_example(features.encode_example(example)))
        infos.append(
            tfds.core.SplitInfo(
                name=name,
                shard_lengths=[len(examples)],
                num_bytes=path.stat().st_size,
                filename_template=template.replace(split=name),
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=features, split_infos=infos, filename_template=template
    )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")

    def texts(count, label):
        return [
            {"sentence": f"café {i}", "other": f"b{i}", "label": label(i)} for i in range(count)
        ]

    def features(label):
        text = tfds.features.Text
        return tfds.features.FeaturesDict({"sentence": text(), "other": text(), "label": label})

    write_dataset(
        folder / "glue" / "sst2" / "2.0.0",
        features(tfds.features.ClassLabel(names=["negative", "positive"])),
        {
            "train": texts(6, lambda i: i % 2),
            "validation": texts(3, lambda i: 1),
            "test": texts(2, lambda i: -1),
        },
    )
    write_dataset(
        folder / "glue" / "stsb" / "2.0.0",
        features(np.float32),
        {"train": texts(2, lambda i: i + 0.5), "validation": texts(2, lambda i: 5.0)},
    )
    write_dataset(
        folder / "glue" / "rte" / "2.0.0",
        features(np.int64),
        {"train": texts(2, lambda i: i), "validation": texts(2, lambda i: 1 - i)},
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
    task = read(data_dir, "glue/stsb", text_b="other")
    assert task.is_regression
    assert sorted(zip(task.train.text_b, task.train.label, strict=True)) == [
        ("b0", 0.5),
        ("b1", 1.5),
    ]


def test_numbers_without_names_need_labels(data_dir):
    task = read(data_dir, "glue/rte", labels=("no", "yes"))
    rows = dict(zip(task.train.text_a, task.train.label.tolist(), strict=True))
    assert rows == {"café 0": 0, "café 1": 1}
    with pytest.raises(UserError, match="list the task's labels"):
        read(data_dir, "glue/rte")


def test_bad_requests(data_dir):
    with pytest.raises(UserError, match="no feature 'sentense'; the nearest is 'sentence'"):
        read(data_dir, "glue/sst2", text_a="sentense")
    with pytest.raises(UserError, match="Unknown split 'validaton'"):
        read(data_dir, "glue/sst2", dev="validaton")
    with pytest.raises(UserError, match=r"example 0: the label '-1' is not one of"):
        read(data_dir, "glue/sst2", dev="test")
    with pytest.raises(UserError, match="those of tfds:glue/sst2 are 'negative', 'positive'"):
        read(data_dir, "glue/sst2", labels=("bad", "good"))
    with pytest.raises(UserError, match="validation.* has no examples"):
        read(data_dir, "glue/sst2", dev="validation[:0]")
    with pytest.raises(UserError, match="cannot give 'glue/cola'"):
        read(data_dir, "glue/cola", download=False)


def test_missing_package(monkeypatch):
    whole_import = builtins.__import__

    def without_tfds(name, *args, **kwargs):
        if name == "tensorflow_datasets":
            raise ImportError(name)
        return whole_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_tfds)
    with pytest.raises(UserError, match="pip install tensorflow-datasets"):
        tfds_task("glue/sst2", text_a="sentence")
