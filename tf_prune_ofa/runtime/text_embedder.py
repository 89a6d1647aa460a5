"""Raw text in, a unit vector out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tf_prune_ofa.runtime.text_model import TextModel

OUTPUT = "embedding"


class TextEmbedder(TextModel):
    """Turns texts into vectors of length 1 whose products say how alike the texts are.

        with TextEmbedder("sparse_int8_s64.tflite") as embed:
            vectors = embed(["A cat sits outside.", "A dog plays in the garden."])
            print(embed.similarity("How old are you?", "What is your age?"))

    `TextModel` says what it is opened with.
    """

    what = "model for embeddings"
    outputs = (OUTPUT,)

    def __call__(self, text: str | Sequence[str]) -> np.ndarray:
        """Return the vector of a text, float32 [H], or of several texts, [N, H].

        Args:
            text: raw text; longer ones than the file's length lose their end.
        """
        if isinstance(text, str):
            return self([text])[0]
        tokens = self.wordpiece.encode(list(text), None, max_length=self.sequence_length)
        rows = [
            self.run(ids, types)[OUTPUT][0]
            for ids, types in zip(tokens.ids, tokens.type_ids, strict=True)
        ]
        return np.stack(rows) if rows else np.zeros([0, self.size], np.float32)

    @property
    def size(self) -> int:
        """H, numbers of a vector."""
        return self("").shape[-1]

    def similarity(
        self, text: str | Sequence[str], other: str | Sequence[str]
    ) -> float | np.ndarray:
        """Return the cosine of two texts, or the cosines of all pairs of several.

        Args:
            text: one text, or N of them.
            other: one text, or M of them.

        Returns:
            A float for two texts; else float32 with an axis for each side that is a list.
        """
        cosines = np.tensordot(self(text), self(other), (-1, -1))
        return float(cosines) if cosines.ndim == 0 else cosines
