import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tf_prune_ofa.corpus import tfrecord
from tf_prune_ofa.keras_compat import tf

numbers = st.lists(st.integers(0, 2**40), max_size=40)
names = st.lists(st.sampled_from("abc"), min_size=1, unique=True)


@given(names.flatmap(lambda names: st.lists(st.fixed_dictionaries(dict.fromkeys(names, numbers)))))
def test_examples_are_what_tensorflow_reads(rows):
    features = {
        name: [np.array(row[name], np.int64) for row in rows] for name in (rows[0] if rows else "a")
    }
    found = []
    for content in tfrecord.examples(features):
        parsed = tf.train.Example.FromString(content).features.feature
        found.append({name: list(parsed[name].int64_list.value) for name in parsed})
    assert found == rows


def test_examples_are_the_bytes_that_tensorflow_writes():
    """Of 32 bits, as ids are, with every number of bytes."""
    ids = np.array([0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 2**31 - 1], np.int32)
    lists = {"a": ids, "b": ids[:1]}
    theirs = tf.train.Example(
        features=tf.train.Features(
            feature={
                name: tf.train.Feature(int64_list=tf.train.Int64List(value=values))
                for name, values in lists.items()
            }
        )
    )
    assert tfrecord.examples({name: [values] for name, values in lists.items()}) == [
        theirs.SerializeToString(deterministic=True)
    ]


def test_records_are_what_tensorflow_reads_checksums_included(tmp_path):
    contents = [b"", b"a", b"hello" * 100, bytes(range(256))]
    path = tmp_path / "file.tfrecord"
    written = tfrecord.records(contents)
    path.write_bytes(b"".join(written))
    assert list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()) == contents
    assert [tfrecord.content_of(record) for record in written] == contents
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for content in contents:
            writer.write(content)
    assert (tmp_path / "theirs").read_bytes() == path.read_bytes()
