import numpy as np
import pytest
from exported_models import CONFIG, make_examples

from tf_prune_ofa.conversion import convert, layer_norm
from tf_prune_ofa.tflite.graph import Graph


@pytest.fixture(scope="module")
def converted(model):
    """A float32 file with LayerNorms as the converter writes them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_norm, "centre_first", lambda content: content)
        return convert.to_float32(model)


def count(file, name):
    graph = Graph(file)
    return sum(graph.op_name(operator) == name for operator in graph.operators)


def test_every_layer_norm_of_an_encoder_has_the_faster_form(converted, run_bytes):
    faster = layer_norm.centre_first(converted)
    norms = 1 + 2 * CONFIG.num_layers
    assert count(converted, "RSQRT") == norms
    # Two products less a norm would be one more operator for it; there is one less.
    assert len(Graph(converted).operators) - len(Graph(faster).operators) == norms
    for example in make_examples(4):
        before, after = run_bytes(converted, **example), run_bytes(faster, **example)
        # Logits of size 1 behind five norms: a few hundred roundings of 6e-8.
        np.testing.assert_allclose(after["logits"], before["logits"], atol=5e-5)


def test_a_second_pass_changes_nothing(converted):
    once = layer_norm.centre_first(converted)
    assert layer_norm.centre_first(once) == once


def test_the_converter_writes_the_faster_form(converted, float32_file):
    assert float32_file == layer_norm.centre_first(converted)
