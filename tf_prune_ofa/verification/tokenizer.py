"""Whether the tokenizer.json of a file is the model's, as JSON and as `tokenizers` reads it.

A file's says nothing of cutting and padding, which are the recipe's, and looks for no token in a
text but the five of RoBERTa's frame; all else is as in the model's folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tokenizers import Tokenizer

_FRAME = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_OF_THE_RECIPE = ("truncation", "padding")
_ADDED = "added_tokens"


def pieces_of(state: Mapping[str, Any]) -> list[str]:
    """Return the pieces of a tokenizer by id; "" where an id has none."""
    vocab = Tokenizer.from_str(json.dumps(state)).get_vocab()
    pieces = [""] * (max(vocab.values()) + 1)
    for piece, index in vocab.items():
        pieces[index] = piece
    return pieces


def find_problems(text: bytes, wanted: Mapping[str, Any]) -> Iterator[str]:
    """Yield what of a packed tokenizer.json is not the model's.

    Args:
        text: the packed file.
        wanted: the content of that in the model's folder.
    """
    try:
        found = json.loads(text)
        pieces = pieces_of(found)
    # `tokenizers` has no type of its own for what it cannot read.
    except Exception as error:
        yield f"its tokenizer.json cannot be read ({error})"
        return
    for key in sorted({*found, *wanted} - {*_OF_THE_RECIPE, _ADDED}):
        if found.get(key) != wanted.get(key):
            yield f"the {key} of its tokenizer.json is not the model's"
    for key in _OF_THE_RECIPE:
        if found.get(key) is not None:
            yield f"its tokenizer.json has a {key} of its own"
    if _plain(found) != _plain(wanted):
        yield "the added tokens of its tokenizer.json are not the model's"
    if any(one.get("special") != (one.get("content") in _FRAME) for one in found[_ADDED] or ()):
        yield "its tokenizer.json looks for other special tokens than those of the frame"
    if pieces != pieces_of(wanted):
        yield "the pieces of its tokenizer.json are not the model's"


def _plain(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the added tokens without what says which are special."""
    return [{k: v for k, v in one.items() if k != "special"} for one in state.get(_ADDED) or ()]
