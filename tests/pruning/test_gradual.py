from dataclasses import dataclass, replace

import numpy as np
import pytest
from small_models import compiled, dataset, encoder, hard_distiller, inputs

from tf_prune_ofa.config import SparsitySettings
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.models.bert import copy_parameters, dense_kernels, parameters
from tf_prune_ofa.pruning.gradual import GradualPruning, UpdateMasks, pruning_wrap, wrapper_masks
from tf_prune_ofa.pruning.lock import PatternLock, sparsity_of
from tf_prune_ofa.pruning.plan import asked_sparsity, plan_pools
from tf_prune_ofa.pruning.rules import Rule
from tf_prune_ofa.pruning.scores import find_score
from tf_prune_ofa.schedules import SparsitySchedule, zeros_of
from tf_prune_ofa.train.callbacks import SaveCheckpoints

# In training

SCHEDULE = SparsitySchedule(0.85, begin=3, ramp_end=8, mask_end=10, frequency=3, initial=0.3)
UPDATES, LAST, STEPS = (3, 6, 9), 9, 24
SPARSITIES = {
    "encoder_00/attention/query": 0.85,
    "encoder_00/ffn/intermediate": 0.85,
    "encoder_00/ffn/output": 0.5,
    "pooler": 0.2,  # less than the schedule's initial sparsity
}


@dataclass
class Snapshot:
    """What there is after a training step."""

    kernels: dict
    masks: dict
    first_moments: dict
    second_moments: dict
    pruning_steps: set
    iterations: int
    asked: float


class Recorder(keras.callbacks.Callback):
    def __init__(self, student, optimizer):
        super().__init__()
        self.student, self.optimizer = student, optimizer
        self.snapshots = []

    def on_train_batch_end(self, batch, logs=None):
        kernels = dense_kernels(self.student)
        masks = {name: mask.numpy() for name, mask in wrapper_masks(self.student).items()}
        slots = [moments(self.optimizer, kernels[name]) for name in masks]
        wrappers = [w for w in self.student.layers if isinstance(w, GradualPruning)]
        self.snapshots.append(
            Snapshot(
                {name: kernels[name].numpy() for name in masks},
                masks,
                {name: slot[0] for name, slot in zip(masks, slots, strict=True)},
                {name: slot[1] for name, slot in zip(masks, slots, strict=True)},
                {int(wrapper.pruning_step) for wrapper in wrappers},
                int(self.optimizer.iterations),
                asked_sparsity(POOLS, len(self.snapshots) + 1),
            )
        )


def moments(optimizer, variable):
    index = optimizer._index_dict[optimizer._var_key(variable)]
    return optimizer._momentums[index].numpy(), optimizer._velocities[index].numpy()


def pools_of(model, sparsities, schedule):
    rules = {name: Rule(name, sparsity) for name, sparsity in sparsities.items()}
    shapes = {name: tuple(kernel.shape) for name, kernel in dense_kernels(model).items()}
    return plan_pools(rules, shapes, schedule, heads=2)


POOLS = pools_of(encoder(), SPARSITIES, SCHEDULE)
MAGNITUDE = find_score("magnitude")(SparsitySettings(), 0)


def prune(student, steps, *, callbacks=()):
    lock = PatternLock(dense_kernels(student), wrapper_masks(student))
    distiller = compiled(hard_distiller(student, lock=lock))
    recorder = Recorder(student, distiller.optimizer)
    updates = UpdateMasks(POOLS, student, MAGNITUDE)
    distiller.fit(dataset(steps), verbose=0, callbacks=[updates, recorder, *callbacks])
    return recorder.snapshots, distiller


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One pruning run; the checkpoint of step 8 lies between two updates and inside an epoch."""
    student = encoder(wrap=pruning_wrap(POOLS, MAGNITUDE))
    folder = tmp_path_factory.mktemp("checkpoint")
    checkpoint = tf.train.Checkpoint(student=student)
    manager = tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=9)
    saving = SaveCheckpoints(manager, start_step=0, every=8)
    snapshots, distiller = prune(student, STEPS, callbacks=[saving])
    return snapshots, folder, distiller


def each_mask(snapshots):
    return [
        (step, name, snapshot)
        for step, snapshot in enumerate(snapshots, start=1)
        for name in SPARSITIES
    ]


def test_counts_are_exact_after_every_step(run):
    for step, name, snapshot in each_mask(run[0]):
        final = SPARSITIES[name]
        schedule = replace(SCHEDULE, final=final, initial=min(SCHEDULE.initial, final))
        expected = zeros_of(snapshot.masks[name].size, schedule.asked(step - 1))
        assert int((snapshot.masks[name] == 0).sum()) == expected, (step, name)
    final = run[0][-1].masks
    assert int((final["encoder_00/ffn/intermediate"] == 0).sum()) == 109  # 0.85 · 128 = 108.8
    assert int((final["encoder_00/ffn/output"] == 0).sum()) == 64


def test_asked_sparsity_is_the_measured_one(run):
    """Different layers ask for different sparsities; rounding to whole weights is part of it."""
    for snapshot in run[0]:
        assert snapshot.asked == pytest.approx(sparsity_of(snapshot.masks), abs=1e-12)
    assert run[0][0].asked == 0 < run[0][UPDATES[0]].asked < run[0][-1].asked


def test_masks_change_at_the_schedule_s_steps_only(run):
    masks = [np.ones_like(run[0][0].masks["pooler"])] + [s.masks["pooler"] for s in run[0]]
    changes = [step for step in range(STEPS) if np.any(masks[step + 1] != masks[step])]
    assert changes == [3]  # the pooler is at its final 0.2 from the first update
    name = "encoder_00/ffn/intermediate"
    masks = [run[0][0].masks[name]] + [s.masks[name] for s in run[0]]
    assert [t for t in range(STEPS) if np.any(masks[t + 1] != masks[t])] == list(UPDATES)


def test_pruned_weights_are_zero_after_every_step(run):
    for step, name, snapshot in each_mask(run[0]):
        assert not np.any(snapshot.kernels[name][snapshot.masks[name] == 0]), (step, name)


def test_masks_only_shrink(run):
    for before, after in zip(run[0], run[0][1:], strict=False):
        assert all(np.all(after.masks[name] <= before.masks[name]) for name in SPARSITIES)


def test_pruning_step_is_the_optimizer_s(run):
    for step, snapshot in enumerate(run[0], start=1):
        assert snapshot.iterations == step and snapshot.pruning_steps == {step}


def test_moments_of_pruned_weights_fade_with_nothing_added(run):
    """Their gradient is zero: each step leaves beta_1 = 0.9 and beta_2 = 0.999 of the moments."""
    had_momentum = 0
    for before, after in zip(run[0], run[0][1:], strict=False):
        for name in SPARSITIES:
            pruned = after.masks[name] == 0
            for decay, old, new in (
                (0.9, before.first_moments, after.first_moments),
                (0.999, before.second_moments, after.second_moments),
            ):
                # A multiplication in float32.
                np.testing.assert_allclose(new[name][pruned], decay * old[name][pruned], rtol=1e-5)
            had_momentum += np.count_nonzero(before.first_moments[name][pruned])
    assert had_momentum > 1000  # they were trained before they were pruned


def test_momentum_does_not_revive_after_the_last_update(run):
    """Fifteen AdamW steps with decay and momentum; the kept weights move all the while."""
    locked = run[0][LAST]
    for snapshot in run[0][LAST + 1 :]:
        for name in SPARSITIES:
            np.testing.assert_array_equal(snapshot.masks[name], locked.masks[name])
            kept = snapshot.masks[name] == 1
            assert not np.any(snapshot.kernels[name][~kept])
            assert np.all(snapshot.kernels[name][kept] != locked.kernels[name][kept])
    assert np.any(run[0][-1].first_moments["encoder_00/ffn/output"])
    assert STEPS - LAST - 1 >= 10


def test_a_checkpoint_inside_an_epoch_is_exactly_sparse_on_disk(run):
    snapshots, folder, _ = run
    reader = tf.train.load_checkpoint(str(folder / "ckpt-8"))
    stored = [
        reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.startswith("student")
    ]
    for name in SPARSITIES:
        kernel, mask = snapshots[7].kernels[name], snapshots[7].masks[name]
        assert sum(np.array_equal(kernel, array) for array in stored) == 1
        assert sum(np.array_equal(mask, array) for array in stored) >= 1
        assert not np.any(kernel[mask == 0])


def test_layers_without_a_rule_stay_as_they_are(run):
    student = run[2].student
    wrapped = {layer.layer.name for layer in student.layers if isinstance(layer, GradualPruning)}
    assert wrapped == set(SPARSITIES) == set(wrapper_masks(student))
    kernels = dense_kernels(student)
    assert set(kernels) > wrapped and np.all(kernels["encoder_00/attention/key"].numpy())


def test_a_pruned_model_computes_what_its_dense_twin_with_zeros_does(run):
    student, twin = run[2].student, encoder(seed=5)
    copy_parameters(student, twin)
    # The same arithmetic in another graph.
    batch = inputs(seed=9)
    difference = student(batch)["logits"] - twin(batch)["logits"]
    assert float(tf.reduce_max(tf.abs(difference))) < 1e-6


# The schedule's corners, on one layer


def pruned_dense(schedule, inputs=8, outputs=8):
    x = keras.Input([inputs], name="x")
    layer = keras.layers.Dense(outputs, name="a")
    shapes = {"a": (inputs, outputs)}
    pools = plan_pools({"a": Rule("a", schedule.final)}, shapes, schedule, heads=1)
    layer = pruning_wrap(pools, MAGNITUDE)(layer)
    model = keras.Model({"x": x}, {"logits": layer(x)})
    rng = np.random.default_rng(0)
    dense_kernels(model)["a"].assign(rng.normal(0, 1, [inputs, outputs]))
    return model, pools


def zeros_while_pruning(model, pools, steps):
    """Zeros of the mask after each step."""
    lock = PatternLock(dense_kernels(model), wrapper_masks(model))
    distiller = compiled(hard_distiller(model, lock=lock))
    counts = []
    count = keras.callbacks.LambdaCallback(
        on_batch_end=lambda batch, logs: counts.append(
            int((wrapper_masks(model)["a"].numpy() == 0).sum())
        )
    )
    x = np.random.default_rng(1).normal(0, 1, [steps, 4, 8]).astype(np.float32)
    data = {"x": x}, {"labels": np.zeros([steps, 4], np.int32)}
    batches = tf.data.Dataset.from_tensor_slices(data)
    distiller.fit(batches, verbose=0, callbacks=[UpdateMasks(pools, model, MAGNITUDE), count])
    return counts


@pytest.mark.parametrize("begin", [0, 2])
def test_one_shot(begin):
    schedule = SparsitySchedule(0.5, begin, ramp_end=begin, mask_end=begin, frequency=1)
    assert zeros_while_pruning(*pruned_dense(schedule), begin + 2) == [0] * begin + [32, 32]


def test_a_schedule_that_begins_at_0_prunes_before_the_first_step():
    schedule = SparsitySchedule(0.9, 0, ramp_end=4, mask_end=4, frequency=4, initial=0.7)
    assert zeros_while_pruning(*pruned_dense(schedule), 5) == [45, 45, 45, 45, 58]  # of 64


def test_already_sparse_weights_get_the_asked_count():
    """A threshold would keep all of them: 56 of 64 are zero, so |w| >= 0 would be asked."""
    schedule = SparsitySchedule(0.5, 0, ramp_end=0, mask_end=3, frequency=1)
    model, pools = pruned_dense(schedule)
    kernel = dense_kernels(model)["a"]
    sparse = kernel.numpy()
    sparse[1:] = 0
    kernel.assign(sparse)
    assert zeros_while_pruning(model, pools, 5) == [32] * 5
    assert np.all(wrapper_masks(model)["a"].numpy()[0] == 1)


# Patterns

ATTENTION = [f"encoder_00/attention/{name}" for name in ("query", "key", "value", "output")]
FFN = ["encoder_00/ffn/intermediate", "encoder_00/ffn/output"]
MIXES = {
    "joint": dict.fromkeys(ATTENTION, Rule("a", 0.5, "heads"))
    | dict.fromkeys(FFN, Rule("f", 0.75, "neurons"))
    | {"pooler": Rule("p", 0.5, "2:4")},
    "blocks": {
        name: Rule(name, 0.5, pattern)
        for name, pattern in zip(ATTENTION, ("1x4", "4x1", "2:4", "unstructured"), strict=True)
    }
    | {FFN[0]: Rule("i", 0.75, "8x4"), FFN[1]: Rule("o", 0.75, "4x8")},
}


def units_of(mask, pattern, *, reads):
    """The units of a mask [in, out], one a row; `reads`: joint units are its inputs."""
    rows = mask.T  # outputs x inputs
    if "x" in pattern:
        high, wide = map(int, pattern.split("x"))
        tiles = rows.reshape(rows.shape[0] // high, high, rows.shape[1] // wide, wide)
        return tiles.transpose(0, 2, 1, 3).reshape(-1, high * wide)
    count = {"heads": 2, "neurons": 16, "2:4": rows.size // 4, "unstructured": rows.size}[pattern]
    return (rows.T if reads else rows).reshape(count, -1)


@pytest.mark.parametrize("mix", MIXES)
def test_patterns_in_training(mix):
    rules = MIXES[mix]
    shapes = {name: tuple(kernel.shape) for name, kernel in dense_kernels(encoder()).items()}
    schedule = SparsitySchedule(0.75, begin=0, ramp_end=4, mask_end=6, frequency=2)
    pools = plan_pools(rules, shapes, schedule, heads=2)
    student = encoder(wrap=pruning_wrap(pools, MAGNITUDE))
    lock = PatternLock(dense_kernels(student), wrapper_masks(student))
    distiller = compiled(hard_distiller(student, lock=lock))
    distiller.fit(dataset(8), verbose=0, callbacks=[UpdateMasks(pools, student, MAGNITUDE)])
    kernels = dense_kernels(student)
    for name, mask in wrapper_masks(student).items():
        rule = rules[name]
        assert float(1 - np.mean(mask)) == rule.sparsity
        assert not kernels[name].numpy()[mask.numpy() == 0].any()
        units = units_of(mask.numpy(), rule.pattern, reads=name.endswith("output"))
        if rule.pattern == "2:4":
            assert np.all(units.sum(axis=1) == 2)
        else:
            assert np.all(units == units[:, :1])


def test_dead_heads_and_neurons_do_not_count():
    """Their biases may be anything: the model computes what it would without them."""
    rules = MIXES["joint"]
    student = encoder()
    shapes = {name: tuple(kernel.shape) for name, kernel in dense_kernels(student).items()}
    once = SparsitySchedule(0.75, begin=0, ramp_end=0, mask_end=0, frequency=1)
    kernels = dense_kernels(student)
    scores = {name: np.abs(kernel.numpy()) for name, kernel in kernels.items()}
    ones = {name: np.ones(shape) for name, shape in shapes.items()}
    for pool in plan_pools(rules, shapes, once, heads=2):
        for name, mask in pool.masks(0, scores, ones).items():
            kernels[name].assign(kernels[name] * mask)
    before = student(inputs())["logits"]
    for name in (*ATTENTION[:3], FFN[0]):
        bias = parameters(student)[f"{name}/bias"]
        dead = ~np.any(kernels[name].numpy(), axis=0)
        assert 0 < dead.sum() < dead.size
        bias.assign(np.where(dead, 7.0, bias.numpy()))
    np.testing.assert_allclose(student(inputs())["logits"], before, atol=1e-6)
