"""Compare MediaPipe's TextClassifier with the model's own tokenizer on a file and raw sentences.

    check_mediapipe.py FILE --cache FOLDER [--sentences TEXT] [--count 200] [--json OUT]
        [--runtimes]

MediaPipe gets the file and the sentences, nothing else. The other side tokenizes as the model was
trained, which the file says itself. Sentences are the lines of a text file as they are, blank ones
too, or the strings of a JSON list; by default held-out sentences of the review corpus. Ends with
code 1 if a label differs. With --runtimes also on the runtimes of runtime_matrix.py, with the
model's own tokens. MediaPipe and the runtimes are installed into virtual environments in the cache
folder (once; needs the network).
"""

import json
import sys
from pathlib import Path

import numpy as np
from absl import flags

from tf_prune_ofa.data.reviews import reviews_task
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.json_files import write_json
from tf_prune_ofa.runtime import agreement, mediapipe
from tf_prune_ofa.runtime.text_classifier import TextClassifier
from tf_prune_ofa.tflite import flatbuffer, packed_files
from tf_prune_ofa.tflite.text_settings import TextSettings
from tf_prune_ofa.tools._main import run

# Two versions of the runtime may round differently; other tokens make more of a difference.
_ROUNDING = 1e-3
_CACHE = flags.DEFINE_string("cache", None, "folder for MediaPipe's environment", required=True)
_SENTENCES = flags.DEFINE_string("sentences", None, "text file, one sentence in a line")
_COUNT = flags.DEFINE_integer("count", 200, "how many sentences", 1)
_RUNTIMES = flags.DEFINE_boolean("runtimes", False, "also compare other runtimes with this one")
_JSON = flags.DEFINE_string("json", None, "also write the labels to this file")


def main(argv: list[str]) -> None:
    """Prints how many labels and scores agree, and the sentences where labels do not."""
    if len(argv) != 2:
        raise UserError(f"Name one .tflite file; {len(argv) - 1} were given.")
    path, sentences = argv[1], _read_sentences()
    if metadata_problem := _missing(path):
        raise UserError(f"{path} has no {metadata_problem} in it. Export it with both.")
    with TextClassifier(path, delegate=None) as classifier:
        print(f"The model's own tokenizer: {_described(classifier.settings)}.")
        logits = np.stack(classifier.logits(sentences))
        labels = classifier.labels
        ours = [dict(zip(labels, map(float, row), strict=True)) for row in logits]
        theirs = mediapipe.scores(path, sentences, _CACHE.value)
        scores = np.array([[one.get(name, -np.inf) for name in labels] for one in theirs])
        name = mediapipe.REQUIREMENTS[0].replace("==", " ")
        runtimes = [agreement.compare(name, scores, logits)]
        if _RUNTIMES.value:
            runtimes += agreement.in_other_runtimes(classifier, sentences, _CACHE.value)
    rows = [_compared(*row) for row in zip(sentences, ours, theirs, strict=True)]
    for row in rows:
        if row["ours"] != row["mediapipe"]:
            print(f"ours {row['ours']}, MediaPipe {row['mediapipe']}: {row['sentence']!r}")
    agree = sum(row["ours"] == row["mediapipe"] for row in rows)
    others = [row["sentence"] for row in rows if row["difference"] > _ROUNDING]
    print(f"{agree} of {len(rows)} labels agree.")
    print(f"{len(others)} sentences have other logits, so other tokens in MediaPipe.")
    for sentence in others[:10]:
        print(f"  {sentence!r}")
    print(f"\n{agreement.describe(runtimes)}")
    if _JSON.value:
        write_json(_JSON.value, rows)
        print(f"Written to {_JSON.value}")
    if agree < len(rows):
        sys.exit(1)


def _read_sentences() -> list[str]:
    if _SENTENCES.value is None:
        sentences = list(reviews_task().dev.text_a)
    else:
        try:
            text = Path(_SENTENCES.value).read_bytes().decode("utf-8-sig")
        except OSError as error:
            raise UserError(f"Cannot read {_SENTENCES.value}: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{_SENTENCES.value} is not UTF-8 (byte {error.start}).") from error
        sentences = _listed(text) if _SENTENCES.value.endswith(".json") else _lines(text)
    if not sentences:
        raise UserError(f"{_SENTENCES.value} has no sentences. Write one in each line.")
    return sentences[: _COUNT.value]


def _lines(text: str) -> list[str]:
    """Not splitlines(): U+2028 and the like are part of a sentence here."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]


def _listed(text: str) -> list[str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{_SENTENCES.value} is not JSON ({error}).") from error
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise UserError(f"{_SENTENCES.value} is not a list of sentences.")
    return found


def _missing(path: str) -> str:
    packed = packed_files.associated_files(flatbuffer.read_bytes(path))
    names = {packed_files.VOCAB_FILE: "vocabulary", packed_files.LABELS_FILE: "labels"}
    return " and no ".join(word for name, word in names.items() if name not in packed)


def _described(settings: TextSettings) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.tokenizer.items())


def _compared(
    sentence: str, ours: dict[str, float], theirs: dict[str, float]
) -> dict[str, str | float]:
    difference = max(abs(ours[label] - theirs.get(label, float("inf"))) for label in ours)
    return {
        "sentence": sentence,
        "ours": max(ours, key=ours.__getitem__),
        "mediapipe": max(theirs, key=theirs.__getitem__),
        "difference": difference,
    }


if __name__ == "__main__":
    run(main)
