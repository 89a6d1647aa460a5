"""A real adb server, and a phone that is a folder: what works, and each thing that may fail."""

import dataclasses
import subprocess

import fake_adbd
import numpy as np
import pytest
from quick import QUICK

from tf_prune_ofa.bench.inputs import make_inputs
from tf_prune_ofa.device import session
from tf_prune_ofa.device.adb import AdbTarget
from tf_prune_ofa.device.measure import measure
from tf_prune_ofa.device.result import outputs_of, to_result
from tf_prune_ofa.device.targets import find_targets
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime.interpreter import Interpreter
from tf_prune_ofa.tflite import flatbuffer


@pytest.fixture
def run(files, programs, runtime):
    def run_on(target, settings=QUICK, programs=programs):
        return measure(target, files, settings, lambda _: programs, lambda _: runtime)

    return run_on


def test_files_are_measured_and_nothing_stays(phone, run, files):
    settings = dataclasses.replace(QUICK, cores="little", sys=str(phone.folder / "sys"))
    measured = run(AdbTarget(), settings)
    result = to_result("adb", measured, settings, files[0])
    assert result["throttled"] == []
    assert [row["file"] for row in result["files"]] == [
        "a.tflite",
        "a.tflite, delegate",
        "b.tflite",
        "b.tflite, delegate",
    ]
    machine = result["machine"]
    assert machine["device"] == "Fake Phone 1"
    assert machine["cpu"] == "Qemu Q1 (2 x Cortex-A55, 1 x Cortex-A78)"
    assert (machine["cores_used"], machine["governor"]) == ([0, 1], "schedutil")
    assert machine["battery_celsius"] == 31.2
    assert machine["clock_ghz"] == {"before": 1.8, "first_third": 1.8, "last_third": 1.8}
    assert machine["temperature"] == {"before": 41, "highest": 41, "after": 41}
    for row in result["files"]:
        assert row["latency_ms"]["runs"] >= 10 and row["peak_memory_bytes"] is not None
        assert row["load_ms"] > 0 and row["delegation"]["operators"] == 2
    assert result["files"][1]["difference"] == {"to": "a.tflite", "max_abs": 0}
    assert phone.left_behind() == []
    # What came back over the wire is what the same file gives here.
    file = Interpreter(files[0])
    for seed, logits in enumerate(outputs_of(measured, 0)["logits"]):
        inputs = make_inputs(flatbuffer.read_model(files[0]), seed=seed)
        file.set_inputs(dict(zip(file.input_names, inputs, strict=True)))
        file.invoke()
        np.testing.assert_array_equal(file.outputs()["logits"], logits)


def test_all_phones(phone, adb, tmp_path):
    fake_adbd.make_phone(tmp_path / "other", "aarch64")
    other = fake_adbd.FakePhone(tmp_path / "other", [])
    adb("connect", other.serial)
    targets = find_targets(["adb:all"])
    assert {target.serial for target in targets} == {phone.serial, other.serial}
    with pytest.raises(UserError, match=r"2 phones are connected: 127.*Name one, or several"):
        AdbTarget().connect()
    other.unplug()


def test_no_phone(adb):
    with pytest.raises(UserError, match="no phone is connected. Turn on USB debugging"):
        AdbTarget().connect()
    with pytest.raises(UserError, match="no phone is connected"):
        find_targets(["adb:all"])


def test_another_phone(phone):
    with pytest.raises(UserError, match=r"the phone xyz is not connected; there is 127.*\(device"):
        AdbTarget("xyz").connect()


def test_a_phone_that_trusts_nobody(adb, tmp_path):
    phone = fake_adbd.FakePhone(tmp_path, [])
    phone.is_authorized = False
    adb("connect", phone.serial)
    with pytest.raises(UserError, match="is unauthorized. Unlock its screen and allow USB"):
        AdbTarget().connect()
    phone.unplug()


def test_a_phone_that_is_offline(phone):
    phone.answers = False
    phone.drop()
    with pytest.raises(UserError, match="is offline. Unplug it and plug it in again"):
        AdbTarget(phone.serial).connect()


def test_no_adb(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="there is no adb here. Install Android's platform tools"):
        AdbTarget().connect()


def test_storage_that_is_too_small_is_refused_before_anything_is_sent(phone, run):
    (phone.folder / "free_kb").write_text("1000")
    with pytest.raises(UserError, match="/data/local/tmp has 1 MB free, [67][0-9] MB are needed"):
        run(AdbTarget())
    assert phone.received == 0 and phone.left_behind() == []


def test_storage_that_becomes_full(phone, run):
    phone.most_bytes = 1_000_000
    with pytest.raises(UserError, match="no space left on the phone for /data/local/tmp/tf_prune"):
        run(AdbTarget())
    assert phone.left_behind() == []


def test_a_cable_that_is_pulled_out_while_files_are_sent(phone, run, adb):
    phone.unplug_after_bytes = 1_000_000
    with pytest.raises(UserError, match="went away .*Plug it in and start again; what was left"):
        run(AdbTarget())
    assert len(phone.left_behind()) == 1
    plug_in_again(phone, run, adb)


def test_a_cable_that_is_pulled_out_while_files_are_measured(phone, run, adb):
    phone.unplug_at = b'"event":"round"'
    with pytest.raises(UserError, match="went away .*Plug it in and start again; what was left"):
        run(AdbTarget())
    assert len(phone.left_behind()) == 1
    plug_in_again(phone, run, adb)


def plug_in_again(phone, run, adb):
    """The next run removes what the last one could not."""
    adb("disconnect")
    again = fake_adbd.FakePhone(phone.folder, [])
    adb("connect", again.serial)
    run(AdbTarget())
    assert again.left_behind() == []
    again.unplug()


def test_programs_for_another_processor(phone, run, programs, tmp_path):
    head = bytearray(programs.runner.read_bytes()[:64])
    head[18] = 40  # 32-bit ARM
    (tmp_path / "runner").write_bytes(head)
    wrong = dataclasses.replace(programs, runner=tmp_path / "runner")
    with pytest.raises(UserError, match=r"runner is for arm, but Fake Phone 1 is (x86_64|aarch64)"):
        run(AdbTarget(), programs=wrong)
    assert phone.received == 0 and phone.left_behind() == []


def test_a_32_bit_system(adb, tmp_path, run):
    fake_adbd.make_phone(tmp_path / "old", "armv8l")
    phone = fake_adbd.FakePhone(tmp_path / "old", [])
    adb("connect", phone.serial)
    with pytest.raises(UserError, match="is a armv8l. .*for 64-bit ARM and x86-64 only"):
        run(AdbTarget())
    phone.unplug()


def test_a_folder_where_nothing_can_be_started(phone, run):
    phone.is_executable = False
    with pytest.raises(UserError, match="cannot be started in /data/local/tmp .*noexec"):
        run(AdbTarget())
    assert phone.left_behind() == []


def test_a_runner_that_is_killed(phone, run):
    phone.on_output = lambda data: signal_runner(phone, "KILL") if b"round" in data else None
    with pytest.raises(UserError, match="the runner was killed .*memory ran out"):
        run(AdbTarget(), dataclasses.replace(QUICK, runs=2_000_000, seconds=50))
    assert phone.left_behind() == []


def test_a_runner_that_takes_too_long_ends_by_itself(phone, run, monkeypatch):
    monkeypatch.setattr("tf_prune_ofa.device.measure.check", lambda files, settings: None)
    with pytest.raises(UserError, match=r"stopped itself after 2 s, in round .*--limit=SECONDS"):
        run(AdbTarget(), dataclasses.replace(QUICK, runs=2_000_000, seconds=50, limit=2))
    assert phone.left_behind() == []


def test_a_phone_that_hangs(phone, run, monkeypatch):
    monkeypatch.setattr(session, "GRACE_SECONDS", -57.0)
    phone.on_output = lambda data: signal_runner(phone, "STOP") if b"round" in data else None
    with pytest.raises(UserError, match="no end after 3 s, in round .*--limit=SECONDS"):
        run(AdbTarget(), dataclasses.replace(QUICK, runs=2_000_000, seconds=50))
    assert phone.left_behind() == []


def signal_runner(phone, name):
    for pid in phone.local("/data/local/tmp").glob("*/pid"):
        subprocess.run(["kill", f"-{name}", pid.read_text().strip()], stderr=subprocess.DEVNULL)
