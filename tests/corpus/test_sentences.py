import numpy as np
from awkward_texts import awkward_texts

from tf_prune_ofa.corpus.sentences import SentenceTokenizer
from tf_prune_ofa.data.documents import split_sentences
from tf_prune_ofa.text.wordpiece import WordPiece


def check(tokenizer, texts):
    texts = [" ".join(text.split()) for text in texts]
    found = list(SentenceTokenizer(tokenizer).documents(texts))
    assert len(found) == len(texts)
    for text, sentences in zip(texts, found, strict=True):
        wanted = [ids for ids in tokenizer.tokenize(split_sentences(text)) if len(ids)]
        assert len(sentences) == len(wanted)
        assert all(np.array_equal(a, b) for a, b in zip(sentences, wanted, strict=True))


def test_word_by_word_the_ids_are_the_same(vocab_path, texts):
    for settings in (
        {},
        {"lower_case": False},
        {"strip_accents": False},
        {"clean_up": "mediapipe"},
    ):
        check(WordPiece(vocab_path, **settings), [*texts, *awkward_texts(200, seed=0)])


def test_words_that_no_longer_fit_are_looked_up_again(wordpiece, texts, monkeypatch):
    monkeypatch.setattr("tf_prune_ofa.corpus.sentences.MOST_WORDS", 5)
    monkeypatch.setattr("tf_prune_ofa.corpus.sentences._BATCH", 3)
    monkeypatch.setattr("tf_prune_ofa.corpus.sentences._LINE", 2)
    check(wordpiece, texts)


def test_words_are_looked_up_once_in_all_calls(wordpiece, monkeypatch):
    looked_up = []
    whole = wordpiece.tokenize_with_offsets

    def spied(lines):
        looked_up.extend(word for line in lines for word in line.split(" "))
        return whole(lines)

    monkeypatch.setattr(wordpiece, "tokenize_with_offsets", spied)
    tokenizer = SentenceTokenizer(wordpiece)
    first, second = "A good film. Is it bad?", "Is it a good film? No."
    for text in (first, second):
        list(tokenizer.documents([text]))
    assert sorted(looked_up) == sorted({*first.split(), *second.split()})
