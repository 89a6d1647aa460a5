import json
from dataclasses import asdict

import pytest

from tf_prune_ofa.blocks import measure as block_measure
from tf_prune_ofa.blocks.cost import CostTable, blocks_us, read_table, write_table
from tf_prune_ofa.blocks.live import Block, Group
from tf_prune_ofa.blocks.measure import measure_costs
from tf_prune_ofa.errors import UserError

# Numbers that show in a sum which part it came from.
TABLE = CostTable(
    operator_us=1000.0, product_ns=1.0, result_ns=100.0, copy_ns=0.1, transpose_ns=0.01
)


def test_a_dense_layer_by_hand():
    # 2 rows x 5 outputs = 10 results of 100 ns and 4 products of 1 ns each, and one operator.
    assert TABLE.layer_us(2, 5, 4) == pytest.approx(1000 + 1e-3 * 10 * (100 + 4))


def test_joins_by_hand():
    assert TABLE.copy_us(1, 500) == 0  # nothing to join
    assert TABLE.copy_us(5, 500) == pytest.approx(1000 + 1e-3 * 500 * 0.1)
    # Seven pieces in two joins, and one join of the two: three operators, all bytes twice.
    assert TABLE.copy_us(7, 500) == pytest.approx(3000 + 2 * 1e-3 * 500 * 0.1)


def test_a_layer_in_blocks_by_hand():
    # 2 rows, 8 inputs in places of 4, 8 outputs in two groups; the second has no live block.
    groups = [Group(0, 4, (1,)), Group(4, 4, ())]
    expected = 1000 + 1e-3 * 2 * 8 * 0.01  # the input place by place
    expected += 1000 + 1e-3 * 2 * 4 * 0.1  # one slice of it
    expected += 2 * (1000 + 1e-3 * 2 * 4 * (100 + 4 * 1))  # two layers of 4 inputs
    expected += 1000 + 1e-3 * 16 * 0.1  # their results joined
    expected += 1000 + 1e-3 * 16 * 0.01  # and token by token again
    assert blocks_us(TABLE, 2, 8, Block(4, 4), groups) == pytest.approx(expected)


def test_layers_that_share_an_input_share_its_cost():
    groups = [Group(0, 4, (0,)), Group(4, 4, (1,))]
    alone, shared = (blocks_us(TABLE, 2, 8, Block(4, 4), groups, count) for count in (1, 3))
    # Of the transposition and two slices, two thirds are paid by the others.
    paid = 3000 + 1e-3 * 2 * 8 * (0.01 + 0.1)
    assert alone - shared == pytest.approx(2 / 3 * paid)


def test_a_table_on_disk(tmp_path):
    write_table(tmp_path / "costs.json", TABLE)
    assert read_table(tmp_path / "costs.json") == TABLE


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"operator_us": "fast"}', json.dumps({"operator_us": 1.0})]
)
def test_no_table(tmp_path, content):
    path = tmp_path / "costs.json"
    path.write_text(content)
    with pytest.raises(UserError, match="no cost table"):
        read_table(path)


def test_costs_are_positive(tmp_path):
    write_table(tmp_path / "costs.json", CostTable(operator_us=0.0))
    with pytest.raises(UserError, match="not a positive number"):
        read_table(tmp_path / "costs.json")
    with pytest.raises(UserError, match="Cannot read"):
        read_table(tmp_path / "none.json")


def test_costs_come_from_differences_of_times(monkeypatch):
    # What the small files would take where TABLE holds, and a run by itself takes 7 us.
    run, tokens, width, many = 7.0, 128, 32, 3000
    us = {
        "few results": TABLE.layer_us(tokens, 16, width) + TABLE.operator_us,
        "many results": TABLE.layer_us(tokens, 256, width) + TABLE.operator_us,
        "many products": TABLE.layer_us(tokens, 256, 16 * width) + TABLE.operator_us,
        "one slice": TABLE.operator_us,
        "slices": many * TABLE.operator_us,
        "large slices": many * (TABLE.operator_us + 1e-3 * (tokens - 1) * width * TABLE.copy_ns),
        "transpose": TABLE.transpose_us(tokens * 24 * width),
    }
    us = {name: time + run for name, time in us.items()}
    monkeypatch.setattr(block_measure, "race_us", lambda files, seconds, threads: us)
    measured = asdict(measure_costs())
    assert measured == pytest.approx(asdict(TABLE), rel=0.01)


def test_a_measured_table_is_a_table(tmp_path):
    # What the numbers are is the machine's business.
    table = measure_costs(seconds=0.2)
    write_table(tmp_path / "costs.json", table)
    assert read_table(tmp_path / "costs.json") == table
