import numpy as np
import pytest
from exported_models import make_examples

from tf_prune_ofa.conversion import calibrate, convert, int8
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import keras


def test_ranges_by_hand():
    x = keras.Input([2], batch_size=1, name="x")
    layer = keras.layers.Dense(1, name="layer")
    y = layer(keras.layers.Activation("linear", name="before")(x))
    layer.set_weights([np.float32([[2], [-1]]), np.float32([0.5])])
    content = convert.to_float32(keras.Model({"x": x}, {"y": y}))
    examples = [{"x": np.float32([1, 3])}, {"x": np.float32([-2, 1])}, {"x": np.float32([2, 0])}]
    ranges = calibrate.measure_ranges(content, examples)
    # Outputs: 2 - 3 + 0.5, -4 - 1 + 0.5, 4 + 0.5.
    assert ranges == {"before": (-2.0, 3.0), "layer": (-4.5, 4.5)}


def test_ranges_are_those_of_the_keras_layers(model, float32_file):
    examples = list(make_examples(3))
    ranges = calibrate.measure_ranges(float32_file, examples)
    # The file's query is 1/4 of Keras's; the range must not be.
    names = ["encoder_01/attention/query", "encoder_01/ffn/activation", "pooler"]
    layers = keras.Model(model.inputs, {name: model.get_layer(name).output for name in names})
    batch = {name: np.stack([e[name] for e in examples]) for name in examples[0]}
    # The model has fixed shapes: one example at a time.
    results = [
        layers({name: value[index : index + 1] for name, value in batch.items()})
        for index in range(len(examples))
    ]
    for name in names:
        # Of padding nothing is measured; behind the pooler there is one row.
        values = [result[name].numpy() for result in results]
        if values[0].ndim == 3:
            masks = [example["input_mask"] > 0 for example in examples]
            values = [value[0, mask] for value, mask in zip(values, masks, strict=True)]
        values = np.concatenate(values)
        # Ranges are near 1; float32 sums in another order differ in the sixth digit.
        np.testing.assert_allclose(ranges[name], (values.min(), values.max()), atol=2e-5)


def test_ranges_fit_every_layer(float32_file, ranges):
    assert int8.float_layers(float32_file, ranges) == {}


def test_no_examples_are_refused(float32_file):
    with pytest.raises(UserError, match="no examples"):
        calibrate.measure_ranges(float32_file, [])


def test_examples_of_another_length_are_refused(float32_file):
    with pytest.raises(UserError, match=r"of shape \[1, 8\], given was \[5\]"):
        calibrate.measure_ranges(float32_file, make_examples(1, length=5))


def test_padding_is_not_watched(float32_file):
    """What stands in padding moves no range; it would, being watched."""
    examples = [next(make_examples(1)) for _ in range(2)]
    for example in examples:
        example["input_mask"][5:] = 0
    examples[1]["input_word_ids"] = np.where(
        examples[0]["input_mask"] > 0, examples[0]["input_word_ids"], 7
    ).astype(np.int32)
    one, other = (calibrate.measure(float32_file, [e], scores=True) for e in examples)
    assert one.ranges().keys() == other.ranges().keys()
    for name, ends in one.ranges().items():
        # Sums over keys that count nothing may round otherwise.
        np.testing.assert_allclose(other.ranges()[name], ends, atol=1e-5, err_msg=name)
    unmasked = [{**e, "input_mask": np.ones_like(e["input_mask"])} for e in examples]
    wide, wider = (calibrate.measure(float32_file, [e]).ranges() for e in unmasked)
    assert any(not np.allclose(wide[name], wider[name], atol=1e-2) for name in wide)


def test_histograms_count_each_value_of_a_token_once(float32_file):
    examples = list(make_examples(3))
    extremes = calibrate.measure(float32_file, examples, scores=True)
    scales = {"encoder_00/ffn/output": np.full(32, 2, np.float32)}
    ranges = extremes.ranges(scales)
    found = calibrate.histograms(float32_file, examples, ranges, scales, scores=True)
    tokens = [int(e["input_mask"].sum()) for e in examples]
    assert found["encoder_00/ffn/output"].counts.sum() == 32 * sum(tokens)
    assert found["pooler"].counts.sum() == 32 * len(examples)
    # Two heads.
    scores = found["encoder_00/attention/scores"]
    assert scores.counts.sum() == 2 * sum(n * n for n in tokens)
