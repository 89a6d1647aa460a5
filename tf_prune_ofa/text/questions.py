"""A question on a text, and the answers that people gave."""

from __future__ import annotations

import collections
import dataclasses


@dataclasses.dataclass(frozen=True)
class Answer:
    """A span of the context: its text, and where it begins, in characters."""

    text: str
    start: int

    @property
    def end(self) -> int:
        """Where it ends, exclusive."""
        return self.start + len(self.text)


@dataclasses.dataclass(frozen=True)
class Question:
    """A question on a context. Without answers it has none there (SQuAD v2)."""

    id: str
    text: str
    context: str
    answers: tuple[Answer, ...]

    @property
    def usual_answer(self) -> Answer | None:
        """The answer that most annotators gave; of several the first."""
        counts = collections.Counter(self.answers).most_common(1)
        return counts[0][0] if counts else None
