"""TFLite's C library for a device.

- Linux: PyPI's `pymicro-wakeword` has TFLite 2.17.1 with C interface and XNNPACK, for x86-64 and
  aarch64. It is fetched by itself.
- Android: `libtensorflowlite_jni.so` in the packages of TFLite and LiteRT 1.x (`.aar`) has both.
- npm's `tfjs-tflite-node` has 2.9.0 for Linux, whose XNNPACK takes fewer operators: if it is named.
- LiteRT 2's `libLiteRt.so` has an interface of its own, which takes no external delegate: not used.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tf_prune_ofa.device import elf
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import write_bytes

# Built from TensorFlow's own sources; Apache-2.0 as they are.
LINUX_PACKAGE = "pymicro-wakeword==2.5.0"
_PLATFORMS = ("manylinux_2_35", "manylinux_2_28", "manylinux2014")
_NAMES = ("libtensorflowlite_c.so", "libtensorflowlite_jni.so", "liblitert_jni.so")
_ANDROID_ABIS = {"aarch64": "arm64-v8a", "x86_64": "x86_64"}


def find(
    given: str | None, architecture: str, *, is_android: bool, cache: Path, device: str
) -> Path:
    """Return the library for a device.

    Args:
        given: what the user named: a library, or a package that has it (.aar, .whl); None to
            fetch the usual one for Linux.
        architecture: of the device.
        is_android: whether it is a phone.
        cache: folder for what is taken out of packages.
        device: what error messages call the device.

    Raises:
        UserError: there is none, or it is for another processor.
    """
    if given is None and is_android:
        raise UserError(
            f"{device} needs TFLite for Android. Download an Android package of it (Maven: "
            "com.google.ai.edge.litert:litert:1.4.1, or org.tensorflow:tensorflow-lite:2.17.0; the "
            "file ends in .aar) and name it: --runtime_library=FILE.aar."
        )
    path = _fetch(architecture, cache) if given is None else Path(given)
    if not path.is_file():
        raise UserError(f"--runtime_library={path}: no such file.")
    if path.suffix in (".aar", ".whl", ".zip", ".jar"):
        path = _unpacked(path, architecture, cache)
    elf.require(path, architecture, device)
    return path


def _fetch(architecture: str, cache: Path) -> Path:
    """Download the package for Linux, once."""
    folder = cache / "runtime" / architecture
    kept = sorted(folder.glob("*.whl"))
    if kept:
        return kept[0]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", fresh]
        command += ["--only-binary=:all:", "--disable-pip-version-check"]
        for platform in _PLATFORMS:
            command.append(f"--platform={platform}_{architecture}")
        done = subprocess.run(
            [*command, LINUX_PACKAGE], capture_output=True, text=True, check=False
        )
        found = sorted(Path(fresh).glob("*.whl"))
        if done.returncode or not found:
            raise UserError(
                f"cannot fetch {LINUX_PACKAGE}, which has TFLite's C library for {architecture}. "
                "Check that the package index can be reached, or name a library: "
                "--runtime_library=FILE."
            )
        return found[0].rename(folder / found[0].name)


def _unpacked(package: Path, architecture: str, cache: Path) -> Path:
    """Take the library for a processor out of a package."""
    try:
        with zipfile.ZipFile(package) as archive:
            inside = [name for name in archive.namelist() if name.rsplit("/")[-1] in _NAMES]
            if package.suffix in (".aar", ".zip", ".jar"):
                abi = _ANDROID_ABIS[architecture]
                inside = [name for name in inside if f"/{abi}/" in f"/{name}"]
            if not inside:
                raise UserError(
                    f"{package} has none of {', '.join(_NAMES)} for {architecture}. Name a package "
                    "of TFLite or LiteRT 1.x."
                )
            content = archive.read(inside[0])
    except zipfile.BadZipFile:
        raise UserError(f"{package} is no package, or only a part of one. Get it again.") from None
    path = cache / "runtime" / architecture / f"{package.stem}.so"
    if not path.is_file() or path.read_bytes() != content:
        write_bytes(path, content)
    return path
