"""CoNLL files: sentences, tags, and what is refused."""

import pytest

from tf_prune_ofa.data.conll import conll_task
from tf_prune_ofa.errors import UserError

GOOD = "-DOCSTART- -X- O O\n\nEU NNP B-org\nrejects VBZ O\n\t\nPeter\tB-person\nis\tO\n\n\n"


@pytest.fixture
def write(tmp_path):
    def written(name, text):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_words_tags_and_labels(write):
    path = write("train.conll", GOOD)
    task = conll_task(path, path)
    assert task.kind == "tokens"
    assert task.labels == ("O", "B-org", "I-org", "B-person", "I-person")
    assert task.train.words == [["EU", "rejects"], ["Peter", "is"]]
    assert [tags.tolist() for tags in task.train.tags] == [[1, 0], [3, 0]]
    assert task.train.texts == ["EU rejects", "Peter is"]
    assert task.train.spans == [[(0, 2), (3, 10)], [(0, 5), (6, 8)]]
    assert len(task.train.take(1)) == 1


def test_windows_line_ends_and_no_line_end_at_the_end(write):
    path = write("a.conll", GOOD.replace("\n", "\r\n").rstrip())
    assert conll_task(path, path).train.words == [["EU", "rejects"], ["Peter", "is"]]


def test_labels_can_be_given(write):
    path = write("train.conll", GOOD)
    labels = ("B-person", "I-person", "O", "B-org", "I-org")
    assert conll_task(path, path, labels).train.tags[1].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a O\nb\n", "line 2: 'b' has no tag"),
        ("a S-org\n", "line 1: the tag 'S-org' is not O, B-type or I-type"),
        ("a org\n", "line 1: the tag 'org'"),
        ("\n\n", "has no sentences"),
    ],
)
def test_files_of_another_form_are_refused(write, text, message):
    path = write("train.conll", text)
    with pytest.raises(UserError, match=message):
        conll_task(path, path)


def test_a_tag_that_the_training_file_lacks_is_refused(write):
    dev = write("dev.conll", "\na O\nb B-place\n")
    with pytest.raises(UserError, match=r"dev\.conll, line 3: the tag 'B-place' is not one"):
        conll_task(write("train.conll", GOOD), dev)
