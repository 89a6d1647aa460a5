"""Files that are cut off, damaged, or of a kind that the pass does not know."""

import block_files
import numpy as np
import pytest
from block_files import Net
from test_block_sparse import FREE

from tf_prune_ofa.blocks.live import Block
from tf_prune_ofa.blocks.rewrite import block_sparse
from tf_prune_ofa.blocks.verify import verify_equal
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tflite import guard
from tf_prune_ofa.tflite.graph import Graph

BLOCK = Block(8, 8)


@pytest.fixture(scope="module")
def file():
    return block_files.encoder_layer(Net([1, 6, 32]))


def accepted(content):
    """Whether the pass takes a file; what it makes of one must be no worse than that."""
    try:
        after, _ = block_sparse(content, BLOCK, FREE)
    except UserError as error:
        assert str(error)
        return False
    guard.check(after, before=content)
    return True


def test_cut_off_anywhere(file):
    ends = np.linspace(0, len(file) - 1, 200).astype(int)
    assert not any(accepted(file[:end]) for end in ends)


def flipped(content, rng):
    damaged = bytearray(content)
    damaged[rng.integers(len(content))] ^= int(rng.integers(1, 256))
    return bytes(damaged)


def test_a_flipped_byte_gives_a_clear_error_or_a_sound_file(file):
    rng = np.random.default_rng(0)
    taken = sum(accepted(flipped(file, rng)) for _ in range(200))
    # Most bytes are weights: the file is another model then, and as good as the first.
    assert 0 < taken < 200


@pytest.mark.slow
def test_thousands_of_flipped_bytes(file):
    rng = np.random.default_rng(1)
    for _ in range(5000):
        accepted(flipped(file, rng))


def test_no_tflite_file():
    with pytest.raises(UserError, match="TFL3"):
        block_sparse(b"something else entirely")


def changed(file, change):
    graph = Graph(file)
    change(graph)
    return graph.to_bytes()


def drop_first_operator(graph):
    graph.set_operators(graph.operators[1:])


def last_operator_first(graph):
    graph.set_operators([graph.operators[-1], *graph.operators[:-1]])


def write_twice(graph):
    graph.set_operators([graph.operators[0], *graph.operators])


def wrong_options(graph):
    layer = next(op for op in graph.operators if graph.op_name(op) == "FULLY_CONNECTED")
    layer.builtinOptions = None
    layer.builtinOptionsType = 0


def too_many_inputs(graph):
    operator = next(op for op in graph.operators if graph.op_name(op) == "TRANSPOSE")
    operator.inputs = np.int32([*operator.inputs, operator.inputs[1]])


def wrong_scales(graph):
    layer = next(op for op in graph.operators if graph.op_name(op) == "FULLY_CONNECTED")
    parameters = graph.tensors[int(layer.inputs[1])].quantization
    parameters.scale = parameters.scale[:3]


@pytest.mark.parametrize(
    "change, says",
    [
        (drop_first_operator, "which nothing writes"),
        (last_operator_first, "which nothing has computed by then"),
        (write_twice, "which has a value already"),
        (wrong_options, "options of another kind"),
        (wrong_scales, "3 scales"),
        (too_many_inputs, "more inputs or outputs than its kind"),
    ],
)
def test_what_is_not_understood_is_named(file, change, says):
    with pytest.raises(UserError, match=says):
        block_sparse(changed(file, change), BLOCK, FREE)


def test_files_that_differ_are_told_apart(file):
    other = block_files.encoder_layer(Net([1, 6, 32], seed=1))
    verify_equal(file, block_sparse(file, BLOCK, FREE)[0])
    with pytest.raises(UserError, match="differs by up to"):
        verify_equal(file, other)
