"""A real sshd on the loopback address."""

import dataclasses
import os
import shutil
import socket
import subprocess
import time

import pytest
from quick import QUICK

from tf_prune_ofa.device.measure import measure
from tf_prune_ofa.device.result import to_result
from tf_prune_ofa.device.ssh import SshTarget
from tf_prune_ofa.device.targets import find_targets
from tf_prune_ofa.errors import UserError


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    """Options of ssh for a server that takes one key."""
    server = shutil.which("sshd") or "/usr/sbin/sshd"
    if not os.path.exists(server) or not shutil.which("ssh"):
        pytest.skip("sshd is not installed")
    if os.getuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = [f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {folder}/host", "UsePAM no"]
    config += [f"AuthorizedKeysFile {folder}/user.pub", "StrictModes no", f"PidFile {folder}/pid"]
    (folder / "config").write_text("\n".join(config) + "\n")
    process = subprocess.Popen(
        [server, "-D", "-e", "-f", str(folder / "config")], stderr=subprocess.DEVNULL
    )
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    options = [f"-p{port}", f"-oUserKnownHostsFile={folder}/known", "-oStrictHostKeyChecking=no"]
    yield (*options, f"-i{folder}/user", "-oIdentitiesOnly=yes", "-F/dev/null")
    process.terminate()
    process.wait()


@pytest.fixture
def target(sshd, tmp_path):
    (tmp_path / "there").mkdir()
    return SshTarget("127.0.0.1", str(tmp_path / "there"), sshd)


def test_files_are_measured_and_nothing_stays(target, files, programs, runtime):
    target.connect()
    measured = measure(target, files, QUICK, lambda _: programs, lambda _: runtime)
    result = to_result(target.name, measured, QUICK)
    assert [row["file"] for row in result["files"] or result["throttled_files"]] == [
        "a.tflite",
        "a.tflite, delegate",
        "b.tflite",
        "b.tflite, delegate",
    ]
    assert os.listdir(target.base) == []


def test_words_go_through_both_shells(target):
    done = target.sh("""echo "it's $((1 + 1))" '$HOME'; exit_code() { return 3; }; exit_code""")
    assert (done.code, done.out) == (3, "it's 2 $HOME\n")


def test_copies_are_whole(target, tmp_path):
    content = os.urandom(300_000)
    (tmp_path / "here").write_bytes(content)
    target.push(tmp_path / "here", f"{target.base}/a file")
    target.pull(f"{target.base}/a file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content
    with pytest.raises(UserError, match="cannot copy /nowhere/x: ."):
        target.push(tmp_path / "here", "/nowhere/x")


def test_a_machine_that_does_not_listen(sshd):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    target = SshTarget("127.0.0.1", None, (f"-p{port}", *sshd[1:]))
    with pytest.raises(UserError, match="cannot reach 127.0.0.1 by ssh: .*Enable ssh there"):
        target.connect()


def test_a_key_that_is_not_known(sshd, tmp_path):
    key = str(tmp_path / "other")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    target = SshTarget("127.0.0.1", None, (*sshd[:3], f"-i{key}", *sshd[4:]))
    with pytest.raises(UserError, match=r"Permission denied .*ssh-copy-id 127.0.0.1"):
        target.connect()


def test_a_folder_that_cannot_be_made(target, files, programs, runtime):
    target.base = "/proc/nowhere"
    with pytest.raises(UserError, match="cannot make a folder in /proc/nowhere .*--folder=FOLDER"):
        measure(target, files, QUICK, lambda _: programs, lambda _: runtime)


def test_cores_are_pinned(target, files, programs, runtime):
    pinned = dataclasses.replace(QUICK, cores="0", delegate=False)
    measured = measure(target, files, pinned, lambda _: programs, lambda _: runtime)
    assert measured.cores == [0]


@pytest.mark.parametrize("name", ["ssh:", "ssh:-oProxyCommand=x", "usb", "local:x", ""])
def test_names_that_are_no_target(name):
    with pytest.raises(UserError, match="write local, ssh:"):
        find_targets([name])
