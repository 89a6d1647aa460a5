import numpy as np
import pytest
from small_models import ENCODER, compiled, dataset, encoder, hard_distiller, inputs, values

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models.bert import Classification, copy_parameters, dense_kernels
from tf_prune_ofa.pruning.lock import PatternLock
from tf_prune_ofa.quant import ranges, scheme
from tf_prune_ofa.quant.ranges import assign_ranges, trained_ranges
from tf_prune_ofa.train.callbacks import AtStep

POINT = "encoder_00/attention/input"


def quantized():
    return scheme.apply(ENCODER, Classification(2), encoder())


# Calibration


def test_calibration_takes_the_mean_of_the_batches_ranges():
    student = quantized()
    batches = [inputs(seed=seed) for seed in range(4)]
    ranges.calibrate(student, batches)
    # What comes before this point has no trained range itself.
    before = keras.Model(student.inputs, student.get_layer("quant_" + POINT).input)
    seen = [before(batch).numpy() for batch in batches]
    expected = np.mean([(min(x.min(), 0), max(x.max(), 0)) for x in seen], axis=0)
    # Four float32 averages.
    np.testing.assert_allclose(trained_ranges(student)[POINT], expected, rtol=1e-6)
    assert all(low <= 0 <= high and low < high for low, high in trained_ranges(student).values())


def test_calibration_changes_no_weight():
    student = quantized()
    before = values(student)
    ranges.calibrate(student, [inputs()])
    for name, value in values(student).items():
        np.testing.assert_array_equal(value, before[name])


# Training


class Recorder(keras.callbacks.Callback):
    def __init__(self, student):
        super().__init__()
        self.student, self.ranges, self.weights = student, [], []

    def on_train_batch_end(self, batch, logs=None):
        self.ranges.append(trained_ranges(self.student))
        self.weights.append(values(self.student))


@pytest.fixture(scope="module")
def run():
    """Ten steps of quantization-aware training with a lock; ranges are frozen before step 6."""
    student = quantized()
    kernels = dense_kernels(student)
    rng = np.random.default_rng(0)
    masks = {name: rng.random(kernel.shape) < 0.15 for name, kernel in kernels.items()}
    for name, mask in masks.items():
        kernels[name].assign(kernels[name] * mask)
    ranges.calibrate(student, [inputs()])
    ranges.set_momentum(student, 0.5)
    distiller = compiled(hard_distiller(student, lock=PatternLock(kernels, masks)))
    recorder = Recorder(student)
    freeze = AtStep(6, lambda: ranges.set_momentum(student, 1.0), start_step=0)
    distiller.fit(dataset(10), verbose=0, callbacks=[freeze, recorder])
    return recorder, masks, student


def test_ranges_move_and_then_stand_still_to_the_last_bit(run):
    history = run[0].ranges
    for before, after in zip(history[:5], history[1:6], strict=True):
        assert all(after[name] != before[name] for name in before)
    assert all(later == history[5] for later in history[6:])


def test_weights_go_on_when_ranges_stand_still(run):
    before, after = run[0].weights[5], run[0].weights[9]
    assert all(np.any(after[name] != before[name]) for name in before)


def test_locked_zeros_stay(run):
    recorder, masks, student = run
    for weights in recorder.weights:
        for name, mask in masks.items():
            kernel = weights[f"{name}/kernel"]
            assert not np.any(kernel[~mask]) and np.all(kernel[mask])
    # In the integers, too.
    for name, mask in masks.items():
        kernel = dense_kernels(student)[name]
        rounded = scheme.ChannelWeights()(kernel, False, {}).numpy()
        assert not np.any(rounded[~mask])


def test_evaluation_moves_nothing(run):
    student = run[2]
    ranges.set_momentum(student, 0.0)
    before = trained_ranges(student)
    student(inputs(seed=77), training=False)
    assert trained_ranges(student) == before


def test_assigned_ranges_make_the_same_model(run):
    student, twin = run[2], quantized()
    copy_parameters(student, twin)
    assign_ranges(twin, trained_ranges(student))
    assert trained_ranges(twin) == trained_ranges(student)
    np.testing.assert_array_equal(twin(inputs())["logits"], student(inputs())["logits"])
    twin(inputs(seed=5), training=True)  # they come back frozen
    assert trained_ranges(twin) == trained_ranges(student)


def test_a_missing_range_is_named(run):
    trained = trained_ranges(run[2])
    del trained[POINT]
    with pytest.raises(UserError, match=f"no saved range for {POINT}; quantize the model again"):
        assign_ranges(quantized(), trained)
