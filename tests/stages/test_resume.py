"""Runs that are killed, by a real SIGKILL, against one that is not."""

import contextlib
import functools
import json
import random
import signal
import time

import pytest
from small_runs import last_step, metrics, recipe, results, stage_folder, start

STAGES = ("teacher", "prune", "task_teacher", "transfer", "quantize")
STEPS = 30
# What later stages, and the user, get from a stage; everything but times of day.
RESULTS = ("model/model.safetensors", "masks.npz", "ranges.json", "teacher_logits.npz")


def at_step(step):
    """Step `step` is in the metrics."""
    return f"step {step}", lambda run_dir, stage, since: last_step(run_dir, stage) >= step


def at_file(pattern):
    """A file or folder has come since the process began."""

    def condition(run_dir, stage, since):
        folder = stage_folder(run_dir, stage)
        with contextlib.suppress(FileNotFoundError):
            found = folder.glob(pattern) if folder else ()
            return any(path.stat().st_mtime > since for path in found)

    return pattern, condition


def kills():
    """When to kill: (stage, moment) in the order of a run; random steps, and awkward moments."""
    any_step = random.Random()  # every run of the tests tries other ones; failures name them

    def some_steps(count):
        # The last steps may be over before the kill arrives.
        return [at_step(step) for step in sorted(any_step.sample(range(1, STEPS - 4), count))]

    inside_a_save = at_file("checkpoint/*_temp*")
    moments = {
        "teacher": some_steps(2),
        "prune": [*some_steps(1), inside_a_save, at_file("masks.npz")],
        "task_teacher": some_steps(1),
        "transfer": [at_file("teacher_logits.npz"), inside_a_save, *some_steps(1)],
        "quantize": [*some_steps(2), at_file("model")],
    }
    return [(stage, moment) for stage, of_stage in moments.items() for moment in of_stage]


@pytest.fixture(scope="module")
def killed(inputs, tmp_path_factory):
    """A run folder after many kills and a last start that ran to its end, and how it went."""
    data, run_dir = recipe(inputs), tmp_path_factory.mktemp("killed") / "run"
    history = []
    for stage, (moment, condition) in kills():
        since = time.time()
        run = start(data, run_dir)
        if run.kill_when(functools.partial(condition, run_dir, stage, since)):
            assert run.process.exitcode == -signal.SIGKILL
            history.append((stage, moment))
            for folder in run_dir.glob("*/model"):
                # What a trained model came from stays until its figures are written, too.
                kept = (folder.parent / "checkpoint" / "checkpoint").exists()
                assert kept or (folder.parent / "result.json").exists()
        else:
            # The moment was missed: then the run came to its end.
            assert run.process.exitcode == 0, run.output()
    code, output = start(data, run_dir).wait()
    assert code == 0, f"killed at {history}: {output}"
    return run_dir, history


def test_kills_landed_in_every_stage(killed):
    _, history = killed
    assert len(history) >= 10, history
    assert {stage for stage, _ in history} == set(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_run_ends_with_the_same_bits(killed, finished, stage):
    run_dir, history = killed
    ours, unbroken = stage_folder(run_dir, stage), stage_folder(finished[1], stage)
    compared = 0
    for name in RESULTS:
        assert (ours / name).exists() == (unbroken / name).exists()
        if (unbroken / name).exists():
            same = (ours / name).read_bytes() == (unbroken / name).read_bytes()
            assert same, f"{stage}/{name} differs; killed at {history}"
            compared += 1
    assert compared >= 1


def test_a_killed_run_has_the_same_figures(killed, finished):
    ours, unbroken = results(killed[0]), results(finished[1])
    assert list(ours) == list(unbroken) == list(STAGES)
    for stage in STAGES:
        assert ours[stage]["figures"] == unbroken[stage]["figures"]


@pytest.mark.parametrize("stage", STAGES)
def test_metrics_have_each_step_once(killed, finished, stage):
    ours, unbroken = (metrics(stage_folder(one, stage)) for one in (killed[0], finished[1]))
    assert [line["step"] for line in ours] == list(range(1, STEPS + 1))
    for line, expected in zip(ours, unbroken, strict=True):
        line.pop("examples_per_s"), expected.pop("examples_per_s")
        assert line == expected


def test_nothing_half_written_is_left(killed):
    assert not list(killed[0].rglob(".partial*")) + list(killed[0].rglob("*_temp*"))
    assert not list(killed[0].glob("*/checkpoint"))
    for path in killed[0].rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
