"""Documents of sources as ids, put together by bucket: what goes from one kind of work to another.

A bundle, some documents of one bucket, is bytes:

    int64 [4]  n documents, m sentences, t tokens, documents that were too short
    uint64 [n]  hashes · int32 [n]  sentences of each · int32 [m]  tokens of each · int32 [t]  ids
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from tf_prune_ofa.corpus.plan import Plan, document_hash, tokenizer_for
from tf_prune_ofa.corpus.sentences import SentenceTokenizer
from tf_prune_ofa.corpus.sources import Unit, read_unit

MOST_TOKENS = 4_000_000  # that are held at a time


@dataclass
class Documents:
    """Documents of one bucket: hashes, sentences, and how many were left out."""

    hashes: list[int] = field(default_factory=list)
    sentences: list[list[np.ndarray]] = field(default_factory=list)
    too_short: int = 0

    def extend(self, bundle: bytes) -> None:
        """Add the documents of a bundle."""
        n, m, _, too_short = np.frombuffer(bundle, np.int64, 4).tolist()
        place = 4 * 8
        hashes = np.frombuffer(bundle, np.uint64, n, place)
        counts = np.frombuffer(bundle, np.int32, n, place := place + 8 * n)
        lengths = np.frombuffer(bundle, np.int32, m, place := place + 4 * n)
        ids = np.frombuffer(bundle, np.int32, offset=place + 4 * m)
        sentences = np.split(ids, np.cumsum(lengths)[:-1]) if m else []
        ends = np.cumsum(counts).tolist()
        self.hashes += hashes.tolist()
        for count, end in zip(counts.tolist(), ends, strict=True):
            self.sentences.append(sentences[end - count : end])
        self.too_short += too_short

    def packed(self) -> bytes:
        """Return the bundle of these documents."""
        sentences = [one for document in self.sentences for one in document]
        lengths = np.array([len(one) for one in sentences], np.int32)
        sizes = [len(self.hashes), len(sentences), int(lengths.sum()), self.too_short]
        parts: list[np.ndarray] = [
            np.array(sizes, np.int64),
            np.array(self.hashes, np.uint64),
            np.array([len(document) for document in self.sentences], np.int32),
            lengths,
            *sentences,
        ]
        return b"".join(part.tobytes() for part in parts)


def bundles_of(
    units: Iterable[Unit], plan: Plan, *, wanted: Callable[[int], bool] = lambda bucket: True
) -> Iterator[dict[int, bytes]]:
    """Yield the documents of some units as bundles by bucket, a few million tokens at a time.

    Args:
        units: to read.
        plan: of the corpus.
        wanted: says of a bucket whether its documents are still needed.

    Raises:
        UserError: a unit cannot be read.
    """
    tokenizer = _sentence_tokenizer_for(plan)
    buckets: dict[int, Documents] = defaultdict(Documents)
    hashes: list[int] = []  # of the documents on their way through the tokenizer

    def texts() -> Iterator[str]:
        for text in chain.from_iterable(map(read_unit, units)):
            value = document_hash(text)
            bucket = plan.bucket_of(value)
            if not wanted(bucket):
                continue
            if len(text) < plan.min_characters:
                buckets[bucket].too_short += 1
                continue
            hashes.append(value)
            yield text

    tokens, place = 0, 0
    for sentences in tokenizer.documents(texts()):
        value = hashes[place]
        place += 1
        documents = buckets[plan.bucket_of(value)]
        documents.hashes.append(value)
        documents.sentences.append(sentences)
        tokens += sum(map(len, sentences))
        if tokens > MOST_TOKENS:
            yield _packed(buckets)
            buckets.clear()
            del hashes[:place]
            tokens = place = 0
    if buckets:
        yield _packed(buckets)


@functools.lru_cache(maxsize=1)
def _sentence_tokenizer_for(plan: Plan) -> SentenceTokenizer:
    """Return the one of this process: it remembers the words of one call for the next."""
    return SentenceTokenizer(tokenizer_for(plan))


def _packed(buckets: dict[int, Documents]) -> dict[int, bytes]:
    return {bucket: buckets[bucket].packed() for bucket in sorted(buckets)}
