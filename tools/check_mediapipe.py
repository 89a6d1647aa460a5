"""Compare MediaPipe's TextClassifier with our own pipeline on a file and raw sentences.

    check_mediapipe.py FILE --cache FOLDER [--sentences TEXT] [--count 200] [--json OUT]

MediaPipe gets the file and the sentences, nothing else. Sentences are the lines of a text file, by
default held-out sentences of the review corpus. Ends with code 1 if a label differs. MediaPipe is
installed into a virtual environment in the cache folder (once; needs the network).
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from absl import flags

from tf_prune_ofa.data.reviews import reviews_task
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import write_json
from tf_prune_ofa.runtime import mediapipe
from tf_prune_ofa.runtime.interpreter import Interpreter
from tf_prune_ofa.text.wordpiece import WordPiece
from tf_prune_ofa.tflite import flatbuffer, packed_files
from tf_prune_ofa.tools._main import run

_CACHE = flags.DEFINE_string("cache", None, "folder for MediaPipe's environment", required=True)
_SENTENCES = flags.DEFINE_string("sentences", None, "text file, one sentence in a line")
_STRIP_ACCENTS = flags.DEFINE_boolean(
    "strip_accents",
    False,
    "how the model's own pipeline tokenizes; the quickstart keeps accents, as MediaPipe does",
)
_COUNT = flags.DEFINE_integer("count", 200, "how many sentences", 1)
_JSON = flags.DEFINE_string("json", None, "also write the labels to this file")


def main(argv: list[str]) -> None:
    """Prints how many labels agree, and the sentences where they do not."""
    if len(argv) != 2:
        raise UserError(f"Name one .tflite file; {len(argv) - 1} were given.")
    sentences = _read_sentences()
    ours = _our_labels(argv[1], sentences)
    theirs = mediapipe.classify(argv[1], sentences, _CACHE.value)
    different = [i for i in range(len(sentences)) if ours[i] != theirs[i]]
    for i in different:
        print(f"ours {ours[i]}, MediaPipe {theirs[i]}: {sentences[i]}")
    print(f"{len(sentences) - len(different)} of {len(sentences)} labels agree.")
    if _JSON.value:
        rows = zip(sentences, ours, theirs, strict=True)
        fields = ("sentence", "ours", "mediapipe")
        write_json(_JSON.value, [dict(zip(fields, row, strict=True)) for row in rows])
        print(f"Written to {_JSON.value}")
    if different:
        sys.exit(1)


def _read_sentences() -> list[str]:
    if _SENTENCES.value is None:
        sentences = list(reviews_task().dev.text_a)
    else:
        try:
            lines = Path(_SENTENCES.value).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise UserError(f"Cannot read {_SENTENCES.value}: {error.strerror}.") from error
        sentences = [line for line in lines if line.strip()]
    if not sentences:
        raise UserError(f"{_SENTENCES.value} has no sentences. Write one in each line.")
    return sentences[: _COUNT.value]


def _our_labels(path: str, sentences: list[str]) -> list[str]:
    packed = packed_files.associated_files(flatbuffer.read_bytes(path))
    if packed_files.VOCAB_FILE not in packed or packed_files.LABELS_FILE not in packed:
        raise UserError(f"{path} has no vocabulary or no labels in it. Export it with both.")
    labels = packed[packed_files.LABELS_FILE].splitlines()
    with tempfile.TemporaryDirectory() as folder:
        vocab = Path(folder) / packed_files.VOCAB_FILE
        vocab.write_text(packed[packed_files.VOCAB_FILE], encoding="utf-8")
        tokenizer = WordPiece(vocab, strip_accents=_STRIP_ACCENTS.value)
    interpreter = Interpreter(path)
    length = interpreter.sequence_length
    found = []
    for ids in tokenizer.encode(sentences, max_length=length).ids:
        padding = [0, length - len(ids)]
        logits = interpreter.run(np.pad(ids, padding), np.pad(np.ones_like(ids), padding))
        found.append(labels[int(np.argmax(logits[interpreter.output_names[0]]))])
    return found


if __name__ == "__main__":
    run(main)
