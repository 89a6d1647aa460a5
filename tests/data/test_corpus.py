import pytest

from tf_prune_ofa.config import CorpusSettings
from tf_prune_ofa.data.corpus import corpus_documents, corpus_files
from tf_prune_ofa.errors import UserError


def test_documents_of_files(tmp_path):
    for name, count in (("a.txt", 30), ("b.txt", 10)):
        lines = [f"{name} {number}" for number in range(count)]
        (tmp_path / name).write_text("\n\n".join(lines) + "\n")
    corpus = CorpusSettings((str(tmp_path / "a.txt"), str(tmp_path / "b.txt")))
    train, dev = corpus_documents(corpus)
    assert dev == [["a.txt 0"], ["a.txt 20"]]
    assert len(train) == 38 and train[-1] == ["b.txt 9"] and dev[0] not in train
    assert corpus_files(corpus) == [tmp_path / "a.txt", tmp_path / "b.txt"]
    train, dev = corpus_documents(CorpusSettings(corpus.files, limit=21))
    assert (len(train), len(dev)) == (19, 2)


def test_files_without_text(tmp_path):
    (tmp_path / "a.txt").write_text("\n \n")
    with pytest.raises(UserError, match=r"a\.txt has no text"):
        corpus_documents(CorpusSettings((str(tmp_path / "a.txt"),)))
    with pytest.raises(UserError, match="No file"):
        corpus_documents(CorpusSettings((str(tmp_path / "b.txt"),)))


def test_the_installed_text(review_corpus, tmp_path):
    corpus = CorpusSettings(("reviews",))
    assert corpus_files(corpus) == [review_corpus]
    train, dev = corpus_documents(corpus)
    seen = {passage for document in train for passage in document}
    assert len(train) > 800 and not seen & {passage for document in dev for passage in document}
    (tmp_path / "more.txt").write_text("one\ntwo\n")
    more = CorpusSettings(("reviews", str(tmp_path / "more.txt")))
    assert len(corpus_documents(more)[0]) == len(train) + 1
    limited = corpus_documents(CorpusSettings(("reviews",), limit=5))
    assert (len(limited[0]), limited[0]) == (5, train[:5])
