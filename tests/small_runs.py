"""A recipe over all training stages, on sentences made up here, and processes that run it.

The processes come from a fork server that has imported the package: real ones, to be killed by a
real signal, that start in milliseconds where importing TensorFlow takes seconds.
"""

import contextlib
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.models import bert, huggingface
from tf_prune_ofa.models.bert import EncoderConfig
from tf_prune_ofa.recipe import recipe_from_dict

WORDS = "a the this film plot cast is was not very good fine great bad dull weak . ,".split()
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
TOKENIZER = {"lower_case": True, "strip_accents": None, "split_chinese": True}
SIZES = {
    "hidden_size": 16,
    "num_layers": 1,
    "num_heads": 2,
    "intermediate_size": 32,
    "max_positions": 16,
}
BERT = EncoderConfig("bert", vocab_size=len(VOCABULARY), **SIZES)
TRAINING = {
    "length": "30 steps",
    "batch_size": 8,
    "learning_rate": 1e-3,
    "checkpoint_every": "4 steps",
}
DISTILLATION = {"hard": 0.5, "soft": 0.5}


def write_sentences(path, count, seed):
    """Reviews whose label is decided by one word."""
    rng = random.Random(seed)
    lines = ["text\tlabel"]
    for _ in range(count):
        label = rng.choice(["bad", "good"])
        verdict = rng.choice({"good": ["good", "fine", "great"], "bad": ["bad", "dull"]}[label])
        filler = rng.choices(["very", "this", "was", ","], k=rng.randint(0, 4))
        words = ["the", rng.choice(["film", "plot", "cast"]), "is", verdict, *filler, "."]
        lines.append(" ".join(words) + "\t" + label)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_inputs(folder, config=BERT):
    """An untrained encoder as a Hugging Face folder, and the task's two files."""
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    model = bert.build_model(config, seed=1)
    huggingface.write_folder(
        folder / "encoder", model, config, None, folder / "vocab.txt", tokenizer=TOKENIZER
    )
    write_sentences(folder / "train.tsv", 90, seed=0)
    write_sentences(folder / "dev.tsv", 30, seed=1)
    return folder


def recipe(inputs, **changes):
    """The recipe as plain values.

    Args:
        inputs: folder from `write_inputs`.
        **changes: settings by section or stage, merged into those here; a stage of None is left
            out.
    """
    data = {
        "seed": 1,
        "model": {"weights": str(inputs / "encoder")},
        "task": {
            "source": "files",
            "train": str(inputs / "train.tsv"),
            "dev": str(inputs / "dev.tsv"),
            "labels": ["bad", "good"],
            "max_length": 12,
        },
        "stages": {
            "teacher": {**TRAINING, "objective": "mlm"},
            "prune": {
                **TRAINING,
                "start": "teacher",
                "teacher": "teacher",
                "objective": "mlm",
                "loss": DISTILLATION,
                "sparsity": {"rules": {"encoder_.*": 0.85}, "frequency": 2},
            },
            "task_teacher": {**TRAINING, "kind": "finetune"},
            "transfer": {
                **TRAINING,
                "start": "prune",
                "teacher": "task_teacher",
                "loss": DISTILLATION,
            },
            "quantize": {
                **TRAINING,
                "start": "transfer",
                "teacher": "task_teacher",
                "loss": DISTILLATION,
                "calibration_batches": 3,
            },
        },
    }
    for name in ("model", "task", "seed", "corpus"):
        if name in changes:
            value = changes.pop(name)
            data[name] = {**data.get(name, {}), **value} if isinstance(value, dict) else value
    for name, settings in changes.items():
        if settings is None:
            del data["stages"][name]
        else:
            data["stages"][name] = {**data["stages"].get(name, {}), **settings}
    return data


def only(*names):
    """Changes that leave only these stages."""
    every = ("teacher", "prune", "task_teacher", "transfer", "quantize")
    return {name: None for name in every if name not in names}


# Processes

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [f"tf_prune_ofa.stages.{name}" for name in ("runner", "finetune", "prune", "quantize")]
)


@dataclass
class Run:
    """A process that runs a recipe."""

    process: multiprocessing.Process
    log: Path

    def wait(self):
        """Return the exit code and all that was printed."""
        self.process.join(timeout=1800)  # against a hang; a busy machine takes its time
        assert self.process.exitcode is not None, f"still running: {self.output()}"
        return self.process.exitcode, self.output()

    def output(self):
        return self.log.read_text(encoding="utf-8", errors="replace")

    def was_killed(self):
        """Wait for the end; return whether a SIGKILL was it."""
        code, _ = self.wait()
        return code == -signal.SIGKILL


class Moment:
    """When a process that runs a recipe kills itself, by a real SIGKILL: the same in every run.

    What is killed by another process is killed earlier or later as the machine is busy; these
    moments are calls of the operating system that Python is about to make.
    """

    def __init__(self, stage, name):
        self.stage, self.name = stage, name

    def __repr__(self):
        return f"{self.stage}: {self.name}"

    def watch(self):
        """Be killed when it comes."""
        sys.addaudithook(lambda event, args: self.is_it(event, args) and _kill())

    def _is_path(self, path, pattern):
        path = Path(os.fsdecode(path))
        return path.match(f"[0-9][0-9]_{self.stage}-*/{pattern}")


class BeforeStep(Moment):
    """The line of step `step` is about to be added to the metrics; those before it are there."""

    def __init__(self, stage, step):
        super().__init__(stage, f"step {step}")
        self.step = step

    def is_it(self, event, args):
        """Whether an event of `sys.audit` is the moment."""
        if event != "open" or args[1] != "a" or not self._is_path(args[0], "metrics.jsonl"):
            return False
        return Path(args[0]).read_bytes().count(b"\n") >= self.step - 1


class BeforeRename(Moment):
    """A file or folder is whole under another name, and about to get its own."""

    def __init__(self, stage, pattern):
        super().__init__(stage, f"{pattern} about to be there")
        self.pattern = pattern

    def is_it(self, event, args):
        """Whether an event of `sys.audit` is the moment."""
        return event == "os.rename" and self._is_path(args[1], self.pattern)


class InsideASave(Moment):
    """A checkpoint's data are written; that it is the newest one is not."""

    def __init__(self, stage):
        super().__init__(stage, "inside a save")

    def watch(self):
        """Be killed when it comes."""
        from tf_prune_ofa.keras_compat import tf

        record = tf.train.CheckpointManager._record_state

        def killing(manager):
            return _kill() if self._is_path(manager.directory, "checkpoint") else record(manager)

        tf.train.CheckpointManager._record_state = killing


def _kill():
    os.kill(os.getpid(), signal.SIGKILL)


def start(
    data,
    run_dir,
    *,
    kill_at=None,
    file_size_limit=None,
    log=None,
    distribute="one",
    worker=None,
):
    """Run a recipe in a process of its own, on one thread.

    Args:
        data: the recipe.
        run_dir: folder of the run.
        kill_at: a `Moment`.
        file_size_limit: in bytes; writing more into a file fails, as on a full disk.
        log: file for what is printed; beside the run folder if not given.
        distribute: as `tools/run_recipe.py` has it; "mirrored" is on two virtual devices.
        worker: for "workers", the addresses of all and the number of this one.
    """
    log = log or Path(f"{run_dir}-{time.monotonic_ns()}.log")
    settings = (kill_at, file_size_limit, distribute, worker)
    process = _context.Process(target=_main, args=(data, run_dir, log, *settings))
    process.start()
    return Run(process, log)


def run(data, run_dir, **options):
    """Run a recipe in a process of its own; return its exit code and output."""
    return start(data, run_dir, **options).wait()


def run_well(data, run_dir):
    """Run a recipe to its end; return its results by stage."""
    code, output = run(data, run_dir)
    assert code == 0, output
    return results(run_dir)


def _main(data, run_dir, log, kill_at, file_size_limit, distribute, worker):
    from tf_prune_ofa.keras_compat import tf
    from tf_prune_ofa.replicas import open_replicas
    from tf_prune_ofa.stages.runner import run_recipe

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    # Sums in another order would differ in their last bits.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if kill_at is not None:
        kill_at.watch()
    if file_size_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size_limit, file_size_limit))
    try:
        if worker:
            addresses, number = worker
            task = {"type": "worker", "index": number}
            os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
        replicas = open_replicas(distribute, virtual=2 if distribute == "mirrored" else 0)
        run_recipe(recipe_from_dict(data, name="small"), Path(run_dir), replicas)
    except UserError as error:
        # As the tools do.
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)


# What a run leaves


def stage_folder(run_dir, name):
    """The folder of a stage, or None; there must be one at most."""
    found = list(Path(run_dir).glob(f"[0-9][0-9]_{name}-*"))
    assert len(found) <= 1, found
    return found[0] if found else None


def results(run_dir):
    """Every stage's result.json by name."""
    return {
        data["stage"]: data
        for path in sorted(Path(run_dir).glob("*/result.json"))
        for data in [json.loads(path.read_text(encoding="utf-8"))]
    }


def metrics(folder):
    """The lines of a stage's metrics.jsonl."""
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def last_step(run_dir, name):
    """The step of the last whole line of a stage's metrics; -1 if there is none."""
    with contextlib.suppress(TypeError, OSError):
        text = (stage_folder(run_dir, name) / "metrics.jsonl").read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line.endswith("}")]
        return json.loads(lines[-1])["step"] if lines else 0
    return -1
