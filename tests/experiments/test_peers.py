import json
from pathlib import Path

import pytest

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.experiments import peers


def test_environments_are_made_one_by_one(tmp_path, monkeypatch):
    asked, seen = [], []

    def make_python(folder, requirements):
        asked.append((folder, requirements))
        return folder / "bin" / "python"

    monkeypatch.setattr(peers, "make_python", make_python)
    made = peers.make(tmp_path, ["openvino", "deepsparse"], seen.append)
    assert made["openvino"] == tmp_path / "openvino" / "bin" / "python"
    assert seen == ["openvino", "deepsparse"]
    assert asked[1] == (tmp_path / "deepsparse", ("deepsparse==1.8.0",))


def test_only_finished_environments_of_these_versions_count(tmp_path):
    for name, requirements in (
        ("onnxruntime", list(peers.PEERS["onnxruntime"])),
        ("openvino", ["openvino==2020.1"]),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "installed.json").write_text(json.dumps(requirements))
    (tmp_path / "deepsparse").mkdir()  # interrupted
    assert peers.installed(tmp_path) == {"onnxruntime": tmp_path / "onnxruntime" / "bin" / "python"}


def test_an_unknown_peer(tmp_path):
    with pytest.raises(UserError, match="no peer tvm. There are: onnxruntime, openvino"):
        peers.make(tmp_path, ["openvino", "tvm"])


def test_what_goes_wrong_in_a_peer_is_shown_and_leaves_no_file(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No module named onnx' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(RuntimeError, match="No module named onnx"):
        peers.write_onnx(python, tmp_path / "a.onnx", weights=Path("w.npz"))
    with pytest.raises(RuntimeError, match="ended with 1"):
        peers.quantize_dynamically(python, tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["python"]
