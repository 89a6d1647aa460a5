"""Kill a small run, files and comparison included, at moments that are spread evenly over it.

    python tests/kill_events.py [--moments=24] [--out=DIR]

A whole run is watched first: each file that is opened to be written, each rename and removal, each
step and each save is a moment. Then another one is killed (SIGKILL, before the moment's call is
made) at so many of them, an equal number apart, and started again each time. It must come to the
same files, and leave nothing half-written. Takes minutes; tests/kill_runs.py kills a recipe's own
commands by the clock.
"""

import argparse
import os
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from kill_runs import hashes
from small_runs import _context, recipe, write_inputs

WRITING = set("wax+")
FEW_STEPS = {"length": "12 steps", "checkpoint_every": "4 steps"}
TRAINED = ("teacher", "prune", "task_teacher", "transfer", "quantize")


class Watch:
    """Calls `at` with each moment below a folder, the first time that it comes."""

    def __init__(self, root, at):
        self.root, self.at, self.seen = root, at, set()

    def start(self):
        """Begin to watch this process."""
        from tf_prune_ofa.keras_compat import tf

        record = tf.train.CheckpointManager._record_state

        def saved(manager):
            newest = sorted(
                Path(manager.directory).glob("*.index"), key=lambda p: p.stat().st_mtime
            )
            self.say("save", newest[-1])
            return record(manager)

        tf.train.CheckpointManager._record_state = saved
        sys.addaudithook(self.hook)

    def hook(self, event, args):
        """For `sys.addaudithook`."""
        if event == "open" and isinstance(args[0], (str, bytes)) and isinstance(args[1], str):
            if WRITING & set(args[1]):
                self.say("write", args[0])
        elif event == "os.rename":
            self.say("rename to", args[1])
        elif event in ("os.remove", "os.rmdir"):
            self.say("remove", args[0])

    def say(self, what, path):
        """Give a moment its name, which is the same in every run."""
        path = Path(os.fsdecode(path))
        if not path.is_relative_to(self.root) or path.name == ".lock" or "events.out" in path.name:
            return
        name = re.sub(r"\.partial-[0-9a-f]{8}", ".partial", str(path.relative_to(self.root)))
        if path.name == "metrics.jsonl":
            # Of a step: how many are there already.
            name += f" {path.read_bytes().count(10) if path.is_file() else 0}"
        moment = f"{what} {name}"
        if moment not in self.seen:
            self.seen.add(moment)
            self.at(moment)


def small_recipe(inputs):
    """All kinds of stages on to verified files."""
    data = recipe(inputs, **{name: FEW_STEPS for name in TRAINED})
    data["stages"]["export"] = {"start": "quantize", "sequence_length": 12}
    data["stages"]["verify"] = {"start": "export", "threads": 1}
    return data


def write_plan(inputs):
    """A comparison of two methods on two seeds, which share a stage."""
    data = small_recipe(inputs)
    for name in ("quantize", "export", "verify"):
        del data["stages"][name]
    (inputs / "transfer.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    (inputs / "task.yaml").write_text(yaml.safe_dump(data["task"], sort_keys=False))
    dense = {**data, "stages": {"task_teacher": data["stages"]["task_teacher"]}}
    (inputs / "dense.yaml").write_text(yaml.safe_dump(dense, sort_keys=False))
    methods = {name: {"recipe": str(inputs / f"{name}.yaml")} for name in ("dense", "transfer")}
    tasks = {"films": {"task": str(inputs / "task.yaml")}}
    plan = {"seeds": [0, 1], "tasks": tasks, "methods": methods}
    (inputs / "plan.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))


def work(inputs, out):
    """The recipe, and the comparison with its table, all in this process."""
    from dataclasses import asdict

    from tf_prune_ofa.experiments import comparison
    from tf_prune_ofa.experiments.comparison_table import comparison_table
    from tf_prune_ofa.files import write_text
    from tf_prune_ofa.json_files import write_json
    from tf_prune_ofa.recipe import recipe_from_dict
    from tf_prune_ofa.stages.runner import run_recipe

    run_recipe(recipe_from_dict(small_recipe(inputs), name="small"), out / "run")

    def run_here(experiment, folder, threads, stop):
        # As `comparison._run`, where another process would do it.
        comparison._outcome_file(experiment, folder).unlink(missing_ok=True)
        comparison._main(experiment, folder, threads)
        return comparison._read_outcome(experiment, folder)

    comparison._run = run_here
    chosen = comparison.experiments(comparison.load_plan(inputs / "plan.yaml"), inputs)
    found = comparison.run_experiments(chosen, out / "compared")
    write_json(out / "compared" / "results.json", [asdict(outcome) for outcome in found])
    write_text(out / "compared" / "results.md", comparison_table(found))


def main_of_process(inputs, out, log, watched, kill_at):
    """A start: written to `watched` are its moments; killed before `kill_at`."""
    from tf_prune_ofa.keras_compat import tf

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    moments = os.open(watched, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def at(moment):
        os.write(moments, f"{moment}\n".encode())
        if moment == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    Watch(out, at).start()
    work(inputs, out)


def start(inputs, out, kill_at=None):
    """Run to the end or to a moment; return the exit code and the moments that came."""
    watched, log = Path(f"{out}.moments"), Path(f"{out}.log")
    watched.unlink(missing_ok=True)
    out.mkdir(exist_ok=True)
    arguments = (inputs, out, log, watched, kill_at)
    process = _context.Process(target=main_of_process, args=arguments)
    process.start()
    process.join()
    return process.exitcode, watched.read_text(encoding="utf-8").splitlines()


def main():
    """Compare a whole run with a killed one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=24)
    parser.add_argument("--out", type=Path, default=None)
    flags = parser.parse_args()
    folder = flags.out or Path(tempfile.mkdtemp(prefix="kill_events-"))
    inputs = folder / "inputs"
    inputs.mkdir(parents=True)
    write_inputs(inputs)
    write_plan(inputs)
    began = time.monotonic()
    code, moments = start(inputs, folder / "whole")
    if code:
        sys.exit(f"the whole run ended with {code}; see {folder}/whole.log")
    print(f"{len(moments)} moments, {time.monotonic() - began:.0f} s", flush=True)
    places = np.linspace(0, len(moments) - 1, flags.moments + 2).round().astype(int)[1:-1]
    missed = []
    for number, place in enumerate(places, 1):
        code, _ = start(inputs, folder / "killed", moments[place])
        print(f"{number}: moment {place}, before: {moments[place]}: {code}", flush=True)
        if code != -signal.SIGKILL:
            missed.append(moments[place])
    code, _ = start(inputs, folder / "killed")
    ours, theirs = hashes(folder / "killed"), hashes(folder / "whole")
    names = ours.keys() | theirs.keys()
    differ = sorted(name for name in names if ours.get(name) != theirs.get(name))
    left = [str(path) for path in (folder / "killed").rglob(".partial-*")]
    print(
        f"{flags.moments - len(missed)} kills, then exit code {code}; of {len(names)} files "
        f"{len(differ)} differ, {len(left)} are left over"
    )
    for name in (*missed, *differ, *left):
        print(f"  {name}")
    sys.exit(bool(code or missed or differ or left))


if __name__ == "__main__":
    main()
