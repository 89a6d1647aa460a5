import lzma

import pytest

from tf_prune_ofa.data.wiki_text import read_documents, write_corpus
from tf_prune_ofa.errors import UserError

TEXT = """<doc id="1" url="u" title="Ant">
Ant

Ants are  insects.
They live in colonies.
</doc>
<doc id="2" url="u" title="Bee">
Bee

Bees fly.
</doc>
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "AA.txt.xz"
    path.write_bytes(lzma.compress(TEXT.encode()))
    return path


def test_a_document_is_a_line_without_its_title(file):
    assert list(read_documents(file)) == ["Ants are insects. They live in colonies.", "Bees fly."]
    assert list(read_documents(file, min_characters=10)) == [
        "Ants are insects. They live in colonies."
    ]


def test_the_order_is_of_the_seed_and_the_size_is_limited(file, tmp_path):
    target = tmp_path / "corpus.txt"
    assert write_corpus([file], target, megabytes=0, min_characters=1) == (2, 51)
    whole = target.read_text().splitlines()
    assert sorted(whole) == sorted(read_documents(file))
    count, size = write_corpus([file], target, megabytes=1e-6, min_characters=1)
    assert count == 1 and target.read_text().splitlines() == whole[:1]
    assert size == len(whole[0]) + 1


def test_what_is_no_such_text_is_refused(file, tmp_path):
    plain = tmp_path / "plain.txt"
    plain.write_text("just text\n")
    with pytest.raises(UserError, match="no '<doc ...>' line"):
        list(read_documents(plain))
    damaged = tmp_path / "cut.xz"
    damaged.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(UserError, match="cannot be read as text"):
        list(read_documents(damaged))
    with pytest.raises(UserError, match="cannot be read as text"):
        list(read_documents(tmp_path / "absent.txt"))
    with pytest.raises(UserError, match="no document has 4000 characters"):
        write_corpus([file], tmp_path / "out.txt", megabytes=1, min_characters=4000)
    assert not (tmp_path / "out.txt").exists()
