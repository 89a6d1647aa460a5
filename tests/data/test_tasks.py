import pytest

from tf_prune_ofa.data import tasks
from tf_prune_ofa.errors import UserError


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "train.tsv").write_text("text\tlabel\nlearn\tx\n")
    (tmp_path / "dev.tsv").write_text("text\tlabel\njudge\ty\n")
    return {
        "name": "own",
        "train": tmp_path / "train.tsv",
        "dev": tmp_path / "dev.tsv",
        "text_a": "text",
        "labels": ("x", "y"),
    }


def test_own_files(settings):
    task = tasks.load_task("files", **settings)
    assert (task.train.text_a, task.dev.text_a) == (["learn"], ["judge"])
    assert task.dev.label.tolist() == [1]


def test_unlabelled_text_is_of_one_side(settings):
    assert tasks.load_unlabelled_text("files", **settings) == [["learn"]]
    assert tasks.load_unlabelled_text("files", side="dev", **settings) == [["judge"]]


def test_reviews(review_corpus):
    task = tasks.load_task("reviews", path=review_corpus, held_out=0.3)
    text = tasks.load_unlabelled_text("reviews", path=review_corpus, held_out=0.3)
    assert len(task.dev) > 3000
    assert not {passage for document in text for passage in document} & set(task.dev.text_a)


def test_tfds_gets_the_name_behind_the_colon():
    with pytest.raises(UserError, match="cannot give 'no_such_dataset_at_all'"):
        tasks.load_task("tfds:no_such_dataset_at_all", text_a="text", download=False)


def test_unknown_source():
    with pytest.raises(UserError, match=r"'review'.*it is 'reviews', 'files' or 'tfds:NAME'"):
        tasks.load_task("review")
