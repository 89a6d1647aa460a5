"""The code blocks of README.md and docs/, and how each is tried.

A block that is not run has a comment in front of it, which says why:

    <!-- not run: needs a phone -->
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# A Kotlin compiler against the real libraries cannot be had here; tests/android compiles the
# library's own sources.
ELSEWHERE = {"kotlin": "needs Android", "text": "no code"}


@dataclass(frozen=True)
class Snippet:
    """A code block.

    Attributes:
        page: path in the repository.
        line: where it begins.
        language: as the fence says.
        code: its lines.
        reason: why it is not run; "" where it is.
    """

    page: str
    line: int
    language: str
    code: str
    reason: str

    @property
    def where(self) -> str:
        """Place, for messages."""
        return f"{self.page}:{self.line}"

    def commands(self) -> list[list[str]]:
        """The commands of a shell block as words."""
        joined = self.code.replace("\\\n", " ")
        found = [shlex.split(line, comments=True) for line in joined.splitlines()]
        return [words for words in found if words]


def snippets() -> list[Snippet]:
    """All blocks of all pages, the tutorial of training first: later ones use what it made."""
    pages = [REPOSITORY / "docs/tutorials/train.md", REPOSITORY / "README.md"]
    pages += [p for p in sorted(REPOSITORY.glob("docs/**/*.md")) if p not in pages]
    found = []
    for path in pages:
        text = path.read_text(encoding="utf-8")
        for match in _BLOCK.finditer(text):
            reason = match["reason"] or ELSEWHERE.get(match["language"], "")
            line = text.count("\n", 0, match.start("language")) + 1
            page = path.relative_to(REPOSITORY).as_posix()
            found.append(Snippet(page, line, match["language"], match["code"], reason))
    return found
