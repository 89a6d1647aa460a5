"""Tokenizers of other kinds than WordPiece: byte-level BPE and Unigram, as tokenizer.json has them.

`tokenizers` runs what the file describes, all of it. What this package puts around a text, its
frame of special tokens, has to be the file's own, or the file is refused.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.json_files import read_json_object
from tf_prune_ofa.text.library import tokenizers_for
from tf_prune_ofa.text.tokenizer import TextTokenizer

KINDS = ("BPE", "Unigram")
# As RoBERTa and XLM-R call them: padding, unknown, first, between, masked.
SPECIAL_TOKENS = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SINGLE = ["<s>", "A", "</s>"]
_PAIR = ["<s>", "A", "</s>", "</s>", "B", "</s>"]


class JsonTokenizer(TextTokenizer):
    """The tokenizer that a tokenizer.json describes; see `TextTokenizer`.

    Args:
        described: path of the file, or its content.

    Raises:
        UserError: it cannot be read, is of another kind, or frames texts in another way.
    """

    middle_separators = 2
    lower_case = False

    def __init__(self, described: str | os.PathLike[str] | Mapping[str, Any]) -> None:
        if isinstance(described, Mapping):
            where, state = "tokenizer.json", dict(described)
        else:
            where, state = os.fspath(described), read_json_object(Path(described))
        self.kind = kind_of(state)
        if self.kind not in KINDS:
            raise UserError(f"{where} describes a tokenizer of the kind {self.kind}, not "
                            f"{' or '.join(KINDS)}")  # fmt: skip
        _check_frame(state.get("post_processor"), where)
        library = tokenizers_for(f"a tokenizer of the kind {self.kind}")
        # Lengths are the recipe's; a token that is looked for in texts is no control token here.
        own = [
            {**token, "special": token.get("content") in SPECIAL_TOKENS}
            for token in state.get("added_tokens") or ()
        ]
        self.state = {**state, "truncation": None, "padding": None, "added_tokens": own}
        try:
            self._tokenizer = library.Tokenizer.from_str(json.dumps(self.state))
            if self.kind == "Unigram":
                self._tokenizer.model = _exact_unigram(library.models, self.state["model"])
        # The library has no type of its own for what it cannot read.
        except Exception as error:
            raise UserError(f"{where} cannot be read as a tokenizer ({error})") from None
        self._tokenizer.encode_special_tokens = True
        vocab = self._tokenizer.get_vocab()
        missing = [token for token in SPECIAL_TOKENS if token not in vocab]
        if missing:
            raise UserError(
                f"{where} has no {', '.join(missing)}; this package reads {' and '.join(KINDS)} "
                "tokenizers with the special tokens of RoBERTa and XLM-R"
            )
        self.vocab_size = max(vocab.values()) + 1
        self.pieces = [""] * self.vocab_size
        for piece, index in vocab.items():
            self.pieces[index] = piece
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            vocab[token] for token in SPECIAL_TOKENS
        )
        self.special_ids = np.array([vocab[token] for token in SPECIAL_TOKENS], np.int32)
        ordinary = (index for token, index in vocab.items() if token not in SPECIAL_TOKENS)
        self.replacement_ids = np.array(sorted(ordinary), np.int32)

    def _prepare(self, text: str) -> str:
        """Hide half surrogate pairs, which UTF-8 cannot hold."""
        return _SURROGATE.sub("\ufffd", text)


def kind_of(state: Mapping[str, Any]) -> str:
    """Return the kind of tokenizer that a tokenizer.json describes; "unknown" if it does not say.

    Args:
        state: the content of the file.
    """
    model = state.get("model")
    if not isinstance(model, Mapping):
        return "unknown"
    # Old files do not name WordPiece.
    old = "WordPiece" if "continuing_subword_prefix" in model and "merges" not in model else ""
    return str(model.get("type") or old or "unknown")


def _exact_unigram(models: Any, model: Mapping[str, Any]) -> Any:
    """Return the model of a tokenizer.json with the scores that stand there.

    Read from text, the library has some of them in another last bit, and cuts elsewhere where two
    ways to cut a word are as likely ("xxxxx"). transformers hands numbers over, too.
    """
    pieces = [(piece, score) for piece, score in model["vocab"]]
    return models.Unigram(pieces, model.get("unk_id"), bool(model.get("byte_fallback")))


def _check_frame(frame: Any, where: str) -> None:
    kind = frame.get("type") if isinstance(frame, Mapping) else None
    if kind == "RobertaProcessing":
        found = [[str((frame.get(key) or [""])[0]) for key in ("cls", "sep")]]
        wanted = [["<s>", "</s>"]]
    elif kind == "TemplateProcessing":
        found = [_template(frame.get(key)) for key in ("single", "pair")]
        wanted = [_SINGLE, _PAIR]
    else:
        found, wanted = [[str(kind)]], [["RobertaProcessing", "TemplateProcessing"]]
    if found != wanted:
        raise UserError(
            f"{where}: post_processor frames texts as {found}; this package knows the frames of "
            f"RoBERTa and XLM-R, {' '.join(_SINGLE)} and {' '.join(_PAIR)}"
        )


def _template(parts: Any) -> list[str]:
    return [
        str(inner.get("id"))
        for part in (parts if isinstance(parts, list) else [])
        for inner in (part.values() if isinstance(part, dict) else [])
        if isinstance(inner, dict)
    ]
