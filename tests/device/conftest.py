"""Programs for this machine, TFLite's C library, small files, a phone and an adb server."""

import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import time
from pathlib import Path

import fake_adbd
import pytest
import text_files

from tf_prune_ofa.device import build, elf
from tf_prune_ofa.device.build import Programs
from tf_prune_ofa.runtime import delegate

NATIVE = Path(__file__).parents[2] / "native"


def needs(*programs):
    """Skips the test where one of the programs is not installed."""
    for program in programs:
        if not shutil.which(program) and not Path(f"/usr/sbin/{program}").exists():
            pytest.skip(f"{program} is not installed")


@pytest.fixture(scope="session")
def runtime():
    """TFLite's C library for this machine."""
    found = importlib.util.find_spec("pymicro_wakeword")
    if found is None:
        pytest.skip("TFLite's C library: pip install --no-deps pymicro-wakeword")
    path = Path(found.submodule_search_locations[0]) / "lib" / "libtensorflowlite_c.so"
    if elf.architecture(path) != platform.machine():
        pytest.skip(f"{path} is not for this machine")
    return path


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """The runner, compiled in a hurry; the delegate of the package."""
    needs("g++")
    if not delegate.LIBRARY.is_file():
        pytest.skip("the delegate's library is not built here")
    folder = tmp_path_factory.mktemp("programs")
    runner = folder / build.RUNNER
    compile_with("g++", runner, *sorted((NATIVE / "runner").glob("*.cc")))
    return Programs(runner, delegate.LIBRARY)


def compile_with(compiler, program, *sources):
    command = [compiler, "-std=c++17", "-O0", f"-I{NATIVE / 'include'}", *map(str, sources)]
    done = subprocess.run(
        [*command, "-o", str(program), "-ldl", "-pthread"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, content in (("a", text_files.classifier()), ("b", text_files.span())):
        (folder / f"{name}.tflite").write_bytes(content)
    return [folder / "a.tflite", folder / "b.tflite"]


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory):
    """A real adb server of our own, with keys of its own."""
    needs("adb")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    home = tmp_path_factory.mktemp("adb")
    environment = {"ANDROID_ADB_SERVER_PORT": str(port), "HOME": str(home)}
    subprocess.run(["adb", "start-server"], env=os.environ | environment, check=True)
    yield environment
    subprocess.run(["adb", "kill-server"], env=os.environ | environment, check=False)


@pytest.fixture
def adb(adb_server, monkeypatch):
    """Runs adb with our server; phones that a test connected are gone at its end."""
    for key, value in adb_server.items():
        monkeypatch.setenv(key, value)

    def run(*arguments):
        done = subprocess.run(["adb", *arguments], capture_output=True, text=True, timeout=30)
        return done.stdout

    yield run
    # The server lets go of a phone when it comes to it, and until then it is one more for others.
    for _ in range(100):
        run("disconnect")
        if not run("devices").split("\n", 1)[-1].strip():
            break
        time.sleep(0.1)


@pytest.fixture
def phone(adb, tmp_path):
    """A phone with this machine's processor, connected."""
    fake_adbd.make_phone(tmp_path / "phone", platform.machine())
    phone = fake_adbd.FakePhone(tmp_path / "phone", [])
    assert "connected to" in adb("connect", phone.serial)
    yield phone
    phone.unplug()
