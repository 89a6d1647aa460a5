"""What is wrong with a choice of words that have rows of their own."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tf_prune_ofa.verification import shared_rows
from tf_prune_ofa.verification.shared_rows import SharedRows

RNG = np.random.default_rng(1)
WORDS = RNG.normal(size=(12, 6)).astype(np.float32)
USED = np.array([0, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0])
BESIDES = np.zeros_like(USED)
OWN = np.array([0, 1, 2, 3, 4])  # the first is a special token


def nearest(own: np.ndarray) -> SharedRows:
    distances = np.linalg.norm(WORDS[:, np.newaxis] - WORDS[own], axis=2)
    distances[1:, own == 0] = np.inf  # the special token's row is its own alone
    return SharedRows(own, np.argmin(distances, axis=1))


def problems(shared: SharedRows, **changes: Any) -> list[str]:
    settings: dict[str, Any] = {"needed": np.array([0]), "at_least": 1, "size": 5, **changes}
    besides = settings.pop("besides", BESIDES)
    return shared_rows.choice_problems(shared, WORDS, USED, besides, **settings)


def test_the_most_used_words_with_the_nearest_rows_pass() -> None:
    assert problems(nearest(OWN)) == []
    assert problems(nearest(np.arange(10)), size=0) == []
    assert problems(nearest(np.arange(6)), size=0, at_least=5) == []


@pytest.mark.parametrize(
    ("own", "changes", "said"),
    [
        ([1, 2, 3, 4, 5], {}, "1 special tokens have no rows"),
        ([0, 1, 2, 3, 5], {}, "are used up to 6 times"),
        ([0, 1, 2, 3], {}, "are used up to 6 times, with 4 rows"),
        ([0, 1, 2, 3, 4, 5], {}, "6 rows of words instead of 5"),
        ([0, 1, 2, 3, 4], {"size": 0}, "are used up to 5 times"),
        ([0, 1, 2, 3, 4], {"at_least": 7}, "1 words have rows that texts use less than 7"),
        ([1, 0, 2, 3, 4], {}, "not in the order of the vocabulary"),
    ],
)
def test_another_choice_is_refused(own: list[int], changes: dict[str, Any], said: str) -> None:
    assert any(said in text for text in problems(nearest(np.array(own)), **changes))


def test_further_texts_count_a_tenth() -> None:
    besides = np.zeros_like(USED)
    besides[11] = 1000  # a tenth of 45 uses: 4.5, between the fourth word's 5 and the next one's 4
    assert problems(nearest(np.arange(6)), size=6, besides=besides) == []
    assert problems(nearest(np.append(np.arange(6), 11)), size=7, besides=besides) == []
    found = problems(nearest(np.arange(7)), size=7, besides=besides)
    assert found == ["words without rows of their own are used up to 4.5 times, with 7 rows"]


def test_a_row_that_is_not_the_nearest_is_refused() -> None:
    row_of = nearest(OWN).row_of.copy()
    row_of[8] = (row_of[8] + 1) % 5
    assert problems(SharedRows(OWN, row_of)) == ["1 words share a row though another one is nearer"]


def test_a_file_without_such_a_list_has_none() -> None:
    file: Any = SimpleNamespace(constants=list, tensors=[])
    assert shared_rows.read(file, WORDS, USED) is None
