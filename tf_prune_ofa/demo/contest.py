"""Two files on one text: what each says, whether they agree, and how long each takes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime.delegate import AUTO
from tf_prune_ofa.runtime.interpreter import Interpreter
from tf_prune_ofa.runtime.question_answerer import ENDS, QuestionAnswerer
from tf_prune_ofa.runtime.text_classifier import TextClassifier
from tf_prune_ofa.runtime.text_model import TextModel
from tf_prune_ofa.runtime.token_classifier import OUTPUT, TokenClassifier

# What the page calls a file, by its outputs; and the class that runs it.
KINDS: dict[frozenset[str], tuple[str, type[TextModel]]] = {
    frozenset({"logits"}): ("labels", TextClassifier),
    frozenset(ENDS): ("answers", QuestionAnswerer),
    frozenset({OUTPUT}): ("entities", TokenClassifier),
}
LONGEST_TEXT = 20_000  # characters
MOST_RUNS = 20
# Clock by processor time of a run from which on it was kept waiting; alone on a core it is 1.0.
WAITED = 1.3


@dataclass(frozen=True)
class Contender:
    """A file that is open.

    Attributes:
        name: for the page.
        model: what runs it.
        note: what runs it, in words.
    """

    name: str
    model: Any
    note: str

    @property
    def size_bytes(self) -> int:
        """Of the file."""
        return self.model.path.stat().st_size


class Contest:
    """Open files of one kind. Several threads may ask; they take turns, so that times are true."""

    def __init__(self, paths: Sequence[str | os.PathLike[str]], *, threads: int = 1) -> None:
        """Open one file, with and without the delegate, or two.

        Args:
            paths: one or two `.tflite` files that take text.
            threads: of the runtime.

        Raises:
            UserError: another number of files, or files that cannot be opened or compared.
        """
        if not 1 <= len(paths) <= 2:
            raise UserError(f"one or two files are compared, got {len(paths)}")
        pairs: list[tuple[Any, str | None]] = [(path, AUTO) for path in paths]
        if len(paths) == 1:
            pairs.insert(0, (paths[0], None))
        opened = [_open(path, delegate, threads) for path, delegate in pairs]
        kinds = {kind for kind, _ in opened}
        if len(kinds) > 1:
            raise UserError(
                f"{paths[0]} gives {opened[0][0]}, {paths[-1]} gives {opened[-1][0]}; files that "
                "give the same are compared"
            )
        self.kind: str = opened[0][0]
        self.contenders = [one for _, one in opened]
        self._turn = threading.Lock()

    def about(self) -> dict[str, Any]:
        """What the page shows before anything was asked."""
        files = [
            {"name": one.name, "note": one.note, "mb": round(one.size_bytes / 1e6, 2)}
            for one in self.contenders
        ]
        return {"kind": self.kind, "files": files, "longest": LONGEST_TEXT}

    def ask(self, text: str, second: str = "", *, runs: int = 5) -> dict[str, Any]:
        """Run both files on a text, in turns.

        Args:
            text: raw text; of answers the question.
            second: the second text of a pair; of answers the text that the answer is in.
            runs: of each file, for the time.

        Returns:
            `files`: what each says, and its fastest run in milliseconds; `agree`; `ratio` of the
            second's time to the first's; `busy`: whether other programs kept even the fastest run
            of one waiting, so that the ratio says nothing.
        """
        times: list[list[tuple[float, float]]] = [[] for _ in self.contenders]
        said: list[dict[str, Any]] = [{} for _ in self.contenders]
        with self._turn:
            for _ in range(runs):
                for place, one in enumerate(self.contenders):
                    began, before = time.perf_counter(), time.process_time()
                    found = self._run(one.model, text, second)
                    took = time.perf_counter() - began
                    times[place].append((1000 * took, 1000 * (time.process_time() - before)))
                    said[place] = found
        # Of few runs on a busy machine the fastest says most.
        fastest, worked = zip(*(min(one) for one in times), strict=True)
        waited = [ms > WAITED * cpu for ms, cpu in zip(fastest, worked, strict=True)]
        return {
            "files": [{**one, "ms": round(ms, 3)} for one, ms in zip(said, fastest, strict=True)],
            "agree": said[0]["says"] == said[1]["says"],
            "ratio": round(fastest[1] / fastest[0], 3),
            "busy": any(waited),
            "runs": runs,
        }

    def _run(self, model: Any, text: str, second: str) -> dict[str, Any]:
        """Return `says` (what is compared) and `shares` (a bar each: name and share)."""
        if self.kind == "answers":
            found = model(text, second)
            return {"says": found.text or "no answer", "shares": []}
        if self.kind == "entities":
            entities = [f"{one.text} ({one.type})" for one in model(text)]
            return {"says": ", ".join(entities) or "nothing found", "shares": []}
        found = model(text, second or None)
        if not found.scores:
            return {"says": f"{found.score:.2f}", "shares": []}
        best = sorted(found.scores.items(), key=lambda item: -item[1])[:8]
        # A text may have several labels, or none: all of them are compared.
        says = ", ".join(found.labels) or "no label"
        return {"says": says, "shares": [[name, round(s, 4)] for name, s in best]}


def _open(
    path: str | os.PathLike[str], delegate: str | None, threads: int
) -> tuple[str, Contender]:
    outputs = frozenset(Interpreter(path, check=True, delegate=None).output_names)
    if outputs not in KINDS:
        raise UserError(
            f"{path} gives {', '.join(sorted(outputs))}, which the page cannot show; give a file "
            "for labels, answers or entities"
        )
    kind, of = KINDS[outputs]
    model = of(path, threads=threads, delegate=delegate)
    sparse = model.interpreter.sparse_count
    note = f"delegate: {sparse} of {model.interpreter.node_count} operators" if sparse else "stock"
    return kind, Contender(model.path.name, model, note)
