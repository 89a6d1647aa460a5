"""A recipe's records, if it names some, and whether they fit its encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tf_prune_ofa.config import CorpusSettings
from tf_prune_ofa.corpus.reading import Records
from tf_prune_ofa.data.mlm import Corpus
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import sha256_of

_REMEDY = "make them again with tools/prepare_corpus.py --encoder=NAME of this recipe's encoder"


def open_records(
    corpus: CorpusSettings, vocabulary: Path, tokenizer: dict[str, Any]
) -> Records | None:
    """Return the records that a recipe names; None where it names none.

    Args:
        corpus: of the recipe.
        vocabulary: of the encoder.
        tokenizer: settings of the encoder's tokenizer.

    Raises:
        UserError: the folder is not whole, was made with another vocabulary, or with examples of
            another length than the recipe says.
    """
    if not corpus.records:
        return None
    records = Records(corpus.records)
    length = records.plan["length"]
    if corpus.length not in (0, length):
        raise UserError(
            f"corpus.length is {corpus.length}, but the examples of {corpus.records} have up to "
            f"{length} tokens; leave it out, or make records of that length"
        )
    if records.plan["vocabulary_sha256"] != sha256_of(vocabulary):
        raise UserError(
            f"{corpus.records} has ids of another vocabulary than {vocabulary}; {_REMEDY}"
        )
    if records.plan["tokenizer"] != json.loads(json.dumps(tokenizer)):
        raise UserError(
            f"{corpus.records} was tokenized with {records.plan['tokenizer']}, the recipe's "
            f"encoder has {tokenizer}; {_REMEDY}"
        )
    return records


def split_of(records: Records, *, nsp: bool) -> tuple[Corpus, Corpus]:
    """Return the examples to learn from and the held-out ones.

    Raises:
        UserError: next-sentence prediction is asked for, and the records have no pairs; or nothing
            was held out.
    """
    if nsp and not records.has_pairs:
        raise UserError(
            f"{records.folder} has packed sentences, and nsp needs pairs of segments; make the "
            "records with --form=pairs, or set nsp to false"
        )
    train, dev = records.examples("train"), records.examples("dev")
    if not len(dev.lengths):
        raise UserError(
            f"{records.folder} holds out no document to judge by; make the records of more text or "
            "with a higher --dev_share"
        )
    return train, dev
