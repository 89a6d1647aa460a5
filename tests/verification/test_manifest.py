import json

import pytest

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.verification.manifest import find_folder_problems, read_manifest

ENTRY = {"variant": "float32", "file": "float32_s8.tflite", "sha256": "ab", "size_bytes": 3}
GOOD = {"sequence_length": 8, "files": [ENTRY]}


def write(folder, value):
    text = value if isinstance(value, str) else json.dumps(value)
    (folder / "manifest.json").write_text(text, encoding="utf-8")


def test_a_manifest_comes_back(tmp_path):
    write(tmp_path, GOOD)
    assert read_manifest(tmp_path) == GOOD


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "is not JSON"),
        ([], "it is a list"),
        ({}, "its sequence_length is None"),
        ({"sequence_length": True, "files": [ENTRY]}, "its sequence_length is True"),
        ({"sequence_length": 8}, "it names no files"),
        ({"sequence_length": 8, "files": []}, "it names no files"),
        ({"sequence_length": 8, "files": [1]}, "its file 1 is 1"),
        ({"sequence_length": 8, "files": [{}]}, "has the variant None"),
        ({**GOOD, "files": [{**ENTRY, "sha256": 1}]}, "has the sha256 1"),
        ({**GOOD, "files": [{**ENTRY, "variant": "int4"}]}, "variant 'int4', which is unknown"),
        ({**GOOD, "files": [{**ENTRY, "file": "../x.tflite"}]}, "in its own folder"),
        ({**GOOD, "files": [{**ENTRY, "file": "/etc/x.tflite"}]}, "in its own folder"),
        ({**GOOD, "files": [{**ENTRY, "file": "..\\x.tflite"}]}, "in its own folder"),
        ({**GOOD, "files": [{**ENTRY, "file": "manifest.json"}]}, "in its own folder"),
        ({**GOOD, "files": [ENTRY, ENTRY]}, "names the variant 'float32' more than once"),
    ],
)
def test_a_manifest_that_is_none(tmp_path, value, message):
    write(tmp_path, value)
    with pytest.raises(UserError, match=message.replace("\\", "\\\\")):
        read_manifest(tmp_path)


def test_no_manifest(tmp_path):
    with pytest.raises(UserError, match="Cannot read .*manifest.json"):
        read_manifest(tmp_path)


def problems(folder, **changes):
    asked = {"variants": ["float32"], "sequence_length": 8, "digests": {"float32": "ab"}}
    return find_folder_problems(folder, GOOD, **{**asked, **changes})


def test_a_folder_apart_from_its_manifest(tmp_path):
    (tmp_path / "float32_s8.tflite").write_bytes(b"abc")
    assert problems(tmp_path) == []
    assert problems(tmp_path, digests={}) == []  # an older run
    assert "asked for were dense_int8" in problems(tmp_path, variants=["dense_int8"])[0]
    assert "asked for were 16" in problems(tmp_path, sequence_length=16)[0]
    assert "than result.json" in problems(tmp_path, digests={"float32": "cd"})[0]
    (tmp_path / "other.tflite").write_bytes(b"abc")
    assert "other.tflite is in the folder" in problems(tmp_path)[0]
