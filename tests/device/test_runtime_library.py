import struct
import zipfile

import pytest

from tf_prune_ofa.device import build, elf, runtime_library
from tf_prune_ofa.errors import UserError


def library(machine):
    return b"\x7fELF" + bytes(12) + struct.pack("<HH", 3, machine) + bytes(44)


def find(given, tmp_path, architecture="aarch64", is_android=False):
    return runtime_library.find(
        given, architecture, is_android=is_android, cache=tmp_path / "cache", device="Phone 1"
    )


@pytest.fixture
def package(tmp_path):
    path = tmp_path / "litert-1.4.1.aar"
    with zipfile.ZipFile(path, "w") as archive:
        for abi, machine in (("arm64-v8a", 183), ("armeabi-v7a", 40), ("x86_64", 62)):
            archive.writestr(f"jni/{abi}/libtensorflowlite_jni.so", library(machine))
    return path


@pytest.mark.parametrize("architecture", ["aarch64", "x86_64"])
def test_it_is_taken_out_of_an_android_package(package, tmp_path, architecture):
    found = find(str(package), tmp_path, architecture, is_android=True)
    assert elf.architecture(found) == architecture


def test_it_is_taken_out_of_a_wheel(tmp_path):
    path = tmp_path / "some-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("some/lib/libtensorflowlite_c.so", library(183))
    assert elf.architecture(find(str(path), tmp_path)) == "aarch64"
    with pytest.raises(UserError, match="is for aarch64, but Phone 1 is x86_64"):
        find(str(path), tmp_path, "x86_64")


def test_what_is_refused(package, tmp_path):
    with pytest.raises(UserError, match="needs TFLite for Android. Download an Android package"):
        find(None, tmp_path, is_android=True)
    with pytest.raises(UserError, match="no such file"):
        find(str(tmp_path / "none.so"), tmp_path)
    (tmp_path / "bad.aar").write_bytes(b"PK")
    with pytest.raises(UserError, match="is no package, or only a part of one"):
        find(str(tmp_path / "bad.aar"), tmp_path)
    with zipfile.ZipFile(tmp_path / "other.aar", "w") as archive:
        archive.writestr("classes.jar", "")
    with pytest.raises(UserError, match="has none of .* for aarch64"):
        find(str(tmp_path / "other.aar"), tmp_path)
    (tmp_path / "text.so").write_text("not a library")
    with pytest.raises(UserError, match="is no program or library"):
        find(str(tmp_path / "text.so"), tmp_path)


def test_programs_that_are_missing(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="has no tf_prune_ofa_runner, libtf_prune_ofa_delegate.so"):
        build.programs_in(tmp_path)
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="cmake is missing"):
        build.build("aarch64", is_android=False, cache=tmp_path)
    monkeypatch.setattr(build.shutil, "which", lambda name: name if name == "cmake" else None)
    monkeypatch.setattr(build.platform, "machine", lambda: "x86_64")
    with pytest.raises(UserError, match=r"no compiler for aarch64.*g\+\+-aarch64-linux-gnu"):
        build.build("aarch64", is_android=False, cache=tmp_path)
    monkeypatch.delenv("ANDROID_NDK", raising=False)
    monkeypatch.delenv("ANDROID_NDK_HOME", raising=False)
    with pytest.raises(UserError, match="compiled by its NDK. .*set ANDROID_NDK"):
        build.build("aarch64", is_android=True, cache=tmp_path)
