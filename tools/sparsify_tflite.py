"""Make an INT8 `.tflite` file with dead blocks of weights faster, with equal results.

    sparsify_tflite.py --input=dense_int8.tflite --output=block_sparse.tflite
                       [--block=64x32] [--cost_table=FILE [--measure]] [--compact] [--noverify]

The file may come from any exporter. Layers that are static INT8 and whose weights hold blocks of
zeros (outputs x inputs) are computed from their live blocks, in ordinary operators; all others stay
as they are. Before the file is written, both files are run on random inputs in a process of their
own, and must agree in every bit.
"""

from pathlib import Path

from absl import flags

from tf_prune_ofa.blocks.cost import DEFAULT_TABLE, read_table, write_table
from tf_prune_ofa.blocks.live import parse_block
from tf_prune_ofa.blocks.report import describe
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import require_writable_dir, write_bytes
from tf_prune_ofa.tflite.flatbuffer import read_bytes
from tf_prune_ofa.tools._main import run

_INPUT = flags.DEFINE_string("input", None, "the INT8 .tflite file", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "the file to write", required=True)
_BLOCK = flags.DEFINE_string(
    "block", "auto", "outputs x inputs of a block, such as 64x32; auto tries several for each layer"
)
_TABLE = flags.DEFINE_string("cost_table", None, "costs on the machine that the file is for (JSON)")
_MEASURE = flags.DEFINE_boolean(
    "measure", False, "measure the costs on this machine first, and write them to --cost_table"
)
_COMPACT = flags.DEFINE_boolean(
    "compact", False, "store layers that stay dense without their zeros: smaller, same speed"
)
_VERIFY = flags.DEFINE_boolean("verify", True, "run both files and compare their outputs")


def main(argv: list[str]) -> None:
    """Rewrites the file named by the flags."""
    if len(argv) > 1:
        raise UserError(f"unexpected arguments {argv[1:]}; write --input=FILE --output=FILE")
    block = None if _BLOCK.value == "auto" else parse_block(_BLOCK.value)
    content = read_bytes(_INPUT.value)
    # Minutes later would be too late to say so.
    for path in (_OUTPUT.value, _TABLE.value if _MEASURE.value else None):
        if path is not None:
            require_writable_dir(Path(path).parent)
            if Path(path).is_dir():
                raise UserError(f"{path} is a folder. Name the file to write.")
    # What follows loads a runtime; a wrong flag, or --help, should answer at once.
    from tf_prune_ofa.blocks.measure import measure_costs
    from tf_prune_ofa.blocks.rewrite import block_sparse
    from tf_prune_ofa.blocks.verify import verify_equal

    table = DEFAULT_TABLE
    if _MEASURE.value:
        table = measure_costs()
        if _TABLE.value:
            write_table(_TABLE.value, table)
    elif _TABLE.value:
        table = read_table(_TABLE.value)
    result, choices = block_sparse(content, block, table, compact=_COMPACT.value)
    if _VERIFY.value:
        verify_equal(content, result)
    write_bytes(_OUTPUT.value, result)
    print(describe(choices, len(content), len(result), is_verified=_VERIFY.value))
    print(f"\nWritten to {Path(_OUTPUT.value)}")


if __name__ == "__main__":
    run(main)
