"""Files are whole or not there, whatever happens while they are written."""

import io
import json
import os
import resource
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tf_prune_ofa import array_files, files, json_files
from tf_prune_ofa.errors import UserError

REPOSITORY = Path(__file__).parents[1]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def python(code, *arguments, wrapper=(), **options):
    """Runs `code` in a Python of its own."""
    command = [*wrapper, sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, **options
    )


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "new" / "folder" / "notes.txt"
    files.write_text(path, "first")
    files.write_text(path, "zweite Fassung, größer")
    assert path.read_text(encoding="utf-8") == "zweite Fassung, größer"
    assert names(path.parent) == ["notes.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_in_the_block_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "weights.npz"
    path.write_bytes(b"old")
    with pytest.raises(error), files.atomic_path(path) as temporary:
        temporary.write_bytes(b"half of the n")
        raise error
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["weights.npz"]


def test_the_temporary_name_keeps_the_ending(tmp_path):
    # np.savez would write to "<name>.npz" if the name it is given ended in anything else.
    with files.atomic_path(tmp_path / "masks.npz") as temporary:
        np.savez(temporary, kernel=np.eye(2))
        assert temporary.parent == tmp_path
    assert names(tmp_path) == ["masks.npz"]


def test_a_block_that_writes_nothing_is_a_bug(tmp_path):
    with pytest.raises(RuntimeError, match="nothing was written"):
        with files.atomic_path(tmp_path / "empty"):
            pass


def test_an_error_about_another_file_passes(tmp_path):
    with pytest.raises(FileNotFoundError), files.atomic_path(tmp_path / "out"):
        (tmp_path / "input").read_bytes()


def test_json_holds_numpy_and_paths(tmp_path):
    path = tmp_path / "result.json"
    json_files.write_json(
        path, {"a": np.float32(0.5), "b": np.arange(2), "c": Path("x"), "d": [None]}
    )
    assert json.loads(path.read_text()) == {"a": 0.5, "b": [0, 1], "c": "x", "d": [None]}
    with pytest.raises(ValueError, match="Out of range"):
        json_files.write_json(path, {"loss": float("nan")})
    with pytest.raises(TypeError, match="set cannot be written"):
        json_files.write_json(path, {1, 2})
    assert json.loads(path.read_text())["a"] == 0.5


def test_arrays_come_back(tmp_path):
    arrays = {"encoder_00/ffn/output": np.arange(6).reshape(2, 3), "step": np.int64(7)}
    array_files.write_arrays(tmp_path / "a.npz", arrays)
    with np.load(tmp_path / "a.npz") as read:
        assert {name: read[name].tolist() for name in read} == {
            "encoder_00/ffn/output": [[0, 1, 2], [3, 4, 5]],
            "step": 7,
        }


def test_arrays_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "a.npz"
    array_files.write_arrays(path, {"a/b": np.arange(3, dtype=np.int16), "text": np.array("x")})
    read = array_files.read_arrays(path, ["a/b"])
    assert read["a/b"].dtype == np.int16 and read["a/b"].tolist() == [0, 1, 2]
    assert str(read["text"]) == "x"


def rewritten(archive, old, new):
    """The archive with the header of its one array changed, the padding behind it made good."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        name, content = file.namelist()[0], file.read(file.namelist()[0])
    assert old in content
    changed = content.replace(old + b"}" + b" " * (len(new) - len(old)), new + b"}")
    assert changed != content and len(changed) == len(content)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, changed)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("none", "is damaged .without 'c'.; make it again"),
        ("cut", "is damaged .*; make it again"),
        ("empty", "is damaged .*; make it again"),
        ("a header of 8 TB", "is damaged .*'a.npy' says that it has 8000000000000 bytes, and has"),
        ("compressed", "is damaged .*'a.npy' is compressed"),
        ("not an array", "is damaged .*magic"),
        ("text", "is damaged .*; make it again"),
        ("one array", "is damaged .*; make it again"),
        ("objects", "is damaged .*; make it again"),
        ("missing", "Cannot read .*No such file.*; make it again"),
        ("folder", "Cannot read .*Is a directory.*; make it again"),
    ],
)
def test_arrays_that_cannot_be_read(tmp_path, damage, message):
    path = tmp_path / "a.npz"
    array_files.write_arrays(path, {"a": np.arange(300)})
    content = path.read_bytes()
    if damage in ("cut", "empty", "text"):
        path.write_bytes({"cut": content[:-30], "empty": b"", "text": b"arrays"}[damage])
    elif damage == "one array":
        with path.open("wb") as file:
            np.save(file, np.arange(3))
    elif damage == "a header of 8 TB":
        path.write_bytes(rewritten(content, b"(300,), ", b"(1000000000000,), "))
    elif damage == "compressed":
        np.savez_compressed(path, a=np.zeros(300))
    elif damage == "not an array":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", b"no array at all")
    elif damage == "objects":
        np.savez(path, a=np.array([{}], dtype=object))
    elif damage in ("missing", "folder"):
        path.unlink()
    if damage == "folder":
        path.mkdir()
    with pytest.raises(UserError, match=message):
        array_files.read_arrays(path, ["c"], remedy="make it again")


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    folder = tmp_path / "model"
    for content in ("one", "two"):
        with files.atomic_folder(folder) as temporary:
            (temporary / f"{content}.txt").write_text(content)
    assert names(folder) == ["two.txt"]
    with pytest.raises(ValueError), files.atomic_folder(folder) as temporary:
        (temporary / "three.txt").write_text("three")
        raise ValueError
    assert names(folder) == ["two.txt"]
    assert names(tmp_path) == ["model"]


# A file where a folder should be, and a place where not even root can make a folder.
@pytest.mark.parametrize("place", ["a_file", "/proc"])
def test_an_unusable_folder_is_one_clear_message(tmp_path, place):
    (tmp_path / "a_file").write_text("x")
    folder = tmp_path / place / "run"
    for write in (
        lambda: files.require_writable_dir(folder),
        lambda: files.write_text(folder / "notes.txt", "x"),
        lambda: files.atomic_folder(folder).__enter__(),
    ):
        with pytest.raises(UserError, match=r"Cannot write .*run.*: .*\. .*([Rr]emove|[Cc]hoose) "):
            write()
    assert names(tmp_path) == ["a_file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied. Give yourself the right"):
        files.require_writable_dir(tmp_path)


def test_require_writable_dir_leaves_nothing(tmp_path):
    assert files.require_writable_dir(tmp_path / "run") == tmp_path / "run"
    assert names(tmp_path / "run") == []


WRITE_TOO_MUCH = """
    import sys
    import numpy as np
    from tf_prune_ofa import array_files, files
    from tf_prune_ofa.errors import UserError

    path, how = sys.argv[1:]
    try:
        if how == "text":
            files.write_text(path, "x" * 200_000)
        elif how == "arrays":
            array_files.write_arrays(path, {"kernel": np.zeros(50_000, np.float32)})
        else:
            with files.atomic_folder(path) as temporary:
                (temporary / "a.txt").write_text("fits")
                (temporary / "b.txt").write_text("x" * 200_000)
    except UserError as error:
        print(error)
        sys.exit(1)
"""


@pytest.mark.parametrize("how", ["text", "arrays", "folder"])
def test_a_full_disk(tmp_path, how):
    """A file system of 64 kB, mounted for this process only, and 200 kB to write."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    script = 'mount -t tmpfs -o size=64k none "$0" && "$@"; code=$?; ls -A "$0" >&2; exit $code'
    wrapper = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(mounted)]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*wrapper, "true"], check=False).returncode
    ):
        pytest.skip("this system lets no user mount a small disk to fill")
    done = python(WRITE_TOO_MUCH, mounted / "out", how, wrapper=wrapper)
    assert done.returncode == 1
    assert done.stdout == (
        f"Cannot write {mounted / 'out'}: No space left on device. "
        "Free some space there, or choose a folder on another disk.\n"
    )
    assert done.stderr == ""  # what `ls` found on the disk: nothing


def test_a_file_size_limit_leaves_the_old_file(tmp_path):
    path = tmp_path / "out"
    path.write_text("old")
    done = python(
        WRITE_TOO_MUCH,
        path,
        "text",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536)),
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "File too large" in done.stdout
    assert path.read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_a_kill_leaves_the_old_file_and_a_leftover_that_can_be_removed(tmp_path):
    path = tmp_path / "weights.npz"
    path.write_bytes(b"old")
    done = python(
        """
        import os, signal, sys
        from tf_prune_ofa import files
        with files.atomic_path(sys.argv[1]) as temporary:
            temporary.write_bytes(b"half of the n")
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        path,
    )
    assert done.returncode == -9
    assert path.read_bytes() == b"old"
    assert len(names(tmp_path)) == 2
    files.remove_leftovers(tmp_path)
    assert names(tmp_path) == ["weights.npz"]


# Objects in JSON


def test_json_is_read_as_it_was_written(tmp_path):
    json_files.write_json(tmp_path / "a.json", {"a": [1, 0.5, None]})
    assert json_files.read_json(tmp_path / "a.json") == {"a": [1, 0.5, None]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged .*; run it again"),
        (b'{"a": 1', "is damaged"),
        (b"[1]", "is damaged .list for an object"),
        (b'{"a": NaN}', "is damaged .NaN is no JSON"),
        (b'{"a": "\xff"}', "is damaged"),
        (b"[" * 100_000, "is damaged"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is damaged"),
    ],
)
def test_json_that_is_damaged(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=message):
        json_files.read_json(tmp_path / "a.json", remedy="run it again")
    with pytest.raises(UserError, match="Cannot read"):
        json_files.read_json(tmp_path)


# Symbolic links


@pytest.fixture
def outside(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "own").write_text("keep")
    yield tmp_path / "outside"
    assert (tmp_path / "outside" / "own").read_text() == "keep"


def test_a_link_is_replaced_and_not_followed(tmp_path, outside):
    (tmp_path / "a").symlink_to(outside / "own")
    files.write_text(tmp_path / "a", "new")
    (tmp_path / "folder").symlink_to(outside)
    with files.atomic_folder(tmp_path / "folder") as temporary:
        (temporary / "b").write_text("new")
    assert not (tmp_path / "a").is_symlink() and not (tmp_path / "folder").is_symlink()
    assert names(tmp_path) == ["a", "folder", "outside"] and names(outside) == ["own"]


def test_links_in_a_folder_are_refused(tmp_path, outside):
    files.refuse_links(tmp_path / "missing")
    files.refuse_links(outside)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint").symlink_to(outside)
    (tmp_path / "other").symlink_to(outside)
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    for folder in ("run", "other", "lost"):
        with pytest.raises(UserError, match="is a symbolic link"):
            files.refuse_links(tmp_path / folder)
