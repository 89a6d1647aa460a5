import json

import numpy as np
import pytest
from small_models import compiled, dataset, encoder, hard_distiller

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import tf
from tf_prune_ofa.models.bert import dense_kernels
from tf_prune_ofa.pruning.lock import (
    PatternLock,
    assert_same_zeros,
    assert_zeros,
    load_masks,
    masks_from_weights,
    save_masks,
    sparsity_of,
)

NAMES = ("encoder_00/attention/query", "encoder_00/ffn/output", "pooler")


@pytest.fixture
def masks():
    rng = np.random.default_rng(0)
    # Sizes that are no multiple of 8, and a layer with nothing pruned.
    return {
        "encoder_00/ffn/output": rng.random((5, 7)) < 0.2,
        "pooler": rng.random((3, 3)) < 0.5,
        "classifier": np.ones((1, 2), bool),
    }


# Masks as a file


def test_masks_come_back_from_their_file(masks, tmp_path):
    save_masks(tmp_path / "deep" / "masks.npz", masks)
    loaded = load_masks(tmp_path / "deep" / "masks.npz")
    assert list(loaded) == list(masks)
    for name, mask in masks.items():
        assert loaded[name].dtype == bool
        np.testing.assert_array_equal(loaded[name], mask)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["masks.npz"]


def test_masks_take_a_bit_a_weight(tmp_path):
    save_masks(tmp_path / "masks.npz", {"a": np.ones((512, 512), bool)})
    # 32 kB of bits, and a few hundred bytes of headers.
    assert 32_768 < (tmp_path / "masks.npz").stat().st_size < 34_000


def test_equal_masks_make_equal_files(masks, tmp_path):
    for name in ("a.npz", "b.npz"):
        save_masks(tmp_path / name, masks)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_missing_mask_file(tmp_path):
    with pytest.raises(UserError, match="no mask file at .*written by the stage that prunes"):
        load_masks(tmp_path / "masks.npz")


def _shapes(b):
    return json.dumps({"a": [2, 4], "b": b})


# What else such a file may hold: its shapes, and arrays beside `a` and `b` of eight bits.
OTHER_CONTENTS = {
    "one more mask": (_shapes([2, 4]), {"c": np.zeros(1, np.uint8)}),
    "shapes of 10**5 x 10**6": (_shapes([10**5, 10**6]), {}),
    "a shape of text": (_shapes("2x4"), {}),
    "a shape of three": (_shapes([1, 2, 4]), {}),
    "a shape below 0": (_shapes([-2, -4]), {}),
    "a shape that is smaller": (_shapes([1, 3]), {}),
    "integers": (_shapes([2, 4]), {"b": np.zeros(1, np.int32)}),
    "deep shapes": ("[" * 100_000, {}),
}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("cut", "is damaged"),
        ("empty", "is damaged"),
        ("text", "is damaged"),
        ("flipped", "is damaged"),
        ("no shapes", "is damaged .without 'shapes'"),
        ("no mask", "is no mask file .masks of none, shapes of 1 layers .a.."),
        ("no masks at all", "is no mask file .masks of none, shapes of none"),
        ("one more mask", r"masks of 3 layers .*, shapes of 2 layers"),
        # NumPy makes up the bits that are missing, of any number: 12 GB of them.
        ("shapes of 10**5 x 10**6", "'b' has no 100000 x 1000000 bits"),
        ("a shape of text", "'b' has no shape of a kernel, got 2x4"),
        ("a shape of three", r"'b' has no shape of a kernel, got \[1, 2, 4\]"),
        ("a shape below 0", r"'b' has no shape of a kernel, got \[-2, -4\]"),
        ("a shape that is smaller", "'b' has bits beyond 1 x 3"),
        ("integers", "'b' has no 2 x 4 bits"),
        ("deep shapes", "is no mask file"),
    ],
)
def test_a_damaged_mask_file(masks, tmp_path, damage, message):
    path = tmp_path / "masks.npz"
    save_masks(path, {**masks, "large": np.arange(8000).reshape(80, 100) % 3 == 0})
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_bytes(b"not a zip file")
    elif damage == "flipped":
        at = data.index(np.packbits(np.arange(8000) % 3 == 0).tobytes()[:20])
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    elif damage == "no shapes":
        np.savez(path, a=np.zeros(3))
    elif damage in OTHER_CONTENTS:
        shapes, more = OTHER_CONTENTS[damage]
        eight = np.packbits(np.ones(8, bool))
        np.savez(path, **{"a": eight, "b": eight, "shapes": np.array(shapes)} | more)
    elif damage == "no masks at all":
        np.savez(path, shapes=np.array("{}"))
    else:
        np.savez(path, shapes=np.array('{"a": [2, 4]}'))
    with pytest.raises(UserError, match=f"{message}.*; run the stage that wrote it again"):
        load_masks(path)


# Masks from weights


def test_masks_of_a_sparse_checkpoint_are_its_zeros():
    kernel = np.array([[0.0, -0.0, 1e-30], [2, -3, 0]], np.float32)
    masks = masks_from_weights({"a": kernel})
    assert masks["a"].tolist() == [[False, False, True], [True, True, False]]
    assert sparsity_of(masks) == 0.5


def test_a_dense_layer_has_no_pattern():
    kernels = {"a": np.eye(2), "b": np.ones((2, 2)), "c": np.ones((2, 2))}
    with pytest.raises(UserError, match="no sparsity pattern to lock in 2 of 3 layers, e.g. b"):
        masks_from_weights(kernels)


def test_sparsity_is_over_all_kernels_together():
    masks = {"a": np.ones((1, 10), bool), "b": np.zeros((3, 10), np.float32)}
    assert sparsity_of(masks) == 0.75


# Assertion


def test_a_revived_weight_is_named():
    masks = {"a": np.array([[True, False, False]]), "b": np.array([[True, False]])}
    kernels = {"a": np.array([[1.0, 0.0, -0.0]]), "b": np.array([[0.0, 0.0]]), "c": np.ones(3)}
    assert_zeros(kernels, masks, where="the test")
    kernels["a"][0, 2] = 1e-45
    with pytest.raises(UserError) as error:
        assert_zeros({**kernels, "a": tf.Variable(kernels["a"])}, masks, where="the test")
    assert "broken in the test (1 layer)" in str(error.value)
    assert "a: 1 of 2 pruned weights not zero" in str(error.value)


def test_nan_is_not_zero():
    with pytest.raises(UserError, match="1 of 1 pruned weights not zero"):
        assert_zeros({"a": np.array([[np.nan]])}, {"a": np.array([[False]])}, where="the test")


def test_masks_of_another_model_are_refused():
    masks = {"a": np.array([[True, False]]), "b": np.array([[True]])}
    with pytest.raises(UserError) as error:
        assert_zeros({"a": np.zeros((2, 1))}, masks, where="the test")
    assert "a: kernel (2, 1), mask (1, 2)" in str(error.value)
    assert "b: no such layer" in str(error.value)
    kernels = {"a": tf.Variable(tf.zeros([2, 1]))}
    for mask in masks.items():
        with pytest.raises(UserError, match="fits no kernel of the model"):
            PatternLock(kernels, dict([mask]))


def test_a_long_list_of_problems_is_cut():
    masks = {f"layer_{i}": np.array([[True]]) for i in range(40)}
    with pytest.raises(UserError) as error:
        assert_zeros({}, masks, where="the test")
    assert "(40 layers)" in str(error.value) and len(str(error.value).splitlines()) == 11


# Lock in training


def sparse_student(seed=0):
    """A student and the masks of its zeros: 85 % of three kernels."""
    student = encoder(seed=seed)
    kernels = dense_kernels(student)
    rng = np.random.default_rng(seed)
    masks = {name: rng.random(kernels[name].shape) < 0.15 for name in NAMES}
    for name, mask in masks.items():
        kernels[name].assign(kernels[name] * mask)
    return student, kernels, masks


def test_locked_weights_and_their_moments_stay_zero():
    student, kernels, masks = sparse_student()
    before = {name: kernel.numpy() for name, kernel in kernels.items()}
    lock = PatternLock(kernels, masks)
    distiller = compiled(hard_distiller(student, lock=lock, clip_norm=1.0), weight_decay=0.1)
    distiller.fit(dataset(12), verbose=0)
    optimizer = distiller.optimizer
    for name, mask in masks.items():
        kernel = kernels[name].numpy()
        assert not np.any(kernel[~mask]) and np.all(kernel[mask] != before[name][mask])
        index = optimizer._index_dict[optimizer._var_key(kernels[name])]
        for moment in (optimizer._momentums[index], optimizer._velocities[index]):
            assert not np.any(moment.numpy()[~mask]) and np.all(moment.numpy()[mask])
    free = "encoder_00/attention/key"
    assert np.all(kernels[free].numpy() != before[free])
    assert_zeros(kernels, masks, where="the end")


def test_without_a_lock_training_fills_the_zeros():
    """What the lock is for: one step is enough."""
    student, kernels, masks = sparse_student()
    compiled(hard_distiller(student)).fit(dataset(1), verbose=0)
    with pytest.raises(UserError, match=r"broken in one step \(3 layers\)"):
        assert_zeros(kernels, masks, where="one step")


def test_a_lock_follows_mask_variables():
    kernel, mask = tf.Variable([[1.0, 2.0]]), tf.Variable([[1.0, 1.0]])
    lock = PatternLock({"a": kernel}, {"a": mask})
    mask.assign([[1.0, 0.0]])
    [gradient, other] = lock.mask_gradients([tf.constant([[3.0, 4.0]]), None], [kernel, mask])
    lock.apply()
    assert gradient.numpy().tolist() == [[3, 0]] and other is None
    assert kernel.numpy().tolist() == [[1, 0]]


def test_a_constant_mask_takes_a_byte_a_weight():
    kernel = tf.Variable([[-1.0, 2.0]])
    captured = tf.function(PatternLock({"a": kernel}, {"a": np.array([[False, True]])}).apply)
    held = [t for t in captured.get_concrete_function().captured_inputs if t.dtype != tf.resource]
    assert sum(t.dtype.size * int(tf.size(t)) for t in held) == 2
    captured()
    assert kernel.numpy().tolist() == [[0, 2]]


def test_zeros_that_masks_leave_out_are_named():
    sparse = np.zeros((10, 20))
    sparse[:, :5] = 1
    kernels = {"a": sparse, "b": sparse, "c": np.ones((10, 20))}
    masks = {"a": sparse != 0, "b": sparse != 0}
    assert_same_zeros(kernels, masks, where="the test")
    # One of 200 may be zero by chance.
    kernels["c"][0, 0] = 0
    assert_same_zeros(kernels, masks, where="the test")
    kernels["c"][0, 1] = 0
    masks["a"] = masks["a"].copy()
    masks["a"][:, :7] = True
    del masks["b"]
    with pytest.raises(UserError) as error:
        assert_same_zeros(kernels, masks, where="the test")
    assert "broken in the test (3 layers)" in str(error.value)
    assert "a: 20 of 200 weights are zero, and the masks keep them" in str(error.value)
    assert "b: 150 of 200 weights are zero, and the layer has no mask" in str(error.value)
    assert "c: 2 of 200 weights are zero, and the layer has no mask" in str(error.value)


def test_no_masks_mean_that_nothing_is_zero():
    assert_same_zeros({"a": np.ones((3, 3))}, {}, where="the test")
    with pytest.raises(UserError, match="a: 4 of 4 weights are zero, and the layer has no mask"):
        assert_same_zeros({"a": np.zeros((2, 2))}, {}, where="the test")
