import numpy as np
import pytest

from tf_prune_ofa.train.squad_metrics import (
    best_threshold,
    exact_match,
    f1,
    normalize,
    question_scores,
    squad_scores,
    squad_v2_scores,
)


@pytest.mark.parametrize(
    ("answer", "form"),
    [
        ("The Eiffel  Tower!", "eiffel tower"),
        ("a", ""),
        ("An apple a day", "apple day"),
        ("U.S.A.", "usa"),
        ("theatre anthem", "theatre anthem"),
        ("mid-the-air", "midtheair"),  # punctuation goes first
        ("“quoted” – text…", "“quoted” – text…"),  # only ASCII punctuation
        ("\tline\nends\xa0", "line ends"),
        ("", ""),
    ],
)
def test_normal_form(answer, form):
    assert normalize(answer) == form


def test_scores_of_one_pair_by_hand():
    assert exact_match("The Tower.", "tower") == 1 and exact_match("towers", "tower") == 0
    # Two of three words are right, and two of two are found: 2 · (2/3 · 1) / (2/3 + 1).
    assert f1("in red Paris", "Paris, in") == pytest.approx(0.8)
    # Words count as often as they occur.
    assert f1("no no no", "no") == pytest.approx(0.5)
    assert f1("Rome", "Paris") == 0


def test_answers_without_words():
    assert f1("the", "a") == exact_match("the", "a") == 1
    assert f1("the", "cat") == f1("cat", "") == 0
    # Version 2 does not count such right answers, version 1.1 does.
    assert question_scores("cat", ["the", "cat"], v2=True) == (1, 1)
    assert question_scores("a", ["the", "cat"], v2=True) == (0, 0)
    assert question_scores("a", ["the", "cat"]) == (1, 1)


def test_the_best_of_several_answers_counts():
    assert question_scores("red car", ["a car", "the red car", "auto"]) == (1, 1)
    assert question_scores("red car", ["car", "auto"]) == (0, pytest.approx(2 / 3))
    assert squad_scores(["red car", "x"], [["car"], ["x", "y"]]) == {
        "exact_match": 0.5,
        "f1": pytest.approx((2 / 3 + 1) / 2),
    }


def test_no_answer_is_right_where_there_is_none():
    assert question_scores("", [], v2=True) == (1, 1)
    assert question_scores("x", [], v2=True) == (0, 0)
    assert question_scores("", ["x"], v2=True) == (0, 0)


def test_best_threshold_by_hand():
    # Answering gains 1, loses 1, gains 1 in the order of the differences: the least of two equals.
    differences = np.array([0.5, -2.0, 1.5])
    assert best_threshold(np.array([0, 1, 1]), np.array([1, 0, 0]), differences) == -2.0
    # Answering none is best.
    assert best_threshold(np.zeros(2), np.ones(2), np.array([3.0, 4.0])) < 3.0
    # Where no span was possible there is nothing to answer with.
    assert best_threshold(np.array([1.0, 0]), np.array([0, 1.0]), np.array([1, np.inf])) == 1.0


def test_scores_of_version_2_by_hand():
    answers = ["Paris", "x", "Oslo", "Rome", "y"]
    right = [["Paris"], [], ["Oslo"], ["Rome, Italy"], []]
    # Up to 0: 1 - 1 + 1 + 2/3 gained by answering, more than the 1 of the first alone.
    found = squad_v2_scores(answers, right, [-5, -1, -0.5, 0, 2])
    assert found["null_threshold"] == 0
    assert found["exact_match"] == pytest.approx((1 + 0 + 1 + 0 + 1) / 5)
    assert found["f1"] == pytest.approx((1 + 0 + 1 + 2 / 3 + 1) / 5)
    assert found["f1_answerable"] == pytest.approx(8 / 9) and found["f1_unanswerable"] == 0.5


PIECES = [
    *("the", "The", "a", "AN", "an", "cat", "Cats", "theatre", "1,000", "1000", "U.S.", "us"),
    *(".", ",", "-", "--", "'s", "“", "”", "…", "$", "%", "^", "`", "_", "!", "¿", "。"),
    *(
        " ",
        "  ",
        "\t",
        "\n",
        "\r\n",
        "\xa0",
        "\u3000",
        "\u200b",
        "\x1c",
        "\x85",
        "\u2028",
        "\ufeff",
    ),
    *("é", "e\u0301", "ß", "SS", "İ", "ı", "ﬁ", "K", "Ω", "中文", "日本", "😀", "👩‍🔬", "\x00"),
    "the\u0301",
]


def awkward_answers(count, seed):
    """Pairs of an answer and its right answers, of pieces that a careless rule trips over."""
    rng = np.random.default_rng(seed)

    def text():
        return "".join(rng.choice(PIECES, rng.integers(0, 7)))

    pairs = []
    for _ in range(count):
        right = [text() for _ in range(rng.integers(1, 4))]
        # Half of the answers are near a right one.
        near = right[0] + rng.choice(PIECES), right[-1].upper(), f"the {right[0]}."
        pairs.append((str(rng.choice([text(), text(), text(), *near])), right))
    return pairs


@pytest.mark.slow  # torchmetrics needs PyTorch: run it where both are installed
def test_version_1_is_torchmetrics_s():
    squad = pytest.importorskip("torchmetrics.functional.text").squad
    pairs = awkward_answers(2000, seed=0)
    for answer, right in pairs:
        theirs = squad(*as_torchmetrics([(answer, right)]))
        ours = question_scores(answer, right)
        assert ours == (
            pytest.approx(float(theirs["exact_match"]) / 100),
            pytest.approx(float(theirs["f1"]) / 100, abs=1e-6),
        ), (answer, right)
    ours = squad_scores(*zip(*pairs, strict=True))
    theirs = squad(*as_torchmetrics(pairs))
    assert {k: pytest.approx(float(v) / 100, abs=1e-6) for k, v in theirs.items()} == ours


def as_torchmetrics(pairs):
    found = [{"prediction_text": a, "id": str(i)} for i, (a, _) in enumerate(pairs)]
    right = [
        {"answers": {"text": r, "answer_start": [0] * len(r)}, "id": str(i)}
        for i, (_, r) in enumerate(pairs)
    ]
    return found, right


@pytest.mark.slow  # for the same reason: transformers is none of our dependencies
def test_version_2_is_transformers_s():
    metrics = pytest.importorskip("transformers.data.metrics.squad_metrics")
    examples = pytest.importorskip("transformers").SquadExample
    rng = np.random.default_rng(1)
    pairs = awkward_answers(2000, seed=2)
    pairs = [(answer, right if rng.random() < 0.6 else []) for answer, right in pairs]
    # All different: among equal ones the official sweep may stop half-way.
    differences = rng.permutation(len(pairs)) / 100 - 5
    asked = [
        examples(str(i), "", "", None, None, "", [{"text": one} for one in right])
        for i, (_, right) in enumerate(pairs)
    ]
    answers = {str(i): answer for i, (answer, _) in enumerate(pairs)}
    null_odds = {str(i): float(value) for i, value in enumerate(differences)}
    exact, overlap = metrics.get_raw_scores(asked, answers)
    for i, (answer, right) in enumerate(pairs):
        ours = question_scores(answer, right, v2=True)
        assert ours == (exact[str(i)], pytest.approx(overlap[str(i)])), (answer, right)
    theirs = metrics.squad_evaluate(asked, answers, null_odds)
    ours = squad_v2_scores(*zip(*pairs, strict=True), differences)
    assert 100 * ours["f1"] == pytest.approx(theirs["best_f1"])
