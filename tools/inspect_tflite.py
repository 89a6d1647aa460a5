"""Show what is in a `.tflite` file.

    inspect_tflite.py FILE [--json OUT] [--runtime NAME] [--noload] [--delegate]

Operators, types, sizes, zeros of every weight, dynamic tensors and metadata come from the file
itself; then a runtime loads it, to see how many operators XNNPACK takes over, and with --delegate
which layers the sparse INT8 delegate does.
"""

from absl import flags

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.json_files import write_json
from tf_prune_ofa.runtime.inspect import inspect, load
from tf_prune_ofa.runtime.inspect_text import describe, describe_load
from tf_prune_ofa.tools._main import refuse_idle, run

_JSON = flags.DEFINE_string("json", None, "also write the summary to this file")
_LOAD = flags.DEFINE_boolean("load", True, "let a runtime load the file")
_RUNTIME = flags.DEFINE_string(
    "runtime", "auto", "litert, tflite_runtime, tensorflow, or auto: the first installed"
)
_DELEGATE = flags.DEFINE_boolean("delegate", False, "load the sparse INT8 delegate as well")


def main(argv: list[str]) -> None:
    """Prints the summary of the file named in `argv`."""
    if len(argv) != 2:
        raise UserError(f"Name one .tflite file; {len(argv) - 1} were given.")
    if not _LOAD.value:
        refuse_idle("loading the file", "runtime", "delegate")
    summary = inspect(argv[1])
    # Printed before loading: a file that crashes a runtime is one that people want to look into.
    print(describe(summary), flush=True)
    if _LOAD.value:
        summary = load(summary, _RUNTIME.value, "auto" if _DELEGATE.value else None)
        print(f"\n{describe_load(summary.loaded)}")
    if _JSON.value:
        write_json(_JSON.value, summary.to_json())
        print(f"\nWritten to {_JSON.value}")


if __name__ == "__main__":
    run(main)
