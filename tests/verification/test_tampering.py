"""Every kind of change, on files of every kind, is refused; untouched files pass.

All changes on all files take a minute: `python tests/tampering_table.py`. Here are all changes on a
classifier's files, and those of the others that a head can matter to.
"""

import hashlib
import itertools
from dataclasses import replace

import pytest
import verified_models
from tampering import (
    CHANGES,
    shared_row,
    shared_scales,
    word_halves,
    word_parting,
    word_rows,
    word_scale,
)
from verified_models import VARIANTS

from tf_prune_ofa.verification import files


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tampering")
    return {kind: verified_models.export(kind, folder / kind) for kind in verified_models.KINDS}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", verified_models.KINDS)
def test_untouched_files_pass(exported, kind, variant):
    model = exported[kind]
    assert problems_of(model, model.read(variant), variant) == []


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_is_refused(exported, change):
    model, count = exported["classifier"], 0
    for variant in VARIANTS:
        before = model.read(variant)
        changed = change(before)
        if changed is not None:
            assert changed != before
            assert files.find_problems(changed, variant, model.expected), variant
            count += 1
    assert count, "no file of this model can be changed so"


# Words in INT4, and words of which some share a row.
WORD_CHANGES = [("regression", one) for one in (word_rows, word_scale, word_halves, word_parting)]
WORD_CHANGES += [("span", one) for one in (shared_row, shared_scales, word_rows, word_scale)]


@pytest.mark.parametrize(("kind", "change"), WORD_CHANGES)
def test_a_change_of_words_is_refused(exported, kind, change):
    model = exported[kind]
    for variant in VARIANTS[1:]:
        changed = change(model.read(variant))
        assert changed is not None
        assert files.find_problems(changed, variant, model.expected), variant


def test_rows_that_are_shared_unlike_the_model_are_refused(exported):
    shared = exported["span"].expected.shared
    for kind, other in (("span", None), ("classifier", shared)):
        model = exported[kind]
        expected = replace(model.expected, shared=other)
        for variant in VARIANTS[1:]:
            assert files.find_problems(model.read(variant), variant, expected)
        assert not files.find_problems(model.read("float32"), "float32", expected)


@pytest.mark.parametrize("kind", ["regression", "classifier"])
def test_words_of_other_bits_are_refused(exported, kind):
    model = exported[kind]
    other = replace(model.expected, int4_words=not model.expected.int4_words)
    for variant in VARIANTS[1:]:
        assert files.find_problems(model.read(variant), variant, other)
    assert not files.find_problems(model.read("float32"), "float32", other)


def problems_of(model, content, variant):
    """As the stage asks, with a manifest that has been given the digest of a changed file."""
    entry = next(entry for entry in model.manifest["files"] if entry["variant"] == variant)
    entry |= {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    found = files.find_entry_problems(content, entry)
    return found + files.find_problems(content, variant, model.expected)


@pytest.mark.parametrize("kind", verified_models.KINDS)
def test_a_file_of_another_variant_is_refused(exported, kind):
    model = exported[kind]
    for said, variant in itertools.permutations(VARIANTS, 2):
        assert problems_of(model, model.read(variant), said), (variant, said)


def test_a_file_of_another_model_is_refused(exported):
    for variant in VARIANTS:
        for one in exported.values():
            for other in exported.values():
                if one is not other:
                    assert files.find_problems(one.read(variant), variant, other.expected)


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\0\0\0\0TFL3", b"x" * 1000])
def test_what_is_no_file_is_refused(exported, content):
    assert files.find_problems(content, "float32", exported["span"].expected)
