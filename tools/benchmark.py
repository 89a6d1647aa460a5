"""Measure `.tflite` files against each other on this machine.

    benchmark.py FILES... [--reference FILE] [--threads N] [--runs N] [--seconds S] [--json OUT]
    benchmark.py --suite=bert_base_s128 [--folder DIR] [--threads N] [--seconds S] [--json OUT]

A suite makes its own files, of random weights: dense ones, and sparse ones of several patterns. It
also draws latency against sparsity, and is measured with one and with two threads.

All files run in turns. The table shows ratios to the reference first, then times, load time and
memory, and below it what was measured where.
"""

from pathlib import Path
from typing import Any

from absl import flags

from tf_prune_ofa.bench.host import BenchSettings, benchmark
from tf_prune_ofa.bench.show import describe
from tf_prune_ofa.bench.suite import SUITES, find_suite
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import write_bytes, write_json
from tf_prune_ofa.tools._main import run

_DEFAULT = BenchSettings()
_REFERENCE = flags.DEFINE_string("reference", None, "file that the others are compared with")
_JSON = flags.DEFINE_string("json", None, "also write the results to this file")
_THREADS = flags.DEFINE_integer("threads", _DEFAULT.threads, "threads of the runtime")
_RUNS = flags.DEFINE_integer("runs", _DEFAULT.runs, "counted runs of each file")
_SECONDS = flags.DEFINE_float("seconds", _DEFAULT.seconds, "stop taking turns after so long")
_LOADS = flags.DEFINE_integer("loads", _DEFAULT.loads, "fresh processes for load time and memory")
_RUNTIME = flags.DEFINE_string(
    "runtime", _DEFAULT.runtime, "litert, tflite_runtime, tensorflow, or auto: the first installed"
)
_XNNPACK = flags.DEFINE_boolean("xnnpack", _DEFAULT.xnnpack, "let XNNPACK take operators over")
_SUITE = flags.DEFINE_string("suite", None, f"one of {', '.join(SUITES)}, instead of files")
_FOLDER = flags.DEFINE_string("folder", "runs/suites", "where a suite's files and plot go")
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
    )
    if _SUITE.value:
        result = _run_suite(_SUITE.value, argv[1:], settings)
    else:
        result = benchmark(argv[1:], settings, reference=_REFERENCE.value)
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
    from tf_prune_ofa.bench.suite import describe, measure
    from tf_prune_ofa.report.suite_plot import plot
    from tf_prune_ofa.stages.suite import make_files

    folder = Path(_FOLDER.value) / name
    made = make_files(suite, folder, on_file=lambda label: print(f"  making {label}", flush=True))
    threads = [_THREADS.value] if flags.FLAGS["threads"].present else [1, 2]
    result = measure(name, made, settings, threads)
    print(describe(result))
    drawn = plot(result)
    write_bytes(folder / f"{drawn.key}.png", drawn.png)
    print(f"\n{drawn.caption} Drawn in {folder / f'{drawn.key}.png'}")
    return result


if __name__ == "__main__":
    run(main)
