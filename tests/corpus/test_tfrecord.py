from hypothesis import given
from hypothesis import strategies as st

from tf_prune_ofa.corpus import tfrecord
from tf_prune_ofa.keras_compat import tf

numbers = st.lists(st.integers(0, 2**40), max_size=40)


@given(st.dictionaries(st.sampled_from("abc"), numbers, max_size=3))
def test_an_example_is_what_tensorflow_reads(features):
    parsed = tf.train.Example.FromString(tfrecord.example(features)).features.feature
    assert {name: list(parsed[name].int64_list.value) for name in parsed} == features


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
