from dataclasses import replace

import numpy as np
import pytest
from small_models import ENCODER, encoder, inputs, values

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import QuantizeWrapper, keras, tf
from tf_prune_ofa.models import layers
from tf_prune_ofa.models.bert import Classification, MaskedLM, base_layer, parameters
from tf_prune_ofa.quant import ranges, scheme
from tf_prune_ofa.quant.quantizers import fake_quantize_symmetric
from tf_prune_ofa.stages.quantize import print_plan

HEAD = Classification(2)
DISTILBERT = replace(ENCODER, architecture="distilbert")


def planned(model, *float_layers):
    return {row.layer: row for row in scheme.plan(model, float_layers)}


# Plan


@pytest.mark.parametrize(
    ("config", "head"),
    [(ENCODER, HEAD), (ENCODER, MaskedLM(nsp=True)), (DISTILBERT, HEAD), (DISTILBERT, MaskedLM())],
)
def test_plan_lists_every_layer_with_a_reason(config, head):
    model = encoder(head, config=replace(config, dropout=0.1, attention_dropout=0.1))
    rows = scheme.plan(model)
    computing = [
        layer
        for layer in model.layers
        if not isinstance(layer, keras.layers.InputLayer | layers.Dropout)
    ]
    assert [row.layer for row in rows] == [layer.name for layer in computing]
    for row, layer in zip(rows, computing, strict=True):
        assert row.type == type(layer).__name__ and row.reason
        assert (row.becomes == "float") == row.reason.startswith("float: ")
        if isinstance(layer, keras.layers.Dense):
            assert row.becomes == "INT8", row
        only_moves = layers.FirstToken | layers.GatherPositions | layers.SelectLast
        if row.reason == "float: moves data only":
            assert isinstance(layer, only_moves), row


def test_plan_of_what_stays_float():
    rows = planned(encoder())
    assert "softmax" in rows["encoder_00/attention/softmax"].reason
    assert "GELU" in rows["encoder_00/ffn/gelu"].reason
    assert "more than 8 bits" in rows["encoder_00/ffn/norm"].reason
    assert rows["embeddings/word"].reason == "table INT8, one scale a row"


def test_float_layers_and_the_points_before_them_stay_float():
    rows = planned(encoder(), "encoder_00/attention/(query|key)", "encoder_00/ffn/output", "pooler")
    for name in ("encoder_00/attention/query", "encoder_00/ffn/output", "pooler"):
        assert (rows[name].becomes, rows[name].reason) == ("float", "float: asked by float_layers")
    # The value still needs it; nothing needs the other two.
    assert rows["encoder_00/attention/input"].becomes == "INT8"
    for name in ("encoder_00/ffn/activation", "pooler/input"):
        assert rows[name].becomes == "float" and "float_layers" in rows[name].reason
    rows = planned(encoder(), "encoder_00/attention/.*")
    assert rows["encoder_00/attention/input"].becomes == "float"
    assert rows["encoder_00/attention/context"].becomes == "float"


def test_a_pattern_must_match_a_dense_layer():
    for pattern in ("encoder_00/ffn/outputs", "embeddings/word"):
        with pytest.raises(UserError, match=f"rule '{pattern}' matches no layer"):
            scheme.plan(encoder(), [pattern])
        with pytest.raises(UserError, match=f"rule '{pattern}' matches no layer"):
            scheme.apply(ENCODER, HEAD, encoder(), [pattern])


# Model


@pytest.fixture(scope="module")
def models():
    """A float model, and the same with INT8 emulated and ranges calibrated on three batches."""
    dense = encoder()
    student = scheme.apply(ENCODER, HEAD, dense)
    ranges.calibrate(student, [inputs(8, seed=seed) for seed in range(3)])
    return dense, student


def wrapped(student):
    return {
        base_layer(layer).name: layer
        for layer in student.layers
        if isinstance(layer, QuantizeWrapper)
    }


def test_the_plan_is_what_happens(models):
    dense, student = models
    int8 = {name for name, row in planned(dense).items() if row.becomes == "INT8"}
    assert set(wrapped(student)) == int8
    with_ranges = {name for name in int8 if not name.startswith("embeddings/")}
    assert set(ranges.trained_ranges(student)) == with_ranges


def test_weights_are_the_float_model_s(models):
    dense, student = models
    before, after = values(dense), values(student)
    assert list(after) == list(before)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)
    assert {v.ref() for v in student.trainable_variables} == {
        v.ref() for v in parameters(student).values()
    }


def test_the_dense_model_is_left_alone(models):
    assert not wrapped(models[0])
    again = encoder()
    np.testing.assert_array_equal(models[0](inputs())["logits"], again(inputs())["logits"])


def test_logits_are_those_of_the_float_model_within_quantization_error(models):
    dense, student = models
    expected, actual = (model(inputs(64, seed=1))["logits"].numpy() for model in models)
    # A dozen roundings in a row, each off by up to 1/510 of a range; random, they add up to about
    # 1 %. A wrong scale or a missing range would give errors as large as the logits.
    assert 0 < np.abs(actual - expected).mean() < 0.02 * np.abs(expected).max()


def test_each_dense_layer_computes_with_rounded_kernel_and_output(models):
    _, student = models
    wrappers = wrapped(student)
    names = [name for name, w in wrappers.items() if isinstance(w.layer, keras.layers.Dense)]
    tensors = {name: (wrappers[name].input, wrappers[name].output) for name in names}
    seen = keras.Model(student.inputs, tensors)(inputs(8, seed=4))
    weights, trained = values(student), ranges.trained_ranges(student)
    assert len(names) == 8
    for name in names:
        x, y = seen[name]
        kernel = fake_quantize_symmetric(tf.constant(weights[f"{name}/kernel"]), axis=0)
        expected = tf.tensordot(x, kernel, 1) + weights[f"{name}/bias"]
        low, high = trained[name]
        expected = tf.quantization.fake_quant_with_min_max_vars(expected, low, high)
        step = (high - low) / 255
        off = np.abs(y - expected)
        # Another order of summation may push a number that lies on a border over it.
        assert np.mean(off > 0.01 * step) < 0.01 and off.max() < 1.01 * step


def test_inputs_of_dense_layers_are_integers_of_their_range(models):
    _, student = models
    wrappers, trained = wrapped(student), ranges.trained_ranges(student)
    point = "encoder_00/ffn/activation"
    y = keras.Model(student.inputs, wrappers[point].output)(inputs()).numpy()
    low, high = trained[point]
    steps = y * 255 / (high - low)
    assert len(np.unique(y)) > 20 and np.abs(steps - np.rint(steps)).max() < 1e-3


# INT8 attention

ATTENTION = "encoder_00/attention"


@pytest.fixture(scope="module")
def attending():
    """The model that emulates INT8 with INT8 attention, its ranges calibrated."""
    student = scheme.apply(ENCODER, HEAD, encoder(), int8_attention=True)
    ranges.calibrate(student, [inputs(8, seed=seed) for seed in range(3)])
    return student


def test_operands_of_int8_attention(attending):
    wrappers, trained = wrapped(attending), ranges.trained_ranges(attending)
    names = ("key", "value", "scores", "softmax")
    layers_of = {name: wrappers[f"{ATTENTION}/{name}"] for name in names}
    seen = keras.Model(attending.inputs, {name: layer.output for name, layer in layers_of.items()})(
        inputs(8, seed=4)
    )
    for name in ("key", "value"):
        low, high = trained[f"{ATTENTION}/{name}"]
        # From -128 to 127 steps, so the zero point is 0.
        assert low / high == pytest.approx(-128 / 127)
    for name in ("key", "value", "scores"):
        low, high = trained[f"{ATTENTION}/{name}"]
        steps = seen[name].numpy() * 255 / (high - low)
        assert len(np.unique(steps)) > 20 and np.abs(steps - np.rint(steps)).max() < 1e-3
    steps = 255 * seen["softmax"].numpy()
    assert steps.max() > 50 and np.abs(steps - np.rint(steps)).max() < 1e-3


def test_ranges_of_int8_attention_fit_its_model_only(attending, models):
    saved = ranges.trained_ranges(attending)
    assert set(saved) - set(ranges.trained_ranges(models[1])) == {f"{ATTENTION}/scores"}
    again = scheme.apply(ENCODER, HEAD, models[0], int8_attention=True)
    ranges.assign_ranges(again, saved)
    np.testing.assert_array_equal(again(inputs())["logits"], attending(inputs())["logits"])
    with pytest.raises(UserError, match="no saved range for encoder_00/attention/scores"):
        ranges.assign_ranges(again, ranges.trained_ranges(models[1]))


def test_attention_beside_float_layers_stays_float():
    rows = {
        row.layer: row.becomes
        for row in scheme.plan(encoder(), [f"{ATTENTION}/output"], int8_attention=True)
    }
    assert rows[f"{ATTENTION}/key"] == "INT8" and rows[f"{ATTENTION}/scores"] == "float"
    rows = {row.layer: row for row in scheme.plan(encoder(), int8_attention=True)}
    assert rows[f"{ATTENTION}/scores"].becomes == "INT8"
    assert "symmetric" in rows[f"{ATTENTION}/key"].reason
    assert "rounded" in rows[f"{ATTENTION}/softmax"].reason


def test_embeddings_are_rounded_by_row():
    """With all Dense layers float, the model is the float one with rounded tables."""
    dense = encoder()
    student = scheme.apply(ENCODER, HEAD, dense, [".*"])
    assert set(wrapped(student)) == {f"embeddings/{n}" for n in ("word", "position", "type")}
    for name, table in parameters(dense).items():
        if name.endswith("/embeddings"):
            table.assign(fake_quantize_symmetric(table, axis=-1))
    # The same arithmetic in another graph.
    np.testing.assert_allclose(
        student(inputs())["logits"], dense(inputs())["logits"], rtol=0, atol=2e-6
    )


def test_distilbert_and_optional_outputs():
    dense = encoder(config=DISTILBERT)
    student = scheme.apply(DISTILBERT, HEAD, dense, hidden_states=True, attention_scores=True)
    batch = {k: v for k, v in inputs().items() if k != "input_type_ids"}
    ranges.calibrate(student, [batch])
    outputs = student(batch)
    assert {"logits", "hidden_states/01", "attention_scores/00"} <= set(outputs)
    assert "classifier/pre" in ranges.trained_ranges(student)
    expected = dense(batch)["logits"].numpy()
    assert np.abs(outputs["logits"] - expected).max() < 0.05 * np.ptp(expected)


def test_the_table_has_encoder_layers_that_are_alike_once(capsys):
    def dense(layer, becomes="INT8"):
        return scheme.PlannedLayer(layer, "Dense", becomes, "a reason")

    print_plan(
        [
            *(dense("encoder_00/a"), dense("encoder_00/b")),
            *(dense("encoder_01/a"), dense("encoder_01/b", "float")),
            *(dense("encoder_02/a"), dense("encoder_02/b")),
            dense("pooler"),
        ]
    )
    shown = [tuple(line.split()[:3:2]) for line in capsys.readouterr().out.splitlines()[2:]]
    assert shown == [
        ("encoder_*/a", "INT8"),
        ("encoder_00,02/b", "INT8"),
        ("encoder_01/b", "float"),
        ("pooler", "INT8"),
    ]
