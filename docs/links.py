"""Links of the site: those to files outside of docs/, which are for readers of the repository."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>[^)#\s]+)(?P<anchor>#[^)]*)?\)")
# Pages that the site has of files outside.
_PAGES = {"README.md": "index.md", "CHANGELOG.md": "changes.md"}
_ROOT = Path(__file__).parents[1]


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links that leave docs/ into the page that the site has of them, or into their text.

    A link to nothing stays as it is, for the build to refuse it.
    """
    if page.file.src_uri == "changes.md":
        markdown = (_ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    here = posixpath.dirname(page.file.src_uri)

    def inside(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", here, match["target"]))
        if "://" in match["target"] or path.startswith("docs/") or not (_ROOT / path).exists():
            return match[0]
        if path in _PAGES:
            return f"[{match['text']}]({posixpath.relpath(_PAGES[path], here or '.')})"
        return match["text"] if match["text"].startswith("`") else f"{match['text']} (`{path}`)"

    return _LINK.sub(inside, markdown)
