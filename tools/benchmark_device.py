"""Measure `.tflite` files on a phone, a Raspberry Pi or another Linux board.

    benchmark_device.py FILES... --target=adb|adb:SERIAL|adb:all|ssh:[USER@]HOST|local
        [--target=...] [--reference=FILE] [--threads=1,4] [--cores=big|little|4,5]
        [--seconds=60] [--out=DIR] [--runtime_library=FILE] [--build=DIR]

A small native program and the sparse delegate are compiled for each device, sent there with the
files and TFLite's library, and removed at the end. Every file is measured without and with the
delegate, in turns. A device that was throttled meanwhile gets no figures. The delegate's costs are
measured on the device first, used there, and written to DIR for others with that processor.

docs/on_device.md leads from a phone in a drawer to a table.
"""

import re
import sys
from pathlib import Path

from absl import flags

from tf_prune_ofa.device import build, runtime_library
from tf_prune_ofa.device.machine import Machine
from tf_prune_ofa.device.measure import DeviceSettings, check, measure, with_threads
from tf_prune_ofa.device.result import to_result
from tf_prune_ofa.device.show import describe
from tf_prune_ofa.device.target import Target
from tf_prune_ofa.device.targets import find_targets
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import write_text
from tf_prune_ofa.json_files import write_json
from tf_prune_ofa.tools._main import run

_DEFAULT = DeviceSettings()
_TARGET = flags.DEFINE_multi_string("target", ["adb"], "which device; may be given several times")
_REFERENCE = flags.DEFINE_string("reference", None, "file that the others are compared with")
_OUT = flags.DEFINE_string("out", None, "folder for DEVICE.json and DEVICE.costs.txt")
_THREADS = flags.DEFINE_list("threads", ["1"], "numbers of threads, each a row of its own")
_CORES = flags.DEFINE_string("cores", _DEFAULT.cores, "all, big, little, or numbers such as 4,5")
_DELEGATE = flags.DEFINE_boolean("delegate", True, "also run with the sparse INT8 delegate")
_CALIBRATE = flags.DEFINE_boolean("calibrate", True, "measure the delegate's costs there first")
_RUNS = flags.DEFINE_integer("runs", _DEFAULT.runs, "counted runs of each row")
_WARMUP = flags.DEFINE_integer("warmup", _DEFAULT.warmup, "runs of each row before")
_SECONDS = flags.DEFINE_float("seconds", _DEFAULT.seconds, "stop taking turns after so long")
_LOADS = flags.DEFINE_integer("loads", _DEFAULT.loads, "fresh processes for load time and memory")
_LIMIT = flags.DEFINE_integer("limit", _DEFAULT.limit, "seconds after which the device gives up")
_SEED = flags.DEFINE_integer("seed", _DEFAULT.seed, "of the random inputs")
_FOLDER = flags.DEFINE_string(
    "folder", None, "where files go on the device: /data/local/tmp on phones, /tmp elsewhere"
)
_BUILD = flags.DEFINE_string("build", None, "folder with programs that were built by hand")
_RUNTIME = flags.DEFINE_string(
    "runtime_library", None, "TFLite's C library, or a package that has it (.aar, .whl)"
)
_CACHE = flags.DEFINE_string("cache", ".cache/device", "folder for builds and libraries")


def main(argv: list[str]) -> None:
    """Measures the files named in `argv` on each target."""
    files = list(dict.fromkeys(Path(name).absolute() for name in argv[1:]))
    reference = None if _REFERENCE.value is None else Path(_REFERENCE.value).absolute()
    if reference is not None and reference not in files:
        files.insert(0, reference)
    settings = with_threads(
        DeviceSettings(
            delegate=_DELEGATE.value,
            calibrate=_CALIBRATE.value,
            cores=_CORES.value,
            runs=_RUNS.value,
            warmup=_WARMUP.value,
            seconds=_SECONDS.value,
            loads=_LOADS.value,
            limit=_LIMIT.value,
            seed=_SEED.value,
        ),
        _THREADS.value,
    )
    check(files, settings)
    targets = find_targets(_TARGET.value, _FOLDER.value)
    failed = 0
    for target in targets:
        try:
            failed += _measure(target, files, settings, reference)
        except UserError as error:
            if len(targets) == 1:
                raise
            # The others still have their turn.
            print(f"Error: {error}\n", file=sys.stderr)
            failed += 1
    if failed:
        sys.exit(1)


def _measure(
    target: Target, files: list[Path], settings: DeviceSettings, reference: Path | None
) -> bool:
    """Measures on one device, prints and writes; returns whether it has no figures."""
    cache = Path(_CACHE.value).absolute()

    def programs(machine: Machine) -> build.Programs:
        if _BUILD.value:
            return build.programs_in(Path(_BUILD.value))
        return build.build(machine.architecture, is_android=machine.is_android, cache=cache)

    def runtime(machine: Machine) -> Path:
        return runtime_library.find(
            _RUNTIME.value,
            machine.architecture,
            is_android=machine.is_android,
            cache=cache,
            device=machine.name or target.name,
        )

    measured = measure(
        target, files, settings, programs, runtime, lambda text: print(text, flush=True)
    )
    result = to_result(target.name, measured, settings, reference)
    print(f"\n{describe(result)}")
    if _OUT.value:
        machine = measured.machine
        name = re.sub(r"[^\w.-]+", "_", machine.name or target.name.replace("ssh:", "")).strip("_")
        path = Path(_OUT.value) / f"{name}.json"
        write_json(path, result)
        print(f"\nWritten to {path}")
        if measured.cost_table:
            write_text(path.with_suffix(".costs.txt"), measured.cost_table)
            print(f"The delegate's costs: {path.with_suffix('.costs.txt')}")
    return bool(result["throttled"])


if __name__ == "__main__":
    run(main)
