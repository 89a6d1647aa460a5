import numpy as np
import pytest

from tf_prune_ofa.blocks.live import (
    Block,
    Group,
    live_blocks,
    parse_block,
    possible_groups,
    runs_of,
)
from tf_prune_ofa.errors import UserError

# 4 x 4 blocks of 2 outputs x 3 inputs. The second row is dead, the last two rows are alike.
PATTERN = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]], bool)
BLOCK = Block(2, 3)


def test_live_blocks_of_a_kernel_written_out():
    kernel = np.zeros([8, 12], np.int8)
    kernel[0, 2] = kernel[1, 6] = kernel[0, 11] = 1  # one weight each, at a border of its block
    kernel[5, 3] = kernel[6, 5] = -128
    np.testing.assert_array_equal(live_blocks(kernel, BLOCK), PATTERN)


def test_groups_by_hand():
    single, merged = possible_groups(PATTERN, BLOCK)
    assert single == [
        Group(0, 2, (0, 2, 3)),
        Group(2, 2, ()),
        Group(4, 2, (1,)),
        Group(6, 2, (1,)),
    ]
    assert merged == [*single[:2], Group(4, 4, (1,))]


def test_nothing_to_merge():
    assert len(possible_groups(PATTERN[:3], BLOCK)) == 1


def test_runs():
    assert runs_of((0, 2, 3)) == [(0, 1), (2, 2)]
    assert runs_of(()) == []


def test_block_sizes_as_text():
    assert parse_block("64x32") == Block(outputs=64, inputs=32)
    assert str(Block(64, 32)) == "64x32"


@pytest.mark.parametrize("text", ["64", "64x", "0x32", "64x32x2", "axb", "-1x4"])
def test_no_block_size(text):
    with pytest.raises(UserError, match="outputs x inputs"):
        parse_block(text)


def test_whole_blocks_only():
    assert Block(2, 3).divides(np.zeros([8, 12]))
    assert not Block(2, 3).divides(np.zeros([8, 13]))
    assert not Block(3, 3).divides(np.zeros([8, 12]))
