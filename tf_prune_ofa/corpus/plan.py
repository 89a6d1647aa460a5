"""What decides the records of a corpus, besides its text."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import sha256_of
from tf_prune_ofa.text.opening import open_tokenizer
from tf_prune_ofa.text.tokenizer import TextTokenizer

Form = Literal["pairs", "packed"]
FORMS = ("pairs", "packed")
MOST_BUCKETS = 4096
# Of text, on average: enough documents for random second segments, and little to hold in memory.
BUCKET_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Plan:
    """All settings that the records depend on.

    Attributes:
        form: "pairs" of segments for next-sentence prediction, or "packed" sentences.
        length: tokens of an example at most, special tokens included.
        vocabulary: path of vocab.txt or tokenizer.json.
        tokenizer: settings, as `text.opening.open_tokenizer` takes them, as JSON.
        buckets: ranges of hashes; the random second segment of a pair is from the same bucket.
        seed: of the pairs.
        short_rate: share of pairs with a random smaller size.
        dev_share: of documents, held out.
        min_characters: shorter documents are left out.
    """

    form: Form
    length: int
    vocabulary: str
    tokenizer: str
    buckets: int
    seed: int = 0
    short_rate: float = 0.1
    dev_share: float = 0.05
    min_characters: int = 400

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            UserError: a setting is out of its limits.
        """
        least = 5 if self.form == "pairs" else 3
        if self.form not in FORMS:
            raise UserError(f"the form is {self.form!r}; choose one of {', '.join(FORMS)}")
        if not least <= self.length <= 65_535:
            raise UserError(f"the length is {self.length} tokens; choose {least} to 65535")
        if not 1 <= self.buckets <= MOST_BUCKETS:
            raise UserError(f"there are {self.buckets} buckets; choose 1 to {MOST_BUCKETS}")
        if not 0 <= self.dev_share < 1:
            raise UserError(f"the share to hold out is {self.dev_share}; choose 0 to below 1")

    def described(self) -> dict[str, Any]:
        """Return the settings as plain values, with the vocabulary's content for its path."""
        values = dataclasses.asdict(self)
        del values["vocabulary"]
        values["vocabulary_sha256"] = sha256_of(self.vocabulary)
        return values | {"tokenizer": json.loads(self.tokenizer)}

    def bucket_of(self, hash_value: int) -> int:
        """Return the bucket of a document: buckets in order have hashes in order."""
        return hash_value * self.buckets >> 64

    def is_dev(self, hash_value: int) -> bool:
        """Return whether a document is held out, by the half of its hash that orders nothing."""
        return (hash_value & 0xFFFFFFFF) < self.dev_share * (1 << 32)


def document_hash(text: str) -> int:
    """Return 64 bits that stand for a document: its place in the order, and its stream of draws."""
    data = text.encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def buckets_for(size: int) -> int:
    """Return how many buckets `size` bytes of text get, whatever the number of shards.

    >>> buckets_for(300_000), buckets_for(20_000_000), buckets_for(20_000_000_000)
    (1, 16, 4096)
    """
    count = 1
    while count * 2 * BUCKET_BYTES <= size and count < MOST_BUCKETS:
        count *= 2
    return count


@functools.lru_cache(maxsize=2)
def tokenizer_for(plan: Plan) -> TextTokenizer:
    """Return the plan's tokenizer, opened once in a process."""
    return open_tokenizer(Path(plan.vocabulary), json.loads(plan.tokenizer))
