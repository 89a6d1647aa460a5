"""Inputs of dense layers divided by channel, kernels multiplied: the same results, other steps."""

import numpy as np
import pytest
from exported_models import CONFIG, make_examples

from tf_prune_ofa.conversion import calibrate, equalize, int8, integers
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.models.bert import dense_kernels
from tf_prune_ofa.tflite import dense_layers
from tf_prune_ofa.tflite.graph import Graph

POINT, LAYER = "encoder_00/ffn/input", "encoder_00/ffn/intermediate"
SCALES = {
    POINT: np.exp2(np.arange(CONFIG.hidden_size) % 4).astype(np.float32),
    "encoder_01/attention/input": np.where(np.arange(CONFIG.hidden_size) == 7, 16, 1),
}


def test_float_results_are_equal_bit_for_bit(float32_file, run_bytes):
    graph = Graph(float32_file)
    equalize.divide_inputs(graph, dense_layers.read_stamps(graph), SCALES)
    changed = graph.to_bytes()
    # One division for each input, though three layers read that of attention.
    names = [[g.op_name(op) for op in g.operators] for g in (Graph(changed), Graph(float32_file))]
    assert names[0].count("MUL") - names[1].count("MUL") == len(SCALES)
    for example in make_examples(5):
        for name, value in run_bytes(float32_file, **example).items():
            np.testing.assert_array_equal(run_bytes(changed, **example)[name], value)


def test_integers_are_those_of_the_multiplied_kernel(model, float32_file, run_bytes):
    measured = calibrate.measure(float32_file, make_examples(16))
    ranges = measured.ranges(SCALES)
    low, high = measured.low[POINT] / SCALES[POINT], measured.high[POINT] / SCALES[POINT]
    assert ranges[POINT] == (low.min(), high.max())
    file = int8.dense_int8(float32_file, ranges, SCALES)
    found = int8.int8_layers(file)[LAYER]
    kernel = dense_kernels(model)[LAYER].numpy().T * SCALES[POINT]
    np.testing.assert_array_equal(
        found.kernel, integers.quantize_weights(kernel, found.weight_scales)
    )
    assert found.input_scale == integers.activation_params(*ranges[POINT])[0]
    plain = int8.dense_int8(float32_file, measured.ranges())
    outputs = [
        [run_bytes(content, **example)["logits"] for example in make_examples(20, seed=1)]
        for content in (float32_file, plain, file)
    ]
    assert np.std(np.subtract(outputs[2], outputs[0])) < 0.1 * np.std(outputs[0])


def test_layers_that_stay_float_are_left_alone(float32_file):
    ranges = calibrate.measure_ranges(float32_file, make_examples(4))
    kept = {name: ends for name, ends in ranges.items() if name != LAYER}
    file = Graph(int8.dense_int8(float32_file, kept, {POINT: SCALES[POINT]}))
    assert f"{POINT}/outlier_scales" not in map(file.name, range(len(file.tensors)))


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ({"encoder_09/ffn/input": np.ones(32)}, r"encoder_09/ffn/input \(32 for no channels\)"),
        ({POINT: np.ones(31)}, rf"{POINT} \(31 for 32 channels\)"),
        ({LAYER: np.ones(3)}, rf"{LAYER} \(3 for 512 channels\)"),
    ],
)
def test_scales_of_another_model_are_refused(float32_file, scales, message):
    ranges = calibrate.measure_ranges(float32_file, make_examples(2))
    with pytest.raises(UserError, match=message):
        int8.dense_int8(float32_file, ranges, scales)
