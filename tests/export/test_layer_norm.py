import numpy as np
from exported_models import CONFIG, make_examples

from tf_prune_ofa.export import layer_norm, quantize
from tf_prune_ofa.export.graph import Graph


def count(file, name):
    graph = Graph(file)
    return sum(graph.op_name(operator) == name for operator in graph.operators)


def test_every_layer_norm_of_an_encoder_has_the_faster_form(float32_file, run_bytes):
    faster = layer_norm.centre_first(float32_file)
    norms = 1 + 2 * CONFIG.num_layers
    assert count(float32_file, "RSQRT") == norms
    # Two products less a norm would be one more operator for it; there is one less.
    assert len(Graph(float32_file).operators) - len(Graph(faster).operators) == norms
    for example in make_examples(4):
        before, after = run_bytes(float32_file, **example), run_bytes(faster, **example)
        # Logits of size 1 behind five norms: a few hundred roundings of 6e-8.
        np.testing.assert_allclose(after["logits"], before["logits"], atol=5e-5)


def test_a_second_pass_changes_nothing(float32_file):
    once = layer_norm.centre_first(float32_file)
    assert layer_norm.centre_first(once) == once


def test_it_fits_in_front_of_quantization(float32_file, ranges, run_bytes):
    file = quantize.dense_int8(layer_norm.centre_first(float32_file), ranges)
    (example,) = make_examples(1)
    assert np.all(np.isfinite(run_bytes(file, **example)["logits"]))
