"""The file that measured costs are kept in."""

import logging
import multiprocessing
import os

import pytest

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime import costs
from tf_prune_ofa.runtime.layer_chain import LayerShape

SHAPE = LayerShape(True, 2, 768, 3072, 128)
TIMES = costs.LayerTimes(SHAPE, "avx2", 384, 1500.0, (100.0, 0.25), (90.5, 0.5))
LINE = "layer avx2 static 2 768 3072 128 384 1500 100 0.25 90.5 0.5"


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "library.so"
    path.write_bytes(b"a library")
    return path


def file_in(folder, library, processor="a-1-2-3", version="2.3.0"):
    return costs.cost_file(str(folder), processor, "litert", version, library)


def test_what_is_written_is_read(tmp_path, library):
    kept = file_in(tmp_path / "new", library)
    assert kept.lines() == []
    with kept.locked():
        kept.write([TIMES.line()])
    assert kept.lines() == [LINE]
    assert kept.has(SHAPE, kept.lines())
    for other in (
        LayerShape(False, 2, 768, 3072, 128),
        LayerShape(True, 1, 768, 3072, 128),
        LayerShape(True, 2, 3072, 768, 128),
        LayerShape(True, 2, 768, 3072, 64),
    ):
        assert not kept.has(other, kept.lines())
    text = kept.path.read_text()
    assert "\nruntime litert 2.3.0\nprocessor a-1-2-3\n" in text


def test_processors_runtimes_and_builds_have_files_of_their_own(tmp_path, library):
    paths = {
        file_in(tmp_path, library).path,
        file_in(tmp_path, library, processor="b-1-2-3").path,
        file_in(tmp_path, library, version="2.3.1").path,
    }
    library.write_bytes(b"another build")
    assert len(paths | {file_in(tmp_path, library).path}) == 4


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: b"\xff\xfe" + data,
        lambda data: data.replace(b"a-1-2-3", b"b-1-2-3"),
        lambda data: data.replace(b"2.3.0", b"2.2.0"),
        lambda data: data[:-4],
        lambda data: data[:-20],
        lambda data: data.replace(b"1500", b"nan"),
        lambda data: data.replace(b"1500", b"-15"),
        lambda data: data.replace(b"static", b"quiet"),
        lambda data: data + b"rm -rf\n",
        lambda data: b"\0" * len(data),
    ],
)
def test_a_damaged_or_foreign_file_is_ignored_with_one_line(tmp_path, library, caplog, spoil):
    kept = file_in(tmp_path, library)
    kept.write([LINE])
    kept.path.write_bytes(spoil(kept.path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert kept.lines() in ([], [LINE[:-4]])  # a number that was cut short is still a number
    if len(caplog.records) == 1:
        assert "are ignored" in caplog.records[0].message
    else:
        assert kept.path.read_bytes().endswith(LINE[:-4].encode()) and not caplog.records
    kept.write([LINE])
    assert kept.lines() == [LINE]


def test_the_place_is_an_option_the_environment_or_the_cache(tmp_path, library, monkeypatch):
    def place(option):
        kept = costs.cost_file(option, "a", "litert", "2.3.0", library)
        return None if kept is None else kept.path.parent

    monkeypatch.setenv(costs.ENVIRONMENT, str(tmp_path / "environment"))
    assert place(str(tmp_path / "option")) == tmp_path / "option"
    assert place(None) == tmp_path / "environment"
    assert place("off") is None
    monkeypatch.setenv(costs.ENVIRONMENT, "off")
    assert place(None) is None
    monkeypatch.delenv(costs.ENVIRONMENT)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert place(None) == tmp_path / "tf_prune_ofa"


def test_a_place_that_cannot_be_written(tmp_path, library):
    (tmp_path / "file").write_text("no folder")
    kept = file_in(tmp_path / "file" / "below", library)
    with pytest.raises(UserError, match="cannot be kept in .*TF_PRUNE_OFA_COSTS"), kept.locked():
        pass


def _add_a_line(folder, library, number):
    kept = file_in(folder, library)
    with kept.locked():
        lines = kept.lines()
        os.sched_yield()
        kept.write([*lines, LINE.replace(" 128 ", f" {number} ")])


def test_processes_that_write_at_once_lose_nothing(tmp_path, library):
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_add_a_line, args=(tmp_path, library, 100 + i)) for i in range(8)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    lines = file_in(tmp_path, library).lines()
    assert sorted(int(line.split()[6]) for line in lines) == list(range(100, 108))
