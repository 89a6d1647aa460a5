import numpy as np
import pytest
from block_files import SERVER

from tf_prune_ofa.blocks.cost import blocks_us
from tf_prune_ofa.blocks.live import Block, Group
from tf_prune_ofa.blocks.mask_cost import masks_us

DENSE = SERVER.layer_us(64, 128, 256)


def cost(mask, pattern="64x32", name="encoder_00/ffn/output"):
    return masks_us({name: mask}, pattern, SERVER, 64)


def test_a_kernel_in_blocks_costs_what_its_groups_do():
    mask = np.zeros([256, 128], bool)  # [in, out]
    mask[32:64, :64] = mask[32:64, 64:] = True  # the same block of inputs for all outputs
    merged = [Group(0, 128, (1,))]
    assert cost(mask) == blocks_us(SERVER, 64, 256, Block(64, 32), merged)
    shared = blocks_us(SERVER, 64, 256, Block(64, 32), merged, shared=3)
    assert cost(mask, name="encoder_00/attention/query") == shared < cost(mask) < DENSE


@pytest.mark.parametrize("pattern", ["64x32", "unstructured", "2:4"])
def test_what_does_not_become_faster_costs_what_dense_does(pattern):
    mask = np.random.default_rng(0).random([256, 128]) < 0.1  # no block is dead
    assert cost(mask, pattern) == DENSE


def test_dead_neurons_cost_nothing():
    first, second = np.zeros([32, 64], bool), np.zeros([64, 32], bool)
    first[:, :16] = second[:16] = True
    masks = {"encoder_00/ffn/intermediate": first, "encoder_00/ffn/output": second}
    table = SERVER
    expected = table.layer_us(8, 16, 32) + table.layer_us(8, 32, 16)
    assert masks_us(masks, "neurons", table, 8) == expected
