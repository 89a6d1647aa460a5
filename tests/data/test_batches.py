import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_prune_ofa.data.batches import BatchPlan, model_inputs, pad, to_dataset
from tf_prune_ofa.errors import UserError

plans = st.fixed_dictionaries(
    {
        "lengths": st.lists(st.integers(1, 100), min_size=1, max_size=300),
        "batch_size": st.integers(1, 9),
        "seed": st.integers(0, 5),
        "bucket": st.booleans(),
        "shuffle": st.booleans(),
    }
)


def epoch_of(plan, epoch):
    steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
    return [plan.indices(step) for step in steps]


@given(plans, st.integers(0, 3))
def test_wrapped_epoch_has_every_example_and_few_twice(settings, epoch):
    plan = BatchPlan(**settings)
    batches = epoch_of(plan, epoch)
    assert {len(batch) for batch in batches} == {plan.batch_size}
    seen = np.bincount(np.concatenate(batches), minlength=len(settings["lengths"]))
    assert seen.min() >= 1
    assert seen.sum() - len(seen) < plan.batch_size


@given(plans, st.integers(0, 3))
def test_short_epoch_has_every_example_once(settings, epoch):
    plan = BatchPlan(**settings, remainder="short")
    batches = epoch_of(plan, epoch)
    assert all(len(batch) == plan.batch_size for batch in batches[:-1])
    assert sorted(np.concatenate(batches)) == list(range(len(settings["lengths"])))


@given(plans, st.integers(0, 3))
def test_dropped_epoch_has_full_batches_of_different_examples(settings, epoch):
    count = len(settings["lengths"])
    settings["batch_size"] = min(settings["batch_size"], count)
    plan = BatchPlan(**settings, remainder="drop")
    seen = np.concatenate(epoch_of(plan, epoch))
    assert len(seen) == len(set(seen)) == count // plan.batch_size * plan.batch_size


@given(plans, st.integers(0, 60))
def test_a_new_plan_gives_the_same_batches_from_any_step(settings, step):
    whole = BatchPlan(**settings)
    batches = [whole.indices(i) for i in range(step + 5)]
    resumed = BatchPlan(**settings)
    for i in range(step, step + 5):
        np.testing.assert_array_equal(resumed.indices(i), batches[i])


def test_epochs_and_seeds_differ():
    def first(seed, step):
        return BatchPlan(np.ones(1000), 500, seed, bucket=False).indices(step).tolist()

    assert first(0, 0) != first(0, 2)
    assert first(0, 0) != first(1, 0)


def test_buckets_hold_like_lengths():
    lengths = np.random.default_rng(0).integers(3, 65, 6400)

    def padded_share(bucket):
        plan = BatchPlan(lengths, 32, bucket=bucket)
        padded = sum(lengths[batch].max() * len(batch) for batch in epoch_of(plan, 0))
        return padded / lengths.sum() - 1

    # Chunks of 50 batches sorted: neighbours differ by about 62 / 50 tokens of a mean of 33.5.
    assert padded_share(bucket=True) < 0.04
    # Without, the longest of 32 is near 64 where the mean is 33.5.
    assert padded_share(bucket=False) > 0.7


def test_batches_do_not_come_sorted():
    lengths = np.arange(3200)
    plan = BatchPlan(lengths, 32)
    longest = [int(batch.max()) for batch in epoch_of(plan, 0)]
    assert longest != sorted(longest)


def test_unshuffled_order():
    plan = BatchPlan([5, 1, 4, 2, 3], 2, shuffle=False, bucket=False, remainder="short")
    assert [batch.tolist() for batch in epoch_of(plan, 1)] == [[0, 1], [2, 3], [4]]
    plan = BatchPlan([5, 1, 4, 2, 3], 2, shuffle=False, remainder="short")
    assert [batch.tolist() for batch in epoch_of(plan, 1)] == [[1, 3], [4, 2], [0]]


def test_epoch_of_a_step():
    plan = BatchPlan(np.ones(10), 4)
    assert plan.steps_per_epoch == 3
    assert [plan.epoch(step) for step in (0, 2, 3, 6)] == [0, 0, 1, 2]


def test_fewer_examples_than_a_batch_are_repeated():
    assert np.bincount(BatchPlan([1, 1, 1], 8).indices(0)).tolist() in (
        [3, 3, 2],
        [3, 2, 3],
        [2, 3, 3],
    )


def test_bad_plans():
    with pytest.raises(UserError, match="0 examples"):
        BatchPlan([], 4)
    with pytest.raises(UserError, match="3 examples do not make a batch of 4"):
        BatchPlan([1, 2, 3], 4, remainder="drop")
    with pytest.raises(UserError, match="batch size is 0"):
        BatchPlan([1], 0)
    with pytest.raises(ValueError, match="'ragged'"):
        BatchPlan([1], 1, remainder="ragged")


def test_pad():
    arrays = [np.array([1, 2, 3]), np.array([4])]
    assert pad(arrays, max_length=10, multiple=4).tolist() == [[1, 2, 3, 0], [4, 0, 0, 0]]
    assert pad(arrays, max_length=3, multiple=8, value=9).tolist() == [[1, 2, 3], [4, 9, 9]]
    assert pad(arrays, max_length=6, multiple=6).shape == (2, 6)
    assert pad(arrays, max_length=6).dtype == np.int32
    with pytest.raises(ValueError, match="has 3 tokens"):
        pad(arrays, max_length=2)


def test_model_inputs():
    ids = [np.array([3, 7, 4, 8, 4]), np.array([3, 0, 4])]
    types = [np.array([0, 0, 0, 1, 1]), np.array([0, 0, 0])]
    inputs = model_inputs(ids, types, max_length=6, multiple=6, pad_id=9)
    assert inputs["input_word_ids"].tolist() == [[3, 7, 4, 8, 4, 9], [3, 0, 4, 9, 9, 9]]
    # By length, not by id: id 0 is a word in some vocabularies.
    assert inputs["input_mask"].tolist() == [[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]]
    assert inputs["input_type_ids"].tolist() == [[0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0]]
    assert {array.dtype for array in inputs.values()} == {np.dtype(np.int32)}
    assert list(model_inputs(ids, None, max_length=6)) == ["input_word_ids", "input_mask"]


def make_batch(step):
    width = 4 + step % 3
    inputs = {"input_word_ids": np.full((2, width), step, np.int32)}
    return inputs, np.full(2, step, np.float32)


def test_dataset_from_a_later_step_equals_the_tail():
    whole = list(to_dataset(make_batch, 0, 10).as_numpy_iterator())
    tail = list(to_dataset(make_batch, 6, 10).as_numpy_iterator())
    assert [inputs["input_word_ids"].shape for inputs, _ in whole[:3]] == [(2, 4), (2, 5), (2, 6)]
    assert len(whole) == 10 and len(tail) == 4
    for (inputs, label), (tail_inputs, tail_label) in zip(whole[6:], tail, strict=True):
        np.testing.assert_array_equal(inputs["input_word_ids"], tail_inputs["input_word_ids"])
        np.testing.assert_array_equal(label, tail_label)


def test_dataset_knows_its_length_and_types():
    dataset = to_dataset(make_batch, 3, 10)
    assert len(dataset) == 7
    inputs, label = dataset.element_spec
    assert inputs["input_word_ids"].shape.as_list() == [None, None]
    assert (inputs["input_word_ids"].dtype, label.dtype) == (np.int32, np.float32)


def test_batches_are_made_while_the_step_runs():
    made = []

    def slow_batch(step):
        time.sleep(0.02)
        made.append(step)
        return make_batch(step)

    batches = iter(to_dataset(slow_batch, 0, 100, prefetch=8))
    next(batches)
    deadline = time.monotonic() + 5  # prefetching 8 takes about 0.2 s on an idle machine
    while len(made) < 8 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(made) >= 8


def test_no_tuning_thread_holds_up_the_end_of_a_run():
    """Where it runs, deleting the iterator waits until it wakes up: up to a minute."""
    dataset = to_dataset(lambda step: {"x": np.full([2], step)}, 0, 3)
    assert dataset.options().autotune.enabled is False
    assert [batch["x"].numpy().tolist() for batch in dataset] == [[0, 0], [1, 1], [2, 2]]
