"""Files to the Hub and back, through its own client, against a stand-in on loopback."""

import gzip
import hashlib
import json

import hub_server
import pytest
import text_files

import tf_prune_ofa as ofa
from tf_prune_ofa import hub
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.report.card import write_card
from tf_prune_ofa.report.collect import Run, Stage

huggingface_hub = pytest.importorskip("huggingface_hub")


@pytest.fixture
def the_hub(monkeypatch, tmp_path):
    """The stand-in, and the client turned to it."""
    from huggingface_hub import constants

    with hub_server.running() as (found, address):
        for name, value in {
            "ENDPOINT": address,
            "HUGGINGFACE_CO_URL_TEMPLATE": address + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_XET_CACHE": str(tmp_path / "xet"),
            # The stand-in keeps large files as LFS does.
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_OFFLINE": False,
        }.items():
            monkeypatch.setattr(constants, name, value, raising=False)
        monkeypatch.setenv("HF_TOKEN", hub_server.TOKEN)
        yield found


@pytest.fixture
def exported(tmp_path):
    """The folder of an export with two files, a manifest and a card."""
    folder = tmp_path / "out"
    folder.mkdir()
    entries = []
    for variant in ("float32", "dense_int8"):
        content = text_files.classifier(labels=(f"bad of {variant}", f"good of {variant}"))
        name = f"{variant}_s12.tflite"
        (folder / name).write_bytes(content)
        entries.append(
            {
                "variant": variant,
                "file": name,
                "sha256": hashlib.sha256(content).hexdigest(),
                "size_bytes": len(content),
                "gzip_bytes": len(gzip.compress(content)),
            }
        )
    manifest = {
        "sequence_length": 12,
        "inputs": ["input_word_ids", "input_mask", "input_type_ids"],
        "outputs": ["logits"],
        "files": entries,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    write_card(
        Run("made", {}, (Stage("export", "export", details={"manifest": manifest}),)), folder
    )
    return folder


def test_files_are_pushed_opened_and_run(the_hub, exported):
    (exported / "private.txt").write_text("not of the export")
    where = ofa.push_to_hub(exported, "tester/films")
    assert where.endswith("/tester/films")
    held = the_hub.repositories["tester/films"]["main"]
    assert set(held) == {
        "README.md", "manifest.json", "float32_s12.tflite", "dense_int8_s12.tflite"
    }  # fmt: skip

    opened = ofa.open("hf://tester/films")
    assert {v: p.read_bytes() for v, p in opened.paths.items()} == {
        v: (exported / f"{v}_s12.tflite").read_bytes() for v in ("float32", "dense_int8")
    }

    # Only the file that is run is fetched: an INT8 one before a float one.
    with ofa.TextClassifier("hf://tester/films") as classify:
        assert classify("the film is good").label == "good of dense_int8"
    with ofa.TextClassifier("hf://tester/films/float32_s12.tflite") as classify:
        assert classify("the film is bad").label == "bad of float32"
    with pytest.raises(UserError, match="has no file other.tflite; it has float32_s12"):
        ofa.TextClassifier("hf://tester/films/other.tflite")


def test_only_the_file_that_runs_is_fetched(the_hub, exported):
    ofa.push_to_hub(exported, "tester/films")
    the_hub.requests.clear()
    ofa.TextClassifier("hf://tester/films").close()
    fetched = {path.rsplit("/", 1)[-1] for method, path in the_hub.requests if "/resolve/" in path}
    assert fetched == {"manifest.json", "dense_int8_s12.tflite"}


def test_a_pull_request_proposes_and_leaves_the_rest_alone(the_hub, exported):
    the_hub.repositories["somebody/films"] = {"main": {}}
    where = ofa.push_to_hub(exported, "somebody/films", create_pr=True)
    assert where.endswith("/somebody/films/discussions/1")
    assert the_hub.repositories["somebody/films"]["main"] == {}
    assert ("POST", "/api/repos/create") not in the_hub.requests
    with ofa.TextClassifier("hf://somebody/films@refs/pr/1") as classify:
        assert classify("the film is good").label == "good of dense_int8"


def test_what_is_opened_can_be_pushed_again(the_hub, exported):
    ofa.push_to_hub(exported, "tester/films")
    ofa.push_to_hub(ofa.open("hf://tester/films"), "tester/copy")
    copies = the_hub.repositories
    assert copies["tester/copy"]["main"] == copies["tester/films"]["main"]


def test_a_file_that_the_manifest_does_not_name_is_refused(the_hub, exported):
    ofa.push_to_hub(exported, "tester/films")
    held = the_hub.repositories["tester/films"]["main"]
    held["dense_int8_s12.tflite"] = held["float32_s12.tflite"]
    with pytest.raises(UserError, match="is not the file that its manifest.json names"):
        ofa.TextClassifier("hf://tester/films")
    with pytest.raises(UserError, match="is not the file that manifest.json names"):
        ofa.open("hf://tester/films")
    with pytest.raises(UserError, match="is not the file that manifest.json names"):
        (exported / "float32_s12.tflite").write_bytes(b"other")
        ofa.push_to_hub(exported, "tester/films")


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b"no JSON",
        b'{"files": [{"variant": "float32", "file": "../x.tflite", "sha256": "00"}]}',
        b'{"files": [{"variant": "float32", "file": "x.txt", "sha256": "00"}]}',
    ],
)
def test_a_damaged_manifest_is_refused(the_hub, content):
    the_hub.repositories["tester/films"] = {"main": {"manifest.json": content}}
    with pytest.raises(UserError, match="holds no files of this package"):
        ofa.TextClassifier("hf://tester/films")


def test_what_the_hub_refuses_is_one_clear_message(the_hub, exported, monkeypatch):
    with pytest.raises(UserError, match="Cannot download hf://nobody/nothing"):
        ofa.open("hf://nobody/nothing")
    with pytest.raises(UserError, match="'films' is no repository of the Hub; write user/name"):
        ofa.push_to_hub(exported, "films")
    with pytest.raises(UserError, match="Cannot push to hf://nobody/nothing"):
        ofa.push_to_hub(exported, "nobody/nothing", create_pr=True)
    with pytest.raises(UserError, match="logged in"):
        ofa.push_to_hub(exported, "tester/films", token="wrong")
    assert "tester/films" not in the_hub.repositories
    with pytest.raises(UserError, match="nothing to push"):
        hub.push({"a": exported / "none"}, "tester/films")
