"""Sentences as token ids, many times over: text repeats its words, so each is looked up once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np

from tf_prune_ofa.data.documents import split_sentences
from tf_prune_ofa.text.tokenizer import TextTokenizer
from tf_prune_ofa.text.wordpiece import WordPiece

MOST_WORDS = 400_000  # that are remembered, some 80 MB
_BATCH = 128  # documents that are tokenized at a time
_LINE = 128  # new words that the tokenizer sees as one text: a text costs it more than a word


class SentenceTokenizer:
    """Ids of sentences, the same as `TextTokenizer.tokenize` gives, several times as fast.

    What it remembers is worth keeping: one serves a process for all of its text.
    """

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        # No step of BERT's clean-up looks across a blank; added tokens and MediaPipe's count of
        # bytes may, and so may other kinds of tokenizers.
        self._is_by_word = isinstance(tokenizer, WordPiece) and tokenizer.parts_at_blanks
        self._ids: dict[str, bytes] = {}

    def documents(self, texts: Iterable[str]) -> Iterator[list[np.ndarray]]:
        """Yield for each text the int32 ids of its sentences; none of them is empty."""
        batch: list[str] = []
        for text in texts:
            batch.append(text)
            if len(batch) == _BATCH:
                yield from self._documents(batch)
                batch = []
        yield from self._documents(batch)

    def _documents(self, texts: Sequence[str]) -> Iterator[list[np.ndarray]]:
        sentences = [split_sentences(text) for text in texts]
        flat = [sentence for document in sentences for sentence in document]
        ids = iter(self._by_word(flat) if self._is_by_word else self._tokenizer.tokenize(flat))
        for document in sentences:
            yield [one for one in (next(ids) for _ in document) if len(one)]

    def _by_word(self, sentences: Sequence[str]) -> list[np.ndarray]:
        if len(self._ids) > MOST_WORDS:
            self._ids.clear()
        words = [sentence.split(" ") for sentence in sentences]
        new = set(chain.from_iterable(words)).difference(self._ids)
        self._ids.update(zip(new, self._of_words(list(new)), strict=True))
        look_up = self._ids.__getitem__
        return [np.frombuffer(b"".join(map(look_up, one)), np.int32) for one in words]

    def _of_words(self, words: Sequence[str]) -> Iterator[bytes]:
        """Yield the ids of each word."""
        lines = [words[start : start + _LINE] for start in range(0, len(words), _LINE)]
        encoded = self._tokenizer.tokenize_with_offsets([" ".join(line) for line in lines])
        for line, ids, offsets in zip(lines, *encoded, strict=True):
            # A word's tokens are those that begin in front of the blank behind it.
            blanks = np.cumsum([len(word) + 1 for word in line])
            ends = (np.searchsorted(offsets[:, 0], blanks) * ids.itemsize).tolist()
            data = ids.tobytes()
            for start, end in zip([0, *ends], ends, strict=False):
                yield data[start:end]
