"""What the patterns "heads" and "neurons" prune is what the export drops."""

from dataclasses import replace

import numpy as np
from block_files import DEAR
from exported_models import CONFIG, make_examples, make_model

from tf_prune_ofa.blocks.rewrite import block_sparse
from tf_prune_ofa.conversion import calibrate, convert, int8
from tf_prune_ofa.models.bert import dense_kernels
from tf_prune_ofa.pruning.plan import plan_pools
from tf_prune_ofa.pruning.rules import Rule
from tf_prune_ofa.schedules import SparsitySchedule
from tf_prune_ofa.tflite.graph import Graph

SMALL = replace(CONFIG, num_layers=1, intermediate_size=64)


def pruned_model():
    model = make_model(SMALL)
    kernels = dense_kernels(model)
    rng = np.random.default_rng(0)
    rules = {}
    for name, kernel in kernels.items():
        kernel.assign(rng.normal(0, kernel.shape[0] ** -0.5, kernel.shape))  # no zeros by chance
        if "/attention/" in name:
            rules[name] = Rule("heads", 0.5, "heads")
        elif "/ffn/" in name:
            rules[name] = Rule("neurons", 0.75, "neurons")
    shapes = {name: tuple(kernel.shape) for name, kernel in kernels.items()}
    once = SparsitySchedule(0.75, 0, 0, 0, 1)
    scores = {name: np.abs(kernel.numpy()) for name, kernel in kernels.items()}
    ones = {name: np.ones(shape) for name, shape in shapes.items()}
    for pool in plan_pools(rules, shapes, once, heads=SMALL.num_heads):
        for name, mask in pool.masks(0, scores, ones).items():
            kernels[name].assign(kernels[name] * mask)
    return model


def test_pruned_heads_and_neurons_are_dropped(run_bytes):
    model = pruned_model()
    float_file = convert.to_float32(model)
    ranges = calibrate.measure_ranges(float_file, make_examples(8))
    before = int8.dense_int8(float_file, ranges)
    after, _ = block_sparse(before, table=DEAR)
    graph = Graph(after)
    shapes = {
        graph.name(int(op.inputs[1])).removesuffix("/kernel"): graph.shape(int(op.inputs[1]))
        for op in graph.operators
        if graph.op_name(op) == "FULLY_CONNECTED"
    }
    for name in ("query", "key", "value"):
        assert shapes[f"encoder_00/attention/{name}"] == [16, 32]
    assert shapes["encoder_00/attention/output"] == [32, 16]
    assert shapes["encoder_00/ffn/intermediate"] == [16, 32]
    assert shapes["encoder_00/ffn/output"] == [32, 16]
    for example in make_examples(3):
        expected, found = run_bytes(before, **example), run_bytes(after, **example)
        assert expected["logits"].tobytes() == found["logits"].tobytes()
