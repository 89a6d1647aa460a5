"""Measure `.tflite` files against each other on this machine.

    benchmark.py FILES... [--reference FILE] [--threads N] [--runs N] [--seconds S] [--json OUT]
        [--delegate] [--sequence_length N]
    benchmark.py --suite=bert_base_s128 [--folder DIR] [--threads N] [--seconds S] [--json OUT]
        [--nointerfaces] [--peers DIR] [--rows REGEX] [--delegate]

A suite makes its own files, of random weights: dense ones, and sparse ones of several patterns. It
also draws latency against sparsity, and is measured with one and with two threads. Some files also
run in LiteRT's CompiledModel and in tflite-runtime, and with --peers the same encoder in the
runtimes that make_peers.py installed.

With --delegate files are measured without and with the sparse INT8 delegate; a suite has further
ones for it, with zeros anywhere and in blocks of 1x4.

A file that leaves the length of its inputs open is run on --sequence_length tokens, one example at
a time; the table says what was run.

All files run in turns. The table shows ratios to the reference first, then times, load time and
memory, and below it what was measured where.
"""

from pathlib import Path
from typing import Any

from absl import flags

from tf_prune_ofa.bench.host import benchmark
from tf_prune_ofa.bench.settings import BenchSettings
from tf_prune_ofa.bench.show import describe
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.experiments import peers
from tf_prune_ofa.experiments.suite import SUITES, find_suite
from tf_prune_ofa.files import write_bytes
from tf_prune_ofa.json_files import write_json
from tf_prune_ofa.tools._main import refuse_idle, run

_DEFAULT = BenchSettings()
_REFERENCE = flags.DEFINE_string("reference", None, "file that the others are compared with")
_JSON = flags.DEFINE_string("json", None, "also write the results to this file")
_THREADS = flags.DEFINE_integer("threads", _DEFAULT.threads, "threads of the runtime")
_RUNS = flags.DEFINE_integer("runs", _DEFAULT.runs, "counted runs of each file")
_SECONDS = flags.DEFINE_float("seconds", _DEFAULT.seconds, "stop taking turns after so long")
_LOADS = flags.DEFINE_integer(
    "loads", _DEFAULT.loads, "fresh processes for load time and memory, or 0"
)
_RUNTIME = flags.DEFINE_string(
    "runtime",
    _DEFAULT.runtime,
    "litert, tflite_runtime, tensorflow, compiled_model, or auto: the first interpreter installed",
)
_XNNPACK = flags.DEFINE_boolean("xnnpack", _DEFAULT.xnnpack, "let XNNPACK take operators over")
_LENGTH = flags.DEFINE_integer(
    "sequence_length", None, "tokens of an example, for files that leave that open"
)
_SUITE = flags.DEFINE_string("suite", None, f"one of {', '.join(SUITES)}, instead of files")
_FOLDER = flags.DEFINE_string("folder", "runs/suites", "where a suite's files and plot go")
_INTERFACES = flags.DEFINE_boolean(
    "interfaces", True, "also run some files of a suite in CompiledModel and tflite-runtime"
)
_PEERS = flags.DEFINE_string("peers", None, "folder of make_peers.py: also run a suite there")
_ROWS = flags.DEFINE_string(
    "rows", None, "measure only those rows of a suite whose label this regular expression finds"
)
_DELEGATE = flags.DEFINE_boolean("delegate", False, "also run with the sparse INT8 delegate")
_SEED = flags.DEFINE_integer("seed", _DEFAULT.seed, "of the random inputs")


def main(argv: list[str]) -> None:
    """Measures the files named in `argv` and prints the table."""
    settings = BenchSettings(
        threads=_THREADS.value,
        runs=_RUNS.value,
        seconds=_SECONDS.value,
        loads=_LOADS.value,
        runtime=_RUNTIME.value,
        xnnpack=_XNNPACK.value,
        seed=_SEED.value,
        sequence_length=_LENGTH.value,
    )
    if _SUITE.value:
        result = _run_suite(_SUITE.value, argv[1:], settings)
    else:
        refuse_idle("a --suite", "folder", "interfaces", "peers", "rows")
        result = benchmark(argv[1:], settings, reference=_REFERENCE.value, delegate=_DELEGATE.value)
        print(describe(result))
    if _JSON.value:
        write_json(_JSON.value, result)
        print(f"\nWritten to {_JSON.value}")


def _run_suite(name: str, files: list[str], settings: BenchSettings) -> dict[str, Any]:
    """Makes, measures, prints and draws a suite."""
    suite = find_suite(name)
    if files or _REFERENCE.value:
        raise UserError(f"--suite={name} brings its own files and reference; leave out yours.")
    # TensorFlow is slow to load: a wrong flag, or --help, should answer at once.
    from tf_prune_ofa.experiments import suite_delegate, suite_peers
    from tf_prune_ofa.experiments.suite import describe, measure, select
    from tf_prune_ofa.experiments.suite_files import make_files, other_interfaces
    from tf_prune_ofa.experiments.suite_plot import plot

    def say(label: str) -> None:
        print(f"  making {label}", flush=True)

    folder = Path(_FOLDER.value) / name
    made = make_files(suite, folder, on_file=say)
    if _INTERFACES.value:
        made += other_interfaces(made)
    if _DELEGATE.value:
        made += suite_delegate.make_rows(folder, on_file=say)
    if _PEERS.value:
        made += suite_peers.make_rows(suite, folder, _installed_peers(), on_file=say)
    if _ROWS.value:
        made = select(made, _ROWS.value)
    threads = [_THREADS.value] if flags.FLAGS["threads"].present else [1, 2]
    result = measure(name, made, settings, threads)
    print(describe(result))
    drawn = plot(result)
    write_bytes(folder / f"{drawn.key}.png", drawn.png)
    print(f"\n{drawn.caption} Drawn in {folder / f'{drawn.key}.png'}")
    return result


def _installed_peers() -> dict[str, Path]:
    found = peers.installed(_PEERS.value)
    if not found:
        raise UserError(
            f"No runtime is installed in --peers={_PEERS.value}. Run "
            f"tools/make_peers.py --folder={_PEERS.value}"
        )
    return found


if __name__ == "__main__":
    run(main)
