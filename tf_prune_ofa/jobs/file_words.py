"""Which words the files of an export have, or rows of their own: all, or those that texts use.

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
from tf_prune_ofa.verification import files as verified
from tf_prune_ofa.verification import shared_rows, vocabulary
from tf_prune_ofa.verification.shared_rows import SharedRows

_NO_ROWS = "no file says which words share rows"


@dataclass(frozen=True)
class FileWords:
    """The vocabulary of an export's files.

    Attributes:
        tokenizer: of the files.
        whole: of the model.
        kept: ids of the files' words in the model's vocabulary, in order; None if they have all.
        problems: what is wrong with the choice.
        figures: how many words are left, and how many of the texts fall into other pieces; or how
            many have rows of their own, and how many texts have words without.
        shared: which words share rows in quantized files; None if each has its own.
    """

    tokenizer: TextTokenizer
    whole: TextTokenizer
    kept: np.ndarray | None = None
    problems: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    shared: SharedRows | None = None


def find_words(
    context: Context,
    settings: ExportSettings,
    model_folder: Path,
    table: np.ndarray,
    files: list[Path],
) -> FileWords:
    """Return the vocabulary of an export's files, as the first of them that has one says.

    Where it is no part of the model's, the model's is what each file is held against.

    Args:
        context: of the stage that checks.
        settings: of the export.
        model_folder: what was exported.
        table: its words, float [V, H].
        files: those that there are.
    """
    whole = tokenizer_of(model_folder)
    if settings.vocabulary.keep == "all":
        return FileWords(whole, whole)
    if settings.vocabulary.others == "nearest":
        return _find_rows(context, settings, whole, table, files)
    found = [vocabulary.read_vocabulary(path.read_bytes()) for path in files]
    pieces = next((one for one in found if one is not None), [])
    kept = vocabulary.positions(pieces, whole.pieces)
    missing = vocabulary.find_problems(pieces, whole.pieces, whole.added)
    if kept is None or missing:
        return FileWords(whole, whole, None, missing or ["its words are no part of the model's"])
    said = context.recipe_inputs.tokenizer_settings
    trimmed = WordPiece(pieces, **said)
    own, more = context.recipe_inputs.texts_to_learn(settings.vocabulary.texts)
    texts = own + more
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


def _find_rows(
    context: Context,
    settings: ExportSettings,
    whole: TextTokenizer,
    table: np.ndarray,
    files: list[Path],
) -> FileWords:
    """Return which words share rows, as the first file says in which they do."""
    texts, more = context.recipe_inputs.texts_to_learn(settings.vocabulary.texts)
    tokens = whole.tokenize(texts)
    used = [
        np.bincount(np.concatenate([np.zeros(0, np.int32), *ids]), minlength=len(table))
        for ids in (tokens, whole.tokenize(more))
    ]
    found = (
        verified.read_shared_rows(path.read_bytes(), table, used[0] + used[1]) for path in files
    )
    shared = next((one for one in found if one is not None), None)
    if shared is None:
        return FileWords(whole, whole, problems=[_NO_ROWS])
    added = set(whole.added)
    ids = [index for index, piece in enumerate(whole.pieces) if piece in added]
    problems = shared_rows.choice_problems(
        shared,
        table,
        *used,
        needed=np.union1d(whole.special_ids, np.array(ids, np.int64)),
        at_least=settings.vocabulary.at_least,
        size=settings.vocabulary.size,
    )
    is_own = np.isin(np.arange(len(table)), shared.own)
    figures = {
        "own_rows": len(shared.own),
        "of": len(table),
        "texts": len(texts),
        "texts_with_shared_rows": sum(not is_own[one].all() for one in tokens),
    }
    return FileWords(whole, whole, None, problems, figures, shared)


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
