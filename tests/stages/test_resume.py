"""Runs that are killed, by a real SIGKILL at moments that always come, against one that is not."""

import json
import random

import pytest
from small_runs import (
    BeforeRename,
    BeforeStep,
    InsideASave,
    metrics,
    recipe,
    results,
    stage_folder,
    start,
)

STAGES = ("teacher", "prune", "task_teacher", "transfer", "quantize")
STEPS = 30
# What later stages, and the user, get from a stage; everything but times of day.
RESULTS = ("model/model.safetensors", "masks.npz", "ranges.json", "teacher_logits.npz")


def kills():
    """When to kill, in the order of a run: steps of each stage, and awkward moments."""
    any_step = random.Random()  # every run of the tests tries other ones; failures name them

    def some_steps(stage, count):
        return [BeforeStep(stage, step) for step in sorted(any_step.sample(range(2, STEPS), count))]

    return [
        *some_steps("teacher", 2),
        *some_steps("prune", 1),
        InsideASave("prune"),
        BeforeRename("prune", "masks.npz"),
        *some_steps("task_teacher", 1),
        BeforeRename("transfer", "teacher_logits.npz"),
        InsideASave("transfer"),
        *some_steps("transfer", 1),
        *some_steps("quantize", 2),
        BeforeRename("quantize", "model"),
    ]


@pytest.fixture(scope="module")
def killed(inputs, tmp_path_factory):
    """A run folder after many kills and a last start that ran to its end, and how it went."""
    data, run_dir = recipe(inputs), tmp_path_factory.mktemp("killed") / "run"
    history = []
    for moment in kills():
        run = start(data, run_dir, kill_at=moment)
        assert run.was_killed(), f"{moment} never came: {run.output()}"
        history.append(moment)
        for folder in run_dir.glob("*/model"):
            # What a trained model came from stays until its figures are written, too.
            kept = (folder.parent / "checkpoint" / "checkpoint").exists()
            assert kept or (folder.parent / "result.json").exists()
    code, output = start(data, run_dir).wait()
    assert code == 0, f"killed at {history}: {output}"
    return run_dir, history


def test_kills_landed_in_every_stage(killed):
    _, history = killed
    assert len(history) == 12
    assert {moment.stage for moment in history} == set(STAGES)


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
