"""How a file's texts become ids, and its logits answers: what a `.tflite` file says of that itself.

TFLite's metadata has a place for the vocabulary and for labels, but none for the case, the accents
or the windows that a model was trained with. They are a file of their own in the zip part,
`text_settings.json`; task libraries that do not know it pass it over.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.text.added_tokens import is_added_token
from tf_prune_ofa.text.clean_up import CLEAN_UPS
from tf_prune_ofa.text.vocabulary import is_uncased

SETTINGS_FILE = "text_settings.json"


@dataclass(frozen=True)
class TextSettings:
    """What the tokenizer and, for questions, the windows of a file need.

    Attributes:
        lower_case: lower-case the text.
        strip_accents: remove accents; None does so where the text is lower-cased, as BERT did.
        split_chinese: make each CJK ideograph a word of its own.
        clean_up: "bert", or "mediapipe" instead of the three before; see `text.clean_up`.
        added_tokens: looked for before words are split; see `text.wordpiece.WordPiece`.
        question_length: of a question, in tokens; longer ones are cut.
        stride: tokens from one window of a long text to the next.
        answer_length: the longest answer, in tokens.
        n_best: starts and ends that are tried in each window.
        no_answer_above: how much better "no answer" may score than the best answer before none is
            given; None where every question has an answer (SQuAD v1.1).
        thresholds: of a classifier that may give a text several labels, or none: the probability
            from which a label counts as there, one for all or one a label; empty where exactly one
            label is right.
    """

    lower_case: bool = True
    strip_accents: bool | None = None
    split_chinese: bool = True
    clean_up: str = "bert"
    added_tokens: Sequence[Mapping[str, Any]] = ()
    question_length: int = 64
    stride: int = 128
    answer_length: int = 30
    n_best: int = 20
    no_answer_above: float | None = None
    thresholds: Sequence[float] = ()

    @property
    def tokenizer(self) -> dict[str, Any]:
        """Keyword arguments for `text.wordpiece.WordPiece`."""
        names = ("lower_case", "strip_accents", "split_chinese", "clean_up", "added_tokens")
        return {name: getattr(self, name) for name in names}

    def for_length(self, sequence_length: int) -> TextSettings:
        """The same, with room for a text behind a question in a file of S tokens."""
        longest = max(1, (sequence_length - 3) // 2)
        return dataclasses.replace(self, question_length=min(self.question_length, longest))

    def to_json(self) -> str:
        """The content of `text_settings.json`."""
        values = dataclasses.asdict(self)
        # Most models have none of them; older versions of this package read what they know.
        values = {k: v for k, v in values.items() if k not in _RARE or v != getattr(_DEFAULT, k)}
        return json.dumps(values, indent=1) + "\n"


_RARE, _DEFAULT = ("clean_up", "added_tokens", "thresholds"), TextSettings()


def parse(text: str, *, name: str) -> TextSettings:
    """Read `text_settings.json`.

    Args:
        text: its content.
        name: what error messages call the file that it is in.

    Raises:
        UserError: it is not of that form. What is not known is refused: a setting that is passed
            over would give other answers than the model's own.
    """
    fields = {field.name: field for field in dataclasses.fields(TextSettings)}
    try:
        values = json.loads(text)
        unknown = sorted(set(values) - set(fields))
    except (ValueError, TypeError):
        raise UserError(
            f"{name}: its {SETTINGS_FILE} is not a JSON object. Export it again."
        ) from None
    if unknown:
        raise UserError(
            f"{name}: its {SETTINGS_FILE} has {', '.join(unknown)}, which this version does not "
            "know. Update the package."
        )
    for key, value in values.items():
        if not _fits(key, value):
            raise UserError(f"{name}: its {SETTINGS_FILE} says {key} = {value!r}. Export it again.")
    lists = {key: tuple(values.get(key, ())) for key in ("added_tokens", "thresholds")}
    return TextSettings(**values | lists)


def default(pieces: Sequence[str], sequence_length: int) -> TextSettings:
    """The settings of a file that does not say: those of BERT, with the case of its vocabulary."""
    return TextSettings(lower_case=is_uncased(pieces)).for_length(sequence_length)


def _fits(key: str, value: object) -> bool:
    if key == "strip_accents":
        return value is None or isinstance(value, bool)
    if key == "clean_up":
        return value in CLEAN_UPS
    if key == "added_tokens":
        return isinstance(value, list) and all(map(is_added_token, value))
    if key == "thresholds":
        return isinstance(value, list) and all(isinstance(t, float) and 0 < t < 1 for t in value)
    if key in ("lower_case", "split_chinese"):
        return isinstance(value, bool)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if key == "no_answer_above":
        return value is None or is_number
    return is_number and isinstance(value, int) and value > 0
