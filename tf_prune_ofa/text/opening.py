"""The tokenizer of a model folder, whatever its kind."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tf_prune_ofa.json_files import read_json_object
from tf_prune_ofa.text.json_tokenizer import KINDS, JsonTokenizer, kind_of
from tf_prune_ofa.text.tokenizer import TextTokenizer
from tf_prune_ofa.text.tokenizer_files import tokenizer_settings
from tf_prune_ofa.text.vocabulary import find_vocab
from tf_prune_ofa.text.wordpiece import WordPiece


def open_tokenizer(vocab: str | os.PathLike[str], settings: Mapping[str, Any]) -> TextTokenizer:
    """Return the tokenizer of a vocabulary.

    Args:
        vocab: vocab.txt, or a tokenizer.json of any kind.
        settings: as `tokenizer_files.tokenizer_settings` returns them; a tokenizer.json of another
            kind than WordPiece says everything itself.

    Raises:
        UserError: it cannot be read, or is of no kind that is read here.
    """
    path = Path(vocab)
    if path.suffix == ".json" and kind_of(read_json_object(path)) in KINDS:
        return JsonTokenizer(path)
    return WordPiece(path, **settings)


def tokenizer_of(folder: str | os.PathLike[str]) -> TextTokenizer:
    """Return the tokenizer of a model folder, with the settings written there.

    Raises:
        UserError: as `open_tokenizer`.
    """
    return open_tokenizer(find_vocab(folder), tokenizer_settings(folder))
