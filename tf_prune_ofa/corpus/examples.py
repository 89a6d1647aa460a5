"""The examples of a bucket: which there are, in which order, as records.

Documents are in the order of their hashes, and the draws of each come from a stream of its own, by
seed and hash. So nothing depends on who did the work, on how many, or in what order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from tf_prune_ofa.corpus import tfrecord
from tf_prune_ofa.corpus.bundles import Documents
from tf_prune_ofa.corpus.plan import Plan, tokenizer_for
from tf_prune_ofa.data import segments
from tf_prune_ofa.text.tokenizer import TextTokenizer

SPLITS = ("train", "dev")
# Names of an Example's features; the last two of pairs only.
IDS, SECOND, LABEL = "input_ids", "second_segment", "next_sentence_label"
# Of an index of records: where each begins in its split's files one behind the other, its bytes,
# its tokens.
INDEX = np.dtype([("offset", "<u8"), ("size", "<u4"), ("length", "<u2")])


class Example(NamedTuple):
    """One sequence.

    Attributes:
        ids: int32 [n], special tokens included.
        second: where the second segment begins; 0 without one.
        label: 1 where the second segment is from another document.
    """

    ids: np.ndarray
    second: int = 0
    label: int = 0


@dataclass
class Part:
    """What a bucket gives to one split: records, their index, counts."""

    data: bytes
    index: np.ndarray
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Digest of the records."""
        return hashlib.sha256(self.data).hexdigest()


def parts_of(bundles: Iterable[bytes], plan: Plan) -> dict[str, Part]:
    """Return the records of a bucket, by split.

    Args:
        bundles: all of the bucket, in any order.
        plan: of the corpus.
    """
    documents = Documents()
    for bundle in bundles:
        documents.extend(bundle)
    # What is there twice is one document.
    by_hash = dict(zip(documents.hashes, documents.sentences, strict=True))
    duplicates = len(documents.hashes) - len(by_hash)
    parts = {}
    for split in SPLITS:
        wanted = [h for h in sorted(by_hash) if plan.is_dev(h) == (split == "dev")]
        chosen = [(h, by_hash[h]) for h in wanted if by_hash[h]]
        parts[split] = _part(chosen, plan)
    parts["train"].counts |= {"duplicates": duplicates, "too_short": documents.too_short}
    return parts


def _part(documents: list[tuple[int, list[np.ndarray]]], plan: Plan) -> Part:
    alone = len(documents) if plan.form == "pairs" and len(documents) == 1 else 0
    made = [] if alone else list(_examples(documents, plan))
    records = tfrecord.records(tfrecord.examples(_features(made, plan)))
    sizes = np.array([len(record) for record in records], np.int64)
    index = np.zeros(len(records), INDEX)
    index["offset"] = np.cumsum(sizes) - sizes
    index["size"] = sizes
    index["length"] = [len(one.ids) for one in made]
    counts = {
        "documents": len(documents) - alone,
        "alone": alone,
        "sentences": 0 if alone else sum(len(sentences) for _, sentences in documents),
        "examples": len(made),
        "tokens": int(index["length"].sum(dtype=np.int64)),
        "random_next": sum(one.label for one in made),
    }
    return Part(b"".join(records), index, counts)


def _examples(documents: list[tuple[int, list[np.ndarray]]], plan: Plan) -> Iterator[Example]:
    tokenizer = tokenizer_for(plan)
    if plan.form == "packed":
        for _, sentences in documents:
            yield from _packed(sentences, tokenizer, plan.length)
        return
    sentences_of = [sentences for _, sentences in documents]
    for number, (hash_value, _) in enumerate(documents):
        rng = np.random.default_rng((plan.seed, hash_value))
        pairs = segments.pairs_of(
            sentences_of, number, rng, max_length=plan.length, short_rate=plan.short_rate
        )
        for pair in pairs:
            ids, second = pair.with_special_tokens(tokenizer.cls_id, tokenizer.sep_id)
            yield Example(ids, second, int(pair.is_random))


def _packed(
    sentences: list[np.ndarray], tokenizer: TextTokenizer, length: int
) -> Iterator[Example]:
    for ids in segments.chunks([sentences], tokenizer, max_length=length).ids:
        yield Example(ids)


def _features(made: list[Example], plan: Plan) -> dict[str, list[np.ndarray]]:
    """Return the values of each feature, an array for each example."""
    features = {IDS: [one.ids for one in made]}
    if plan.form == "pairs":
        features[SECOND] = [np.array([one.second]) for one in made]
        features[LABEL] = [np.array([one.label]) for one in made]
    return features
