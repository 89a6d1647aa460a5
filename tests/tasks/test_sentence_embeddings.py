import numpy as np
import pytest

from tf_prune_ofa.config import LossSettings, TaskSettings
from tf_prune_ofa.data.sentence_texts import TextSplit, embedding_task
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import tf
from tf_prune_ofa.tasks import kind_of
from tf_prune_ofa.tasks.embeddings import (
    CosineDistance,
    EncodedTexts,
    MeanOfTokens,
    retrieval_scores,
)
from tf_prune_ofa.text.wordpiece import Encoded
from tf_prune_ofa.verification.behaviour import FLOAT, INT8, find_problems

RNG = np.random.default_rng(0)


def unit(*shape):
    x = RNG.normal(size=shape).astype(np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def read(folder, dev="a\tb\t1\nc\td\t2\n", train="x\n\ny\nx\n", name="train.txt", **settings):
    (folder / name).write_text(train, encoding="utf-8")
    (folder / "dev.tsv").write_text(dev, encoding="utf-8")
    columns = {"text_a": "1", "text_b": "2", "label": "3", "header": False}
    files = {"train": str(folder / name), "dev": str(folder / "dev.tsv")}
    return embedding_task(TaskSettings(source="embeddings", **{**columns, **files, **settings}))


def test_padding_is_no_part_of_the_mean():
    x = np.float32([[[1, 2], [3, 4], [100, 100]]])
    found = MeanOfTokens()([x, np.int32([[1, 1, 0]])])
    np.testing.assert_allclose(found, [[2, 3]])


def test_the_distance_is_one_minus_the_cosine():
    ours, theirs = unit(5, 8), unit(5, 8)
    found = CosineDistance().soft(
        tf.constant(ours), tf.constant(theirs), LossSettings(soft=1), None
    )
    assert float(found) == pytest.approx(1 - np.mean(np.sum(ours * theirs, axis=1)), abs=1e-6)


def test_retrieval_by_hand():
    # Query 0 finds its document first; query 1 second; query 2 has two, one of them first.
    vectors = np.float32([[1, 0], [0, 1], [0.6, 0.8], [1, 0], [0.8, 0.6], [0.6, 0.8]])
    queries, documents = np.array([0, 1, 2, 2]), np.array([3, 4, 5, 3])
    assert retrieval_scores(vectors, queries, documents) == {
        "recall_at_1": pytest.approx(2 / 3),
        "mrr_at_10": pytest.approx((1 + 1 / 2 + 1) / 3),
    }


def test_one_vector_for_all_finds_nothing():
    same = np.ones([24, 1], np.float32)
    found = retrieval_scores(same, np.arange(12), np.arange(12, 24))
    assert found == {"recall_at_1": 0, "mrr_at_10": 0}


def test_files_are_read(tmp_path):
    data = read(tmp_path)
    assert data.train.texts == ["x", "y"] and len(data.train) == 2
    assert data.dev.texts == ["a", "b", "c", "d"] and data.dev.scores.tolist() == [1, 2]
    assert data.dev.take(1).pairs.tolist() == [[0, 1]] and len(data.dev.take(1).texts) == 2
    # Pairs to learn from are texts; so are those of a file without a second column.
    pairs = read(tmp_path, train="a\tb\nc\ta\n", name="train.tsv")
    assert pairs.train.texts == ["a", "b", "c"]
    single = read(tmp_path, train="a\nb\n", name="train.tsv")
    assert single.train.texts == ["a", "b"]
    queries = read(tmp_path, dev="q\tdoc\nr\tdoc\n", label="")
    assert queries.dev.scores is None and queries.dev.pairs.tolist() == [[0, 1], [2, 1]]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dev": "a\tb\thigh\n"}, "line 1: the score 'high' is not a finite number"),
        ({"dev": "a\tb\n"}, "has no column '3'"),
        ({"train": "\n"}, "has no texts"),
        ({"text_b": ""}, "judged by pairs of texts"),
        ({"dev": "a\tb\t\n"}, "line 1: no label"),
    ],
)
def test_wrong_data_is_refused(given, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read(tmp_path, **given)


def test_scores_and_losses_that_there_are(tmp_path):
    kind = kind_of(read(tmp_path), TaskSettings())
    assert kind.metrics == ("spearman", "pearson")
    kind.check_loss(LossSettings(hard=0, soft=1), "s.loss")
    kind.check_loss(LossSettings(hard=0, hidden=1), "s.loss")
    for loss in (LossSettings(), LossSettings(hard=0.5, soft=0.5)):
        with pytest.raises(UserError, match=r"s\.loss must distil"):
            kind.check_loss(loss, "s.loss")
    asked = kind_of(read(tmp_path, dev="q\td\n", label="", metrics=["spearman"]), TaskSettings())
    assert asked.metrics == ("recall_at_1", "mrr_at_10")


def test_other_vectors_fail():
    split = EncodedTexts(Encoded([], []), np.zeros(40), np.arange(40).reshape(-1, 2), None)
    kind = kind_of(read_split(), TaskSettings())
    reference = unit(40, 32)
    near = reference + 0.01 * unit(40, 32)
    assert (
        find_problems(0.01, kind.agreement(near, reference, split), reference, INT8, count=20) == []
    )
    for far, limits in ((unit(40, 32), INT8), (np.roll(reference, 1, axis=0), FLOAT)):
        found = find_problems(
            0.0, kind.agreement(far, reference, split), reference, limits, count=20
        )
        assert "cosine similarity with the model is" in found[0]
        assert kind.compare(far, reference, split)["smallest_cosine"] < 0.9


def test_queries_are_counted_once():
    pairs = np.array([[0, 1], [0, 2], [3, 4]])
    split = EncodedTexts(Encoded([], []), np.zeros(5), pairs, None)
    kind = kind_of(read_split(), TaskSettings())
    assert kind.count(split) == 2
    assert kind.count(EncodedTexts(Encoded([], []), np.zeros(5), pairs, np.zeros(3))) == 3


def read_split():
    from tf_prune_ofa.data.task_data import TaskData

    split = TextSplit(["a", "b"], np.array([[0, 1]]))
    return TaskData("t", (), split, split, kind="embeddings")
