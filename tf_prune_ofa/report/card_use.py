"""How files are used, for their card: by what they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_prune_ofa.hub import PREFERRED


@dataclass(frozen=True)
class Use:
    """Lines of code for a file.

    Attributes:
        pipeline: what the Hub calls such a task; "" where it has no word for it.
        python: with the classes of this package.
        kotlin: on Android; "" where nothing there takes such a file.
        kotlin_with: which library that needs.
    """

    pipeline: str
    python: str
    kotlin: str = ""
    kotlin_with: str = ""


_OWN_LIBRARY = "with the library in this package's `android/` (docs/android.md)"
_MEDIAPIPE = "with `com.google.mediapipe:tasks-text`, the file in src/main/assets"


def use_of(
    manifest: dict[str, Any],
    labels: Sequence[str],
    *,
    gives_sets: bool = False,
    folder: Path | None = None,
) -> Use:
    """Return how to use the best file of a manifest.

    Args:
        manifest: of the export.
        labels: names of the classes; none of a regression.
        gives_sets: whether a text may have several labels.
        folder: of the files, where their names alone do not say it.
    """
    files = {entry["variant"]: entry["file"] for entry in manifest["files"]}
    file = next((files[name] for name in PREFERRED if name in files), next(iter(files.values())))
    if folder is not None:
        file = (folder / file).as_posix()
    outputs = set(manifest["outputs"])
    if outputs == {"start_logits", "end_logits"}:
        return Use(
            "question-answering",
            _python(
                "QuestionAnswerer", file, 'model("Who wrote it?", "It was written by Ann.").text'
            ),
            f'val ask = QuestionAnswerer(Assets.map(context, "{file}"))\n'
            'val answer = ask.answer("Who wrote it?", "It was written by Ann.").text',
            _OWN_LIBRARY,
        )
    if outputs == {"tag_logits"}:
        return Use(
            "token-classification", _python("TokenClassifier", file, 'model("Ann is in Rome.")')
        )
    if outputs == {"embedding"}:
        call = 'model.similarity("How old are you?", "What is your age?")'
        return Use("sentence-similarity", _python("TextEmbedder", file, call))
    if outputs == {"logits"} and gives_sets:
        # Other classes know nothing of the file's thresholds.
        call = 'model("A small movie with a big impact.").labels'
        return Use("text-classification", _python("TextClassifier", file, call))
    if outputs == {"logits"} and labels:
        return Use(
            "text-classification",
            _python("TextClassifier", file, 'model("A small movie with a big impact.").label'),
            f'val classifier = TextClassifier.createFromFile(context, "{file}")\n'
            'val label = classifier.classify("A small movie with a big impact.")\n'
            "    .classificationResult().classifications()[0].categories()"
            ".maxBy { it.score() }.categoryName()",
            _MEDIAPIPE,
        )
    if outputs == {"logits"}:
        call = 'model("A man plays.", "A man is playing.").score'
        return Use("", _python("TextClassifier", file, call))
    lines = [
        "from tf_prune_ofa.runtime.interpreter import Interpreter",
        "",
        f'model = Interpreter("{file}")',
        f"model.output_names  # {', '.join(sorted(outputs))}",
    ]
    return Use("", "\n".join(lines))


def _python(kind: str, file: str, call: str) -> str:
    lines = ["import tf_prune_ofa as ofa", "", f'model = ofa.{kind}("{file}")', f"print({call})"]
    return "\n".join(lines)
