"""Where MediaPipe's text classifier makes other tokens of a text than a model's own tokenizer.

MediaPipe has one way for every file: A to Z are lower-cased and nothing else is done to a text; the
metadata of a file has no place for another way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def other_tokens(settings: Mapping[str, Any], kind: str = "WordPiece") -> list[str]:
    """Return in words which texts have other tokens in MediaPipe; none with its own clean-up.

    Args:
        settings: of a tokenizer, as `wordpiece.tokenizer_settings` returns them.
        kind: of the tokenizer.
    """
    if kind != "WordPiece":
        return [f"anything: it takes WordPiece files alone, and this model has a {kind} tokenizer"]
    if settings.get("clean_up", "bert") == "mediapipe":
        return []
    lower_case, strip_accents = settings["lower_case"], settings["strip_accents"]
    found = []
    if not lower_case:
        found.append("capitals (it lower-cases, the model does not)")
    if strip_accents or (strip_accents is None and lower_case):
        found.append("accents (it keeps them, the model takes them off)")
    if lower_case:
        found.append("capitals outside A to Z (it keeps them)")
    if not settings["split_chinese"]:
        found.append("ideographs (it makes each a word, the model does not)")
    if settings.get("added_tokens"):
        names = ", ".join(token["content"] for token in settings["added_tokens"][:3])
        found.append(f"added tokens (it does not know {names})")
    found.append("control and format characters, and white space beyond ASCII's")
    return found
