"""Outlying channels: found, rounded on a step of their own, and the same in the file."""

import numpy as np

from tf_prune_ofa.conversion import convert, int8
from tf_prune_ofa.keras_compat import tf
from tf_prune_ofa.models import bert
from tf_prune_ofa.models.bert import Classification, EncoderConfig
from tf_prune_ofa.quant import ranges, scheme
from tf_prune_ofa.quant.quantizers import ScaledMovingRange
from tf_prune_ofa.runtime.interpreter import Interpreter
from tf_prune_ofa.tflite import guard

LAYER = "encoder_00/ffn/output"
SMALL = EncoderConfig("bert", 30, 16, 1, 2, 32, 12).without_dropout()


def build(sequence_length=None):
    """A model whose feed-forward output has one channel 100 times larger than the others."""
    batch = None if sequence_length is None else 1
    model = bert.build_model(
        SMALL, Classification(2), sequence_length=sequence_length, batch_size=batch, seed=3
    )
    parameters = bert.parameters(model)
    rng = np.random.default_rng(0)
    for name, variable in parameters.items():
        if name.endswith("/kernel"):
            variable.assign(rng.normal(0, 0.3, variable.shape))
    kernel = parameters[f"{LAYER}/kernel"].numpy()
    kernel[:, 5] *= 100
    parameters[f"{LAYER}/kernel"].assign(kernel)
    return model


def examples(count):
    rng = np.random.default_rng(1)
    ids = rng.integers(5, 30, (count, 12)).astype(np.int32)
    return {
        "input_word_ids": ids,
        "input_mask": np.ones_like(ids),
        "input_type_ids": np.zeros_like(ids),
    }


def test_the_outlying_channel_is_found():
    scales = ranges.outlier_scales_of(build(), [examples(4), examples(2)])
    found = scales[LAYER]
    assert set(scales) == {LAYER}
    assert found[5] in (16, 32, 64)  # about 100 / 4, up to the spread of the channels
    assert np.all(np.delete(found, 5) <= 2) and np.all(np.log2(found) % 1 == 0)


def test_rounding_by_hand():
    """Range [-1, 1.55] has steps of 0.01; the second channel's steps are 8 times that."""

    class Layer(tf.Module):
        def add_weight(self, name, shape, initializer, trainable):
            return tf.Variable(tf.ones(shape) if initializer == "ones" else tf.zeros(shape))

    quantizer = ScaledMovingRange()
    weights = quantizer.build([None, 2], "output", Layer())
    weights["min"].assign(-1.0)
    weights["max"].assign(1.55)
    weights["outlier_scales"].assign([1.0, 8.0])
    rounded = quantizer(tf.constant([[0.333, 0.333], [1.0, 12.0]]), False, weights)
    np.testing.assert_allclose(rounded, [[0.33, 0.32], [1.0, 12.0]], atol=1e-6)


def test_the_file_computes_what_training_emulates(tmp_path):
    """Same integers as without scales; the output as in Keras, with a step a tenth as large."""
    model, inputs = build(), examples(8)
    emulated = scheme.apply(SMALL, Classification(2), model)
    scales = ranges.outlier_scales_of(model, [inputs])
    ranges.assign_outlier_scales(emulated, scales)
    ranges.calibrate(emulated, [inputs])
    trained = ranges.trained_ranges(emulated)
    wide = scheme.apply(SMALL, Classification(2), model)
    ranges.calibrate(wide, [inputs])

    fixed = build(sequence_length=12)
    float32 = convert.to_float32(fixed)
    file = int8.dense_int8(float32, trained, scales)
    assert not guard.find_problems(file)
    with_scales = int8.int8_layers(file)[LAYER]
    without = int8.int8_layers(int8.dense_int8(float32, ranges.trained_ranges(wide)))[LAYER]
    np.testing.assert_array_equal(with_scales.kernel, without.kernel)
    np.testing.assert_array_equal(with_scales.weight_scales * scales[LAYER], without.weight_scales)
    assert with_scales.output_scale < without.output_scale / 8

    path = tmp_path / "dense_int8_s12.tflite"
    path.write_bytes(file)
    interpreter = Interpreter(path)
    wanted = emulated(inputs, training=False)["logits"].numpy()
    step = int8.int8_layers(file)["classifier"].output_scale
    for row, logits in enumerate(wanted):
        values = [inputs[n][row] for n in ("input_word_ids", "input_mask", "input_type_ids")]
        # A tie that rounds to the other side inside may move a logit by a step or two.
        difference = np.abs(interpreter.run(*values)["logits"][0] - logits)
        assert difference.max() < 2.5 * step
