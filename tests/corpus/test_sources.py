import bz2
import gzip
import importlib
import json
import lzma

import pytest

from tf_prune_ofa.corpus import sources
from tf_prune_ofa.corpus.sources import MOST_PIECES, Unit, find_units, pieces_of, read_unit
from tf_prune_ofa.errors import UserError

DOCUMENTS = ["Ants are insects. They live.", "Bees fly – far.", "Çà et là."]


def documents(*names, **options):
    return [text for unit in find_units([*map(str, names)], **options) for text in read_unit(unit)]


def wiki(texts):
    return "".join(f'<doc id="{n}">\nTitle\n\n{text}\n</doc>\n' for n, text in enumerate(texts))


def json_lines(texts):
    return "".join(json.dumps({"text": text, "id": 1}) + "\n" for text in texts)


def lines(texts):
    return "\n".join(texts)


FORMS = {"a.txt": lines, "a.jsonl": json_lines, "wiki_00": wiki}
PACKERS = {"": bytes, ".xz": lzma.compress, ".bz2": bz2.compress, ".gz": gzip.compress}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("ending", PACKERS)
def test_every_form_plain_or_packed(name, ending, tmp_path):
    path = tmp_path / (name + ending)
    path.write_bytes(PACKERS[ending](FORMS[name](DOCUMENTS).encode()))
    assert documents(path) == DOCUMENTS
    assert documents(tmp_path) == DOCUMENTS


@pytest.mark.parametrize("name", FORMS)
def test_units_have_each_document_once_wherever_they_are_cut(name, tmp_path, monkeypatch):
    texts = [f"Document {n} é. " * (n % 4 + 1) for n in range(20)]
    path = tmp_path / name
    path.write_text("\ufeff" + FORMS[name](texts), encoding="utf-8")
    for size in (1, 7, 64, 1000):
        monkeypatch.setattr(sources, "UNIT_BYTES", size)
        assert documents(path) == [text.strip() for text in texts]


def test_parquet(tmp_path):
    parquet = pytest.importorskip(
        "pyarrow.parquet", reason="is in the extra [corpus]", exc_type=ImportError
    )
    table = importlib.import_module("pyarrow").table
    path = tmp_path / "a.parquet"
    parquet.write_table(table({"text": DOCUMENTS}), path, row_group_size=2)
    assert len(find_units([str(path)])) == 2
    assert documents(path) == DOCUMENTS
    with pytest.raises(UserError, match="has no column 'body'; it has text"):
        documents(path, field="body")


def test_what_is_not_there_or_damaged_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"absent\.txt cannot be read"):
        documents(tmp_path / "absent.txt")
    with pytest.raises(UserError, match="no text in"):
        documents(tmp_path)
    bad = tmp_path / "a.jsonl"
    bad.write_text('{"text": "a"}\n{"body": "b"}\n')
    with pytest.raises(UserError, match="without text in 'text'; its fields are 'body'"):
        documents(bad)
    bad.write_text('{"text": \n')
    with pytest.raises(UserError, match="a line that is no JSON"):
        documents(bad)
    cut = tmp_path / "a.txt.xz"
    cut.write_bytes(lzma.compress(b"some text\n" * 1000)[:-20])
    with pytest.raises(UserError, match="cannot be read"):
        documents(cut)
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9\n")
    with pytest.raises(UserError, match="cannot be read as text"):
        documents(latin)


def test_pieces_are_few_and_have_every_unit_in_order():
    units = [Unit("text", str(n), 0, 50_000 * (n % 7), 50_000 * (n % 7)) for n in range(20_000)]
    pieces = pieces_of(units)
    assert [unit for piece in pieces for unit in piece] == units
    # Enough for many processes, and no more than a bucket can look into.
    assert MOST_PIECES // 2 < len(pieces) <= MOST_PIECES
    sizes = [sum(unit.size for unit in piece) for piece in pieces]
    assert max(sizes) < 1.1 * sum(sizes) / len(sizes)


def test_small_sources_are_not_cut_finer_than_they_have_text():
    units = [Unit("text", str(n), 0, 1000, 1000) for n in range(5)]
    assert pieces_of(units) == [units]
