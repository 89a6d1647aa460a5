import io
import zipfile

import numpy as np
import pytest
from exported_models import CONFIG, make_examples, make_model

from tf_prune_ofa.conversion import convert
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.models.bert import Classification, EncoderConfig
from tf_prune_ofa.runtime import mediapipe
from tf_prune_ofa.runtime.interpreter import Interpreter
from tf_prune_ofa.tflite import metadata
from tf_prune_ofa.tflite.graph import Graph
from tf_prune_ofa.tflite.packed_files import associated_files

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + [f"w{i}" for i in range(4, CONFIG.vocab_size)]
LABELS = ["rotten", "fresh"]


def test_vocabulary_and_labels_are_in_the_file(dense_file):
    content = metadata.attach(dense_file, VOCAB, LABELS)
    files = associated_files(content)
    assert list(files) == ["vocab.txt", "labels.txt"]
    assert files["vocab.txt"].splitlines() == VOCAB
    assert files["labels.txt"].splitlines() == LABELS
    assert associated_files(dense_file) == {}


def test_texts_are_stored_not_compressed(dense_file):
    content = metadata.attach(dense_file, VOCAB, LABELS)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())


def test_the_description_names_roles_files_and_tokenizer(dense_file):
    description = Graph(metadata.attach(dense_file, VOCAB, LABELS)).metadata("TFLITE_METADATA")
    assert description[4:8] == b"M001"
    for text in (b"ids", b"mask", b"segment_ids", b"vocab.txt", b"labels.txt", b"1.1.0"):
        assert text + b"\0" in description


def test_the_model_is_as_before(dense_file, run_bytes):
    content = metadata.attach(dense_file, VOCAB, LABELS)
    for example in make_examples(2):
        found = run_bytes(content, **example)["logits"]
        np.testing.assert_array_equal(found, run_bytes(dense_file, **example)["logits"])


def test_equal_input_gives_equal_bytes(dense_file):
    assert metadata.attach(dense_file, VOCAB, LABELS) == metadata.attach(dense_file, VOCAB, LABELS)


def test_attaching_again_replaces(dense_file):
    first = metadata.attach(dense_file, VOCAB, LABELS)
    second = metadata.attach(first, VOCAB, ["no", "yes"])
    assert associated_files(second)["labels.txt"] == "no\nyes\n"
    assert len(Graph(second).model.metadata) == len(Graph(first).model.metadata)


def test_distilbert_gets_the_third_input(tmp_path):
    config = EncoderConfig("distilbert", CONFIG.vocab_size, 16, 1, 2, 32).without_dropout()
    before = convert.to_float32(make_model(config, Classification(2), length=4))
    after = metadata.attach(before, VOCAB, LABELS)
    ids, mask = np.int32([2, 5, 3, 0]), np.int32([1, 1, 1, 0])
    outputs = []
    for name, content in (("before", before), ("after", after)):
        (tmp_path / name).write_bytes(content)
        interpreter = Interpreter(tmp_path / name)
        outputs.append(interpreter.run(ids, mask)["logits"])
    assert interpreter.input_names == ["input_word_ids", "input_mask", "input_type_ids"]
    np.testing.assert_array_equal(*outputs)


def test_no_labels(dense_file):
    content = metadata.attach(dense_file, VOCAB)
    assert list(associated_files(content)) == ["vocab.txt"]


def test_too_many_labels(dense_file):
    with pytest.raises(UserError, match=r"3 labels \(a, b, c\).*logits of 2"):
        metadata.attach(dense_file, VOCAB, ["a", "b", "c"])


def test_a_vocabulary_without_special_pieces(dense_file):
    with pytest.raises(UserError, match=r"lacks \[CLS\]"):
        metadata.attach(dense_file, [piece for piece in VOCAB if piece != "[CLS]"], LABELS)


@pytest.mark.slow
@pytest.mark.network
def test_mediapipe_takes_the_file_and_raw_text(sparse_file, tmp_path, request):
    path = tmp_path / "model.tflite"
    path.write_bytes(metadata.attach(sparse_file, VOCAB, LABELS))
    interpreter = Interpreter(path)
    sentences = ["W4 w5", "w20 w21 w22", "w7 unknown", "w9 w10 w11 w12 w13 w14 w15 w16", ""]
    expected = []
    for sentence in sentences:
        words = [VOCAB.index(w) if w in VOCAB else 1 for w in sentence.lower().split()][:6]
        ids = np.zeros(8, np.int32)
        ids[: len(words) + 2] = [2, *words, 3]
        logits = interpreter.run(ids, (np.arange(8) < len(words) + 2).astype(np.int32))["logits"]
        expected.append(LABELS[int(np.argmax(logits))])
    cache = request.config.cache.mkdir("environments")
    assert mediapipe.classify(path, sentences, cache) == expected


@pytest.mark.slow
@pytest.mark.network
def test_mediapipe_refuses_a_file_without_metadata(dense_file, tmp_path, request):
    path = tmp_path / "model.tflite"
    path.write_bytes(dense_file)
    with pytest.raises(UserError, match="does not take"):
        mediapipe.classify(path, ["w4"], request.config.cache.mkdir("environments"))


@pytest.mark.parametrize("labels", [["no", "yes\nindeed"], ["no\r", "yes"], ["no", ""]])
def test_labels_that_would_not_come_back_as_lines(dense_file, labels):
    with pytest.raises(UserError, match="line's end|one label is empty"):
        metadata.attach(dense_file, VOCAB, labels)
