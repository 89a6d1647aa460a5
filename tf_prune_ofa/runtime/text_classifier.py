"""Raw text in, label out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime.text_model import TextModel


@dataclass(frozen=True)
class Classified:
    """What a classifier says to a text.

    Attributes:
        label: name of the likeliest class; "" of a regression.
        score: its probability; of a regression the number itself.
        scores: probability of every class by name, in the order of the logits.
        labels: names of all that are there: the one label, or where a text may have several, those
            whose probability is not below the file's threshold, so that there may be none.
    """

    label: str
    score: float
    scores: dict[str, float]
    labels: tuple[str, ...] = ()


class TextClassifier(TextModel):
    """A classifier (or a regression) of texts or pairs of texts.

        with TextClassifier("sparse_int8_s64.tflite") as classify:
            print(classify("A small movie with a big impact.").label)

    `TextModel` says what it is opened with.
    """

    what = "classifier"
    outputs = ("logits",)

    def __call__(
        self, text: str | Sequence[str], pair: str | Sequence[str] | None = None
    ) -> Classified | list[Classified]:
        """Classify a text, or several; longer ones than the file's length lose their end.

        Args:
            text: raw text; a list is answered with a list.
            pair: the second text of each, for tasks on pairs.

        Raises:
            UserError: another number of second texts than of first ones.
        """
        texts = [text] if isinstance(text, str) else list(text)
        pairs = [pair] if isinstance(pair, str) else pair
        if pairs is not None and len(pairs) != len(texts):
            raise UserError(f"{len(texts)} texts but {len(pairs)} second texts; give one for each.")
        found = [self._classified(logits) for logits in self.logits(texts, pairs)]
        return found[0] if isinstance(text, str) else found

    def logits(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[np.ndarray]:
        """Return the logits of each text, float [C]."""
        tokens = self.wordpiece.encode(texts, pairs, max_length=self.sequence_length)
        return [
            self.run(ids, types)["logits"][0]
            for ids, types in zip(tokens.ids, tokens.type_ids, strict=True)
        ]

    def _classified(self, logits: np.ndarray) -> Classified:
        if len(logits) == 1:
            return Classified("", float(logits[0]), {})
        labels = self.labels or [f"LABEL_{index}" for index in range(len(logits))]
        best = int(np.argmax(logits))
        thresholds = self.settings.thresholds
        if thresholds:
            shares = (1 / (1 + np.exp(-logits.astype(np.float64)))).tolist()
            limits = np.broadcast_to(thresholds, [len(labels)])
            there = tuple(n for n, s, t in zip(labels, shares, limits, strict=True) if s >= t)
        else:
            powers = np.exp(logits.astype(np.float64) - logits.max())
            shares, there = (powers / powers.sum()).tolist(), (labels[best],)
        return Classified(labels[best], shares[best], dict(zip(labels, shares, strict=True)), there)
