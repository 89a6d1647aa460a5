"""Text made up here, in every form that a source can have."""

import json
import random

import pytest

from tf_prune_ofa.corpus.plan import Plan

# Of conftest.py's vocabulary, and some that is not in it.
WORDS = "the film is good bad goodly badness a b c café zebra".split()


def sentence(rng):
    words = rng.choices(WORDS, k=rng.randint(2, 9))
    return " ".join([words[0].capitalize(), *words[1:]]) + rng.choice([".", "!", "."])


def made_up(count, seed=0):
    """Documents of one to eight sentences, some of them twice."""
    rng = random.Random(seed)
    texts = [" ".join(sentence(rng) for _ in range(rng.randint(1, 8))) for _ in range(count)]
    return texts + texts[: count // 10]


@pytest.fixture(scope="session")
def texts():
    return made_up(200)


@pytest.fixture(scope="session")
def text_file(texts, tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def make_plan(vocab_path):
    def make(**changes):
        settings = {
            "form": "pairs",
            "length": 24,
            "vocabulary": str(vocab_path),
            "tokenizer": json.dumps({"lower_case": True}),
            "buckets": 8,
            "dev_share": 0.2,
            "min_characters": 20,
        }
        return Plan(**{**settings, **changes})

    return make
