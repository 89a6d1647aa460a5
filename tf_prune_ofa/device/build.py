"""The programs that go to a device: runner and delegate, compiled for it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import tf_prune_ofa
from tf_prune_ofa.errors import UserError

RUNNER = "tf_prune_ofa_runner"
DELEGATE = "libtf_prune_ofa_delegate.so"
_CROSS_COMPILER = "aarch64-linux-gnu-g++"


@dataclass(frozen=True)
class Programs:
    """Paths of what was built; they may be of any build of native/CMakeLists.txt."""

    runner: Path
    delegate: Path


def native_folder() -> Path:
    """Return the folder of the sources.

    Raises:
        UserError: the package was installed without them.
    """
    folder = Path(tf_prune_ofa.__file__).parents[1] / "native"
    if not (folder / "runner").is_dir():
        raise UserError(
            "the sources of the runner are not installed. Start this tool from the project's "
            "folder, or build them by hand (docs/on_device.md) and name the folder: --build=FOLDER."
        )
    return folder


def programs_in(folder: Path) -> Programs:
    """Return what a build's folder has.

    Raises:
        UserError: something is missing there.
    """
    programs = Programs(folder / RUNNER, folder / DELEGATE)
    missing = [path.name for path in vars(programs).values() if not path.is_file()]
    if missing:
        raise UserError(
            f"{folder} has no {', '.join(missing)}. Build them there: cmake --build {folder} "
            f"--target {RUNNER} tf_prune_ofa_delegate."
        )
    return programs


def build(architecture: str, *, is_android: bool, cache: Path) -> Programs:
    """Compile for a device, or return what was compiled before.

    Args:
        architecture: "aarch64" or "x86_64".
        is_android: by Android's NDK, which ANDROID_NDK (or ANDROID_NDK_HOME) names.
        cache: folder that builds are kept in.

    Raises:
        UserError: a compiler is missing, or the sources do not compile.
    """
    native = native_folder()
    if not shutil.which("cmake"):
        raise UserError("cmake is missing. Install it (Debian, Ubuntu: apt install cmake g++).")
    options = ["-DCMAKE_BUILD_TYPE=Release"]
    if is_android:
        options += _android(architecture)
    elif architecture != platform.machine():
        options += _cross(architecture, native)
    folder = cache / "build" / f"{architecture}-{'android' if is_android else 'linux'}"
    folder.mkdir(parents=True, exist_ok=True)
    _run(["cmake", "-S", str(native), "-B", str(folder), *options])
    targets = [RUNNER, "tf_prune_ofa_delegate"]
    _run(["cmake", "--build", str(folder), "-j", str(os.cpu_count() or 1), "--target", *targets])
    return programs_in(folder)


def _cross(architecture: str, native: Path) -> list[str]:
    if architecture != "aarch64" or not shutil.which(_CROSS_COMPILER):
        raise UserError(
            f"no compiler for {architecture}. Install one (Debian, Ubuntu: apt install "
            f"g++-{architecture.replace('_', '-')}-linux-gnu), or build native/ on the device "
            "itself and name the folder: --build=FOLDER."
        )
    return [f"-DCMAKE_TOOLCHAIN_FILE={native / 'aarch64-linux-gnu.cmake'}"]


def _android(architecture: str) -> list[str]:
    ndk = os.environ.get("ANDROID_NDK") or os.environ.get("ANDROID_NDK_HOME") or ""
    toolchain = Path(ndk) / "build" / "cmake" / "android.toolchain.cmake"
    if not ndk or not toolchain.is_file():
        raise UserError(
            "programs for Android are compiled by its NDK. Install it (Android Studio: SDK "
            "Manager, SDK Tools, NDK) and set ANDROID_NDK to its folder, or name a folder with "
            "programs that were built elsewhere: --build=FOLDER."
        )
    abi = {"aarch64": "arm64-v8a", "x86_64": "x86_64"}[architecture]
    return [
        f"-DCMAKE_TOOLCHAIN_FILE={toolchain}",
        f"-DANDROID_ABI={abi}",
        "-DANDROID_PLATFORM=android-24",
        "-DANDROID_STL=c++_static",
        "-DJNI=OFF",
    ]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise UserError(f"the programs for the device do not compile:\n{said}")
