"""Documents of text as ids, the form in which masked language modelling takes them."""

import re
from collections.abc import Sequence

import numpy as np

from tf_prune_ofa.text.tokenizer import TextTokenizer

# The end of a sentence with what closes behind it, if a capital or a digit opens the next one.
_SENTENCE_END = re.compile(r"""[.!?…]["'”’)\]]*\s+(?=["'“‘(\[]*[A-Z0-9])""")


def split_sentences(text: str) -> list[str]:
    """Cuts a text into sentences, by punctuation and capitals alone.

    Cuts after an abbreviation ("Dr. Who") too: as the border between the two segments of an
    example, that does little harm.
    """
    borders = [0, *(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]
    parts = (text[start:end].strip() for start, end in zip(borders, borders[1:], strict=False))
    return [part for part in parts if part]


def tokenize_documents(
    documents: Sequence[Sequence[str]], wordpiece: TextTokenizer, *, sentences: bool = False
) -> list[list[np.ndarray]]:
    """Turns documents of passages into documents of ids, without special tokens.

    Args:
        documents: for each document its passages.
        wordpiece: the tokenizer.
        sentences: cut the passages into sentences first, as `segments.segment_pairs` needs.

    Returns:
        For each document the int32 ids of its passages, or sentences, in order.
    """
    if sentences:
        documents = [
            [sentence for passage in document for sentence in split_sentences(passage)]
            for document in documents
        ]
    # One call for all: the tokenizer works on many texts at a time.
    ids = iter(wordpiece.tokenize([passage for document in documents for passage in document]))
    return [[next(ids) for _ in document] for document in documents]
