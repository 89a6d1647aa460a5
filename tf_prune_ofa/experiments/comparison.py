"""Comparison: methods x tasks x sparsities x seeds, each a recipe, with shared stages run once.

All runs of a seed share one run folder, where a stage of equal settings and inputs is found again
whatever recipe asks for it (`runner`): a task's dense teacher is trained once for all methods, and
what is learned from corpus files once for all tasks. Seeds have no stage in common, so several can
be run at a time. Running a plan again skips what is done and resumes what was killed.

Each run is a process of its own, so that one that fails, or is killed for its memory, does not take
the others with it.
"""

from __future__ import annotations

import fnmatch
import json
import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tf_prune_ofa.config import About, PruneSettings, Recipe, ReconstructSettings, RuleSettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.experiments.comparison_table import Outcome
from tf_prune_ofa.json_files import write_json
from tf_prune_ofa.limits import SEED, SHARE, limited
from tf_prune_ofa.plain_values import digest, settings_of
from tf_prune_ofa.recipe import load_recipe, truncate
from tf_prune_ofa.yaml_files import read_yaml

Rules = dict[str, float | RuleSettings]
RUNS_FOLDER, LOGS_FOLDER, OUTCOMES_FOLDER = "runs", "logs", "outcomes"
# What runs have in common to import, TensorFlow among it; a name that does not exist is no error.
PRELOADED = ("tf_prune_ofa.stages.runner", "tf_prune_ofa.stages.prune")


@dataclass(frozen=True)
class MethodChoice:
    """A row of the table.

    Attributes:
        recipe: file, or name of one in configs/.
        set: overrides, as for `config.load_recipe`.
        sparsities: instead of the plan's.
        tasks: of the plan's, those that it is run on; empty means all.
        last: stage that the recipe is cut off after; "" for all of it.
    """

    recipe: str
    set: tuple[str, ...] = ()
    last: str = ""
    sparsities: tuple[float, ...] = limited((), SHARE)
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskChoice:
    """A column of the table.

    Attributes:
        task: file, or name of one in configs/tasks/; the column's own name if empty.
        set: overrides, as for `config.load_recipe`.
    """

    task: str = ""
    set: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What to compare; the order is that of the table.

    Attributes:
        about: what for.
        methods, tasks: by name.
        seeds: of each run.
        sparsities: of the methods that prune; a rule of 0 stays 0.
        set: overrides for every recipe; those of tasks, then of methods come after.
    """

    methods: dict[str, MethodChoice]
    tasks: dict[str, TaskChoice]
    about: str = ""
    seeds: tuple[int, ...] = limited((0, 1), SEED)
    sparsities: tuple[float, ...] = limited((0.9,), SHARE)
    set: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Experiment:
    """One run of a plan."""

    method: str
    task: str
    sparsity: float | None
    seed: int
    recipe: Recipe

    @property
    def name(self) -> str:
        """The run's name in logs and files."""
        share = "dense" if self.sparsity is None else f"{self.sparsity:g}"
        return f"{self.method}-{self.task}-{share}-seed{self.seed}"

    @cached_property
    def digest(self) -> str:
        """Hash of what is run, whatever it is called."""
        return digest(replace(self.recipe, name="", about=About()))


def load_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        UserError: unreadable file, unknown key, wrong type, no method or task.
    """
    try:
        data = read_yaml(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; name a plan") from error
    plan = settings_of(Plan, data, "plan")
    if not plan.methods or not plan.tasks or not plan.seeds:
        raise UserError(f"{path} needs methods, tasks and seeds, at least one of each")
    for name, method in plan.methods.items():
        for task in method.tasks:
            if task not in plan.tasks:
                raise UserError(
                    f"{path}: method {name} names the task '{task}', which the plan does not have; "
                    f"its tasks are {', '.join(plan.tasks)}"
                )
    return plan


def experiments(plan: Plan, folder: Path, *, tiny: bool = False) -> list[Experiment]:
    """Return all runs of a plan: a whole table with the first seed, then with the next.

    Args:
        plan: the plan.
        folder: of the plan, where its recipes and tasks are looked for too.
        tiny: see `config.load_recipe`.

    Raises:
        UserError: a mistake in one of the recipes; before anything is run.
    """
    return [
        Experiment(method, task, sparsity, seed, recipe)
        for seed in plan.seeds
        for task, chosen_task in plan.tasks.items()
        for method, chosen in plan.methods.items()
        if not chosen.tasks or task in chosen.tasks
        for sparsity, recipe in _at_sparsities(
            _recipe(plan, chosen, task, chosen_task, seed, folder, tiny),
            chosen.sparsities or plan.sparsities,
        )
    ]


def selected(all_experiments: Sequence[Experiment], patterns: Sequence[str]) -> list[Experiment]:
    """Return the runs whose names match one of the patterns (`*` and `?`); all if there are none.

    Raises:
        UserError: a pattern matches none.
    """
    for pattern in patterns:
        if not any(fnmatch.fnmatch(one.name, pattern) for one in all_experiments):
            raise UserError(
                f"no run is named like '{pattern}'; names look like {all_experiments[0].name}"
            )
    return [
        one
        for one in all_experiments
        if not patterns or any(fnmatch.fnmatch(one.name, pattern) for pattern in patterns)
    ]


def with_sparsity(recipe: Recipe, sparsity: float) -> Recipe:
    """Return the recipe with this final sparsity in every rule that prunes."""

    def changed(rule: float | RuleSettings) -> float | RuleSettings:
        if isinstance(rule, RuleSettings):
            return replace(rule, sparsity=sparsity) if rule.sparsity > 0 else rule
        return sparsity if rule > 0 else rule

    def changed_all(rules: Rules) -> Rules:
        return {key: changed(rule) for key, rule in rules.items()}

    stages = {}
    for name, stage in recipe.stages.items():
        if isinstance(stage, ReconstructSettings) and not stage.pattern_of:
            stage = replace(stage, rules=changed_all(stage.rules))
        if isinstance(stage, PruneSettings):
            rules = changed_all(stage.sparsity.rules)
            initial = min(stage.sparsity.initial, sparsity)
            stage = replace(stage, sparsity=replace(stage.sparsity, rules=rules, initial=initial))
        stages[name] = stage
    return replace(recipe, stages=stages)


def run_experiments(
    chosen: Sequence[Experiment],
    folder: Path,
    *,
    seeds_at_once: int = 1,
    after: Callable[[list[Outcome]], None] = lambda outcomes: None,
) -> list[Outcome]:
    """Run them, those of a seed one after the other; return what each came to, in their order.

    Args:
        chosen: the runs.
        folder: for a run folder of each seed, a log and an outcome of each run.
        seeds_at_once: how many seeds are run side by side, each with its share of the cores. Small
            batches use one core better than two.
        after: called after each run with the outcomes so far.
    """
    for name in (RUNS_FOLDER, LOGS_FOLDER, OUTCOMES_FOLDER):
        (folder / name).mkdir(parents=True, exist_ok=True)
    seeds = list(dict.fromkeys(one.seed for one in chosen))
    at_once = min(seeds_at_once, len(seeds))
    # Left to TensorFlow where one seed has the machine to itself.
    threads = max(1, len(os.sched_getaffinity(0)) // at_once) if at_once > 1 else 0
    outcomes: dict[str, Outcome] = {}
    lock, stop = threading.Lock(), threading.Event()

    def run_seed(seed: int) -> None:
        for one in (one for one in chosen if one.seed == seed):
            if stop.is_set():
                return
            began = time.perf_counter()
            outcome = _run(one, folder, threads, stop)
            if outcome is None:
                return
            seconds = time.perf_counter() - began
            result = outcome.error or f"{outcome.metric} {outcome.value:.4f}"
            with lock:
                outcomes[one.name] = outcome
                count = f"[{len(outcomes)}/{len(chosen)}]"
                print(f"{count} {one.name}: {result} ({seconds:.0f} s)", flush=True)
                after(list(outcomes.values()))

    with ThreadPoolExecutor(max(1, at_once)) as pool:
        running = [pool.submit(run_seed, seed) for seed in seeds]
        try:
            for done in as_completed(running):
                done.result()
        finally:  # of a comparison that is interrupted; otherwise all have ended
            stop.set()
    return [outcomes[one.name] for one in chosen]


def known_outcomes(all_experiments: Sequence[Experiment], folder: Path) -> list[Outcome]:
    """Return the outcomes that are there of a plan's runs; one without a value for the others."""
    return [_read_outcome(one, folder) or _outcome_of(one) for one in all_experiments]


# One run


def _recipe(
    plan: Plan,
    method: MethodChoice,
    task: str,
    chosen_task: TaskChoice,
    seed: int,
    folder: Path,
    tiny: bool,
) -> Recipe:
    def find(name: str) -> str:
        near = folder / name
        return str(near) if near.is_file() else name

    overrides = [
        f"task={find(chosen_task.task or task)}",
        f"seed={seed}",
        *plan.set,
        *chosen_task.set,
        *method.set,
    ]
    recipe = load_recipe(find(method.recipe), overrides, tiny=tiny)
    return truncate(recipe, method.last) if method.last else recipe


def _at_sparsities(
    recipe: Recipe, sparsities: Sequence[float]
) -> Iterator[tuple[float | None, Recipe]]:
    prunes = (PruneSettings, ReconstructSettings)
    if not any(isinstance(stage, prunes) for stage in recipe.stages.values()):
        yield None, recipe
        return
    for sparsity in sparsities:
        yield sparsity, with_sparsity(recipe, sparsity)


def _outcome_of(experiment: Experiment, **values: Any) -> Outcome:
    one = experiment
    return Outcome(one.method, one.task, one.seed, one.sparsity, recipe=one.digest, **values)


def _outcome_file(experiment: Experiment, folder: Path) -> Path:
    """Return the file of a run's outcome; plans that share a folder may have runs of one name."""
    return folder / OUTCOMES_FOLDER / f"{experiment.name}-{experiment.digest[:8]}.json"


def _read_outcome(experiment: Experiment, folder: Path) -> Outcome | None:
    path = _outcome_file(experiment, folder)
    if not path.exists():
        return None
    return Outcome(**json.loads(path.read_text(encoding="utf-8")))


def _run(
    experiment: Experiment, folder: Path, threads: int, stop: threading.Event
) -> Outcome | None:
    """Run in a process of its own; return None if it was stopped before its end."""
    path = _outcome_file(experiment, folder)
    path.unlink(missing_ok=True)
    # From a server that has imported TensorFlow: a run starts at once, in a process of its own.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    process = context.Process(target=_main, args=(experiment, folder, threads))
    process.start()
    while process.is_alive() and not stop.is_set():
        process.join(timeout=1.0)
    if process.is_alive():
        process.kill()
        return None
    outcome = _read_outcome(experiment, folder)
    if outcome is None:
        log = folder / LOGS_FOLDER / f"{experiment.name}.log"
        reason = f"the process ended with code {process.exitcode}; see {log}"
        outcome = _outcome_of(experiment, error=reason)
        write_json(path, asdict(outcome))
    return outcome


def _main(experiment: Experiment, folder: Path, threads: int) -> None:
    """Run in a process of its own, with so many threads (0: TensorFlow's choice).

    Writes the log and the outcome.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    log = folder / LOGS_FOLDER / f"{experiment.name}.log"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    try:
        outcome = _run_here(experiment, folder, threads)
    except UserError as error:
        outcome = _outcome_of(experiment, error=str(error))
    except Exception as error:
        # Whatever it is, it is this run's: it is told in the log and in the table.
        traceback.print_exc()
        outcome = _outcome_of(experiment, error=f"{type(error).__name__}: {error}; see {log}")
    write_json(_outcome_file(experiment, folder), asdict(outcome))


def _run_here(experiment: Experiment, folder: Path, threads: int) -> Outcome:
    from tf_prune_ofa.keras_compat import tf
    from tf_prune_ofa.stages.runner import run_recipe

    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    run_dir = folder / RUNS_FOLDER / f"seed{experiment.seed}"
    results = run_recipe(experiment.recipe, run_dir)
    trained = [result for result in results.values() if "main_metric" in result.figures]
    if not trained:
        raise UserError(f"{experiment.name}: the recipe ends without a model of the task")
    figures = trained[-1].figures
    metric = figures["main_metric"]
    return _outcome_of(
        experiment,
        metric=metric,
        value=figures[metric],
        scores={
            name: value
            for name, value in figures.items()
            if isinstance(value, float) and "sparsity" not in name
        },
        measured_sparsity=figures.get("sparsity"),
        seconds=sum(result.seconds for result in results.values()),
    )


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, so that it does not go on unseen."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
