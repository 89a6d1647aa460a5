"""What the classes that take raw text have in common: an open file with its own tokenizer."""

from __future__ import annotations

import json
import os
import threading
import typing
from collections.abc import Iterable

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.hub import local_file
from tf_prune_ofa.runtime.delegate import AUTO
from tf_prune_ofa.runtime.installed import Runtime
from tf_prune_ofa.runtime.interpreter import Interpreter
from tf_prune_ofa.text.json_tokenizer import JsonTokenizer
from tf_prune_ofa.text.tokenizer import TextTokenizer
from tf_prune_ofa.text.wordpiece import WordPiece, vocab_lines
from tf_prune_ofa.tflite import flatbuffer, text_settings
from tf_prune_ofa.tflite.packed_files import (
    LABELS_FILE,
    TOKENIZER_FILE,
    VOCAB_FILE,
    associated_files,
)

# What to use for a file with such an output; by name, as the classes' modules import this one.
_CLASS_OF = {
    "logits": "TextClassifier",
    "start_logits": "QuestionAnswerer",
    "tag_logits": "TokenClassifier",
    "embedding": "TextEmbedder",
}
# typing.Self came with Python 3.11.
Self = typing.TypeVar("Self", bound="TextModel")


class TextModel:
    """A `.tflite` file that takes text: model, vocabulary and settings, all from the file itself.

    A class for one kind of answer says what its files are called and which outputs they have.

    Several threads may use one object; they take turns. It can be used as a context manager, which
    gives the memory back at the end of the block.

    Attributes:
        what: a file of this class, for messages.
        outputs: names of its outputs.
        path: the file.
        interpreter: the open model; None once it was closed.
        wordpiece: its tokenizer.
        settings: how texts are cut and answers chosen.
        sequence_length: S of the file: tokens of one run.
        labels: names of the classes, in the order of the logits; empty where there are none.
    """

    what: typing.ClassVar[str]
    outputs: typing.ClassVar[tuple[str, ...]]

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int = 1,
        delegate: str | os.PathLike[str] | None = AUTO,
        runtime: Runtime = "auto",
    ) -> None:
        """Open a file.

        Args:
            path: a `.tflite` file of this package (or another with a vocab.txt in its zip part), or
                "hf://user/name" for the one of a repository on the Hub (`hub.local_file`).
            threads: how many threads the runtime may use.
            delegate: the sparse INT8 delegate: "auto" uses it where it is there, None never, or
                the path of its library.
            runtime: as in `Interpreter`.

        Raises:
            UserError: no such file, not a whole `.tflite` file, no vocabulary in it, one with
                other outputs, or the runtime refuses it.
        """
        path = self.path = local_file(path)
        content = flatbuffer.read_bytes(self.path)
        flatbuffer.parse_model(content, name=os.fspath(path))
        packed = associated_files(content, name=os.fspath(path))
        if VOCAB_FILE not in packed and TOKENIZER_FILE not in packed:
            raise UserError(
                f"{path} carries no vocabulary, so it cannot take text. Export it with its "
                "vocabulary (tools/export.py), or use runtime.interpreter.Interpreter with ids."
            )
        pieces = vocab_lines(packed.get(VOCAB_FILE, "").encode())
        self.labels = vocab_lines(packed.get(LABELS_FILE, "").encode())
        interpreter = Interpreter(
            path, threads=threads, runtime=runtime, check=False, delegate=delegate
        )
        self.interpreter = interpreter
        self._require_outputs(interpreter.output_names)
        length = interpreter.sequence_length
        if length is None:
            raise UserError(f"{path} has no fixed number of tokens. Export it with one.")
        self.sequence_length: int = length
        self.settings = text_settings.default(pieces, length)
        if text_settings.SETTINGS_FILE in packed:
            text = packed[text_settings.SETTINGS_FILE]
            self.settings = text_settings.parse(text, name=os.fspath(path)).for_length(length)
        if TOKENIZER_FILE in packed:
            self.wordpiece: TextTokenizer = JsonTokenizer(_parsed(packed[TOKENIZER_FILE], path))
        else:
            self.wordpiece = WordPiece(pieces, **self.settings.tokenizer)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Give the model's memory back; nothing can be asked afterwards."""
        with self._lock:
            self.interpreter = None  # type: ignore[assignment]  # nobody asks it any more

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def run(self, ids: np.ndarray, type_ids: np.ndarray) -> dict[str, np.ndarray]:
        """Run one text's ids, padded to the file's length, and return its float outputs by name.

        Args:
            ids: int [T], T at most the file's sequence length.
            type_ids: int [T].

        Raises:
            UserError: the model was closed.
        """
        with self._lock:
            if self.interpreter is None:
                raise UserError(f"{self.path} was closed; open it again.")
            return self.interpreter.run(*self.padded(ids, type_ids))

    def padded(
        self, ids: np.ndarray, type_ids: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what the interpreter gets of one text: ids, mask and types, int32 [S] each.

        Args:
            ids: int [T], T at most the file's sequence length.
            type_ids: int [T].
        """
        length = self.sequence_length
        padded = np.full(length, self.wordpiece.pad_id, np.int32)
        padded[: len(ids)] = ids
        mask = (np.arange(length) < len(ids)).astype(np.int32)
        types = np.zeros(length, np.int32)
        types[: len(ids)] = type_ids
        return padded, mask, types

    def _require_outputs(self, names: Iterable[str]) -> None:
        found = sorted(names)
        if found != sorted(self.outputs):
            others = [_CLASS_OF[name] for name in found if name in _CLASS_OF]
            instead = f" Use {others[0]}." if others else ""
            raise UserError(
                f"{self.path} is no {self.what}: it gives {', '.join(found)}, not "
                f"{', '.join(self.outputs)}.{instead}"
            )


def _parsed(text: str, path: str | os.PathLike[str]) -> dict[str, object]:
    """Return the content of a packed tokenizer.json."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path}: its {TOKENIZER_FILE} is not a JSON object. Export it again.")
    return found
