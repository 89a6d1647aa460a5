"""Measure `.tflite` files against each other on this machine.

    benchmark.py FILES... [--reference FILE] [--threads N] [--runs N] [--seconds S] [--json OUT]

All files run in turns. The table shows ratios to the reference first, then times, load time and
memory, and below it what was measured where.
"""

from absl import flags

from tf_prune_ofa.bench.host import BenchSettings, benchmark
from tf_prune_ofa.bench.show import describe
from tf_prune_ofa.files import write_json
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
    result = benchmark(argv[1:], settings, reference=_REFERENCE.value)
    print(describe(result))
    if _JSON.value:
        write_json(_JSON.value, result)
        print(f"\nWritten to {_JSON.value}")


if __name__ == "__main__":
    run(main)
