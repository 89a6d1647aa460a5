"""The word pieces of a checkpoint: lines of vocab.txt, or the table in tokenizer.json."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.json_files import read_json_object

# Where a Hugging Face folder and a keras-nlp preset keep the vocabulary.
VOCAB_NAMES = ("vocab.txt", "assets/tokenizer/vocabulary.txt")
TOKENIZER_JSON = "tokenizer.json"
# Above it an id is damage: the largest vocabularies in use have a quarter of it.
MAX_PIECES = 1_000_000
# What other tokenizers keep their vocabulary in, for a message that names them.
_OTHER_FILES = {
    "vocab.json": "a BPE vocabulary",
    "merges.txt": "a BPE vocabulary",
    "spiece.model": "a SentencePiece model",
    "sentencepiece.bpe.model": "a SentencePiece model",
    "tokenizer.model": "a SentencePiece model",
}


def find_vocab(folder: str | os.PathLike[str]) -> Path:
    """Path of the vocabulary of a Hugging Face folder or a keras-nlp preset folder.

    tokenizer.json is it where there is no vocab.txt, as transformers 5 writes folders.

    Raises:
        UserError: there is none.
    """
    folder = Path(folder)
    for name in VOCAB_NAMES:
        if (folder / name).is_file():
            return folder / name
    path = folder / TOKENIZER_JSON
    if path.is_file() and "model" in read_json_object(path):
        return path
    found = [f"{name}, {kind}" for name, kind in _OTHER_FILES.items() if (folder / name).is_file()]
    hint = f" There is {found[0]}; this package reads WordPiece." if found else ""
    raise UserError(
        f"No vocabulary in {folder}: looked for {', '.join(VOCAB_NAMES)} and {TOKENIZER_JSON}."
        f"{hint} Copy the vocab.txt or tokenizer.json of the checkpoint there."
    )


def read_pieces(path: str | os.PathLike[str]) -> list[str]:
    """The word pieces of a vocab.txt or of a tokenizer.json; the position is the id.

    Raises:
        UserError: the file is missing, unreadable, or holds another kind of vocabulary.
    """
    path = Path(path)
    return _of_table(path) if path.suffix == ".json" else _lines(path)


def vocab_lines(content: bytes) -> list[str]:
    """The word pieces in the bytes of a vocab.txt."""
    # Not splitlines(): multilingual vocabularies hold U+2028 and other Unicode line ends as tokens.
    lines = content.decode("utf-8-sig").split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.rstrip("\r") for line in lines]


def is_uncased(pieces: Sequence[str]) -> bool:
    """Whether a vocabulary is of an uncased checkpoint: no capitals but in [SPECIAL] pieces."""
    return all(p == p.lower() or re.fullmatch(r"\[.*\]", p) for p in pieces)


def table_of(model: Mapping[str, Any], path: Path) -> dict[str, int]:
    """The table token -> id in tokenizer.json's section `model`, of a WordPiece tokenizer.

    Raises:
        UserError: it is of another kind, or no such table.
    """
    vocab = model.get("vocab")
    # Old files do not name the kind.
    kind = model.get("type") or ("WordPiece" if "continuing_subword_prefix" in model else None)
    if kind != "WordPiece":
        raise UserError(
            f"{path} describes a tokenizer of the kind {kind or 'unknown'}; this package reads "
            "WordPiece, as BERT and DistilBERT have it. Choose another checkpoint"
        )
    if not isinstance(vocab, dict) or not all(
        type(i) is int and 0 <= i < MAX_PIECES for i in vocab.values()
    ):
        raise UserError(f"{path}: model.vocab is no table of word pieces and ids; get it again")
    return vocab


def _of_table(path: Path) -> list[str]:
    model = read_json_object(path).get("model")
    vocab = table_of(model if isinstance(model, dict) else {}, path)
    # A line that a later one repeats has no entry in the table; its place stays empty.
    pieces = [""] * (max(vocab.values(), default=-1) + 1)
    for piece, index in vocab.items():
        pieces[index] = piece
    return pieces


def _lines(path: Path) -> list[str]:
    try:
        return vocab_lines(path.read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"No vocabulary at {path}. Give the vocab.txt of the checkpoint that is trained."
        ) from None
    except IsADirectoryError:
        raise UserError(f"The vocabulary {path} is a folder: name the file in it.") from None
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}. Check the path.") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"The vocabulary {path} is not UTF-8 text (byte {error.start}). Copy it again."
        ) from None
