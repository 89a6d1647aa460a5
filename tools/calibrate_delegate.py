"""Measure on this machine what the sparse INT8 delegate's decisions are made of.

    calibrate_delegate.py [FILES...] [--threads 1,2] [--tokens 128] [--cost_cache DIR]
        [--output TABLE]

With FILES, the layers of these files that might gain; without, those of BERT-Base's and MiniLM's
sizes for each number of --tokens. Dense layers are timed in the runtime itself, sparse ones in the
delegate. The times are kept for this processor, runtime and build of the library, and
`Interpreter(..., delegate="auto")` finds them there; with --output they are also written as a table
for whoever loads the library without this package (option `cost_table`).
"""

from absl import flags

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import write_text
from tf_prune_ofa.runtime import costs, delegate
from tf_prune_ofa.runtime.installed import find_runtime
from tf_prune_ofa.runtime.interpreter import Interpreter
from tf_prune_ofa.runtime.layer_chain import LayerShape
from tf_prune_ofa.runtime.measured import measure_shapes
from tf_prune_ofa.text_table import text_table
from tf_prune_ofa.tools._main import refuse_idle, run

_THREADS = flags.DEFINE_list("threads", ["1", "2"], "numbers of threads")
_TOKENS = flags.DEFINE_list("tokens", ["128"], "lengths to measure, without FILES")
_CACHE = flags.DEFINE_string("cost_cache", None, "folder that the times are kept in")
_OUTPUT = flags.DEFINE_string("output", None, "also write the cost table to this file")
_RUNTIME = flags.DEFINE_string(
    "runtime", "auto", "litert, tflite_runtime, tensorflow, or auto: the first installed"
)

# Outputs and inputs of layers of BERT-Base and of MiniLM; those that lead back come with them.
SIZES = ((768, 768), (3072, 768), (384, 384), (1536, 384))


def main(argv: list[str]) -> None:
    """Measures and prints what was found."""
    if argv[1:]:
        refuse_idle("measuring without FILES, which have lengths of their own", "tokens")
    threads, tokens = (_numbers(flag.name, flag.value) for flag in (_THREADS, _TOKENS))
    library = delegate.require()
    module, *runtime = find_runtime(_RUNTIME.value)
    model, _, _ = delegate.processor(library)
    kept = costs.cost_file(_CACHE.value, model, *runtime, library)
    if kept is None:
        raise UserError(
            f"{costs.ENVIRONMENT} is off: nothing would be kept. Name a folder: --cost_cache=DIR"
        )
    options = {} if _CACHE.value is None else {costs.OPTION: _CACHE.value}
    for path in argv[1:]:
        for count in threads:
            file = Interpreter(
                path, count, _RUNTIME.value, delegate="auto", delegate_options=options
            )
            layers = file.delegate_report.layers
            taken = sum(layer.is_taken for layer in layers)
            print(f"{path}, {count} threads: {taken} of {len(layers)} layers pay")
    if not argv[1:]:
        shapes = [
            LayerShape(is_static, count, *size, length)
            for is_static in (True, False)
            for count in threads
            for size in SIZES
            for length in tokens
        ]
        if not measure_shapes(module, library, shapes, kept):
            print("The machine was too busy for some; run this again.")
    print(f"\n{_table(kept.lines())}\n\nKept in {kept.path}")
    if _OUTPUT.value:
        write_text(_OUTPUT.value, kept.path.read_text(encoding="utf-8"))
        print(f"Written to {_OUTPUT.value}")


def _numbers(name: str, words: list[str]) -> list[int]:
    try:
        numbers = [int(word) for word in words]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise UserError(f"--{name} takes numbers from 1 on, such as 1,2; not {','.join(words)}.")
    return numbers


def _table(lines: list[str]) -> str:
    """Times of dense layers and the shares of zeros from which on they would pay."""
    header = ("layer", "threads", "size", "tokens", "tile", "dense us", "anywhere", "1x4")
    rows = []
    for line in lines:
        _, _, arithmetic, threads, n, k, tokens, tile, *times = line.split()
        dense, group_fixed, group, column_fixed, column = map(float, times)
        weights = int(n) * int(k) / 4
        rows.append(
            [
                *(arithmetic, threads, f"{n}x{k}", tokens, tile, f"{dense:.0f}"),
                *(
                    _pays(dense, fixed, entry * weights)
                    for fixed, entry in ((column_fixed, column), (group_fixed, group))
                ),
            ]
        )
    return text_table(header, rows, left=(0,))


def _pays(dense: float, fixed: float, all_live: float) -> str:
    """Share of zeros at which a layer takes as long as dense."""
    if fixed >= dense:
        return "never"
    return f"{max(0.0, 1 - (dense - fixed) / all_live):.0%}" if all_live > 0 else "0%"


if __name__ == "__main__":
    run(main)
