"""What MediaPipe's TextClassifier makes of a file and raw text.

The independent check that a file is complete: MediaPipe gets nothing but the file and the
sentences, and has its own tokenizer, runtime and reading of the labels. It needs absl-py 2, TFMOT
needs absl-py 1, so it runs in a Python of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime.elsewhere import make_python

REQUIREMENTS = ("mediapipe==1.2.2",)

# Runs in the other Python, which has nothing of this package: the file's path is an argument, the
# sentences come as JSON on standard input, the labels leave as JSON on standard output.
_PROGRAM = """
import json, sys
from mediapipe.tasks.python import BaseOptions, text
options = text.TextClassifierOptions(base_options=BaseOptions(model_asset_path=sys.argv[1]))
with text.TextClassifier.create_from_options(options) as classifier:
    labels = []
    for sentence in json.load(sys.stdin):
        categories = classifier.classify(sentence).classifications[0].categories
        labels.append({category.category_name: category.score for category in categories})
print(json.dumps(labels))
"""


def classify(
    path: str | os.PathLike[str], sentences: Sequence[str], cache: str | os.PathLike[str]
) -> list[str]:
    """Return the label that MediaPipe gives to each sentence; see `scores`."""
    return [max(found, key=found.__getitem__) for found in scores(path, sentences, cache)]


def scores(
    path: str | os.PathLike[str], sentences: Sequence[str], cache: str | os.PathLike[str]
) -> list[dict[str, float]]:
    """Return the scores of all labels that MediaPipe gives to each sentence: the file's logits.

    Args:
        path: .tflite file with metadata.
        sentences: raw text.
        cache: folder for the virtual environment with MediaPipe.

    Raises:
        UserError: MediaPipe cannot be installed, or refuses the file.
    """
    python = make_python(Path(cache) / "mediapipe", REQUIREMENTS)
    finished = subprocess.run(
        [str(python), "-c", _PROGRAM, str(Path(path).absolute())],
        input=json.dumps(list(sentences)),
        capture_output=True,
        text=True,
    )
    if finished.returncode:
        raise UserError(
            f"MediaPipe's TextClassifier does not take {path}:\n{finished.stderr.strip()[-2000:]}"
        )
    return json.loads(finished.stdout.strip().splitlines()[-1])
