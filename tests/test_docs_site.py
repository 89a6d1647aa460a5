"""The documentation's pages: all in the navigation, built strictly and without the network."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[1]


def navigation(entries):
    for entry in entries:
        for value in entry.values():
            yield from navigation(value) if isinstance(value, list) else [value]


def test_every_page_has_a_place():
    settings = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))
    docs = REPOSITORY / "docs"
    pages = [path.relative_to(docs).as_posix() for path in docs.rglob("*.md")]
    assert sorted(navigation(settings["nav"])) == sorted(pages)


def test_the_site_builds_and_asks_nobody(tmp_path):
    pytest.importorskip("mkdocs", reason="needs pip install '.[docs]'")
    pytest.importorskip("material", reason="needs pip install '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "-q", "--strict", "-d", tmp_path / "site"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # The docstrings are in it, and nothing is fetched from elsewhere.
    making = (tmp_path / "site/reference/making.html").read_text(encoding="utf-8")
    for text in ("finetune", "run_dir", "Passes over the training examples".lower()):
        assert text in making.lower()
    for path in (tmp_path / "site").rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        fetched = re.findall(r'<(?:script|img)[^>]*src="(http[^"]*)"', text)
        fetched += re.findall(
            r'<link[^>]*rel="(?:stylesheet|preload)"[^>]*href="(http[^"]*)"', text
        )
        assert not fetched, path
