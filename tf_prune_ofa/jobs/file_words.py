"""Which words the files of an export have: all of the model's, or those that texts use.

What a file says of itself is held against the model and the texts, not against what the export
says that it did.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.config import ExportSettings
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.text.opening import tokenizer_of
from tf_prune_ofa.text.tokenizer import TextTokenizer
from tf_prune_ofa.text.wordpiece import WordPiece
from tf_prune_ofa.verification import vocabulary


@dataclass(frozen=True)
class FileWords:
    """The vocabulary of an export's files.

    Attributes:
        tokenizer: of the files.
        whole: of the model.
        kept: ids of the files' words in the model's vocabulary, in order; None if they have all.
        problems: what is wrong with the choice.
        figures: how many words are left, and how many of the texts fall into other pieces.
    """

    tokenizer: TextTokenizer
    whole: TextTokenizer
    kept: np.ndarray | None = None
    problems: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


def find_words(
    context: Context, settings: ExportSettings, model_folder: Path, files: list[Path]
) -> FileWords:
    """Return the vocabulary of an export's files, as the first of them that has one says.

    Where it is no part of the model's, the model's is what each file is held against.

    Args:
        context: of the stage that checks.
        settings: of the export.
        model_folder: what was exported.
        files: those that there are.
    """
    whole = tokenizer_of(model_folder)
    if settings.vocabulary.keep == "all":
        return FileWords(whole, whole)
    found = [vocabulary.read_vocabulary(path.read_bytes()) for path in files]
    pieces = next((one for one in found if one is not None), [])
    kept = vocabulary.positions(pieces, whole.pieces)
    missing = vocabulary.find_problems(pieces, whole.pieces, whole.added)
    if kept is None or missing:
        return FileWords(whole, whole, None, missing or ["its words are no part of the model's"])
    said = context.recipe_inputs.tokenizer_settings
    trimmed = WordPiece(pieces, **said)
    texts = context.recipe_inputs.texts_to_learn(settings.vocabulary.texts)
    changed, unknown = _changes(whole, trimmed, kept, texts)
    problems = []
    if unknown:
        problems.append(f"{unknown} texts have a word more that is unknown ([UNK])")
    if changed and settings.vocabulary.at_least == 1 and not settings.vocabulary.size:
        problems.append(f"{changed} of {len(texts)} texts to learn from have other tokens")
    figures = {
        "kept": len(pieces),
        "of": len(whole.pieces),
        "texts": len(texts),
        "texts_with_other_tokens": changed,
    }
    return FileWords(trimmed, whole, kept, problems, figures)


def _changes(
    whole: TextTokenizer, trimmed: TextTokenizer, kept: np.ndarray, texts: list[str]
) -> tuple[int, int]:
    """Return how many texts have other tokens, and how many more that are unknown."""
    changed = unknown = 0
    for one, other in zip(whole.tokenize(texts), trimmed.tokenize(texts), strict=True):
        if not np.array_equal(one, kept[other]):
            changed += 1
            unknown += int((other == trimmed.unk_id).sum() > (one == whole.unk_id).sum())
    return changed, unknown
