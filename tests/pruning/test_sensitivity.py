import numpy as np
import pytest
from small_models import encoder, inputs, values

from tf_prune_ofa.models.bert import Classification, dense_kernels
from tf_prune_ofa.pruning.allocation import named_sites
from tf_prune_ofa.pruning.sensitivity import output_losses

LEVELS = (0.0, 0.5, 0.9)


def sites_of(model, patterns):
    shapes = {name: tuple(kernel.shape) for name, kernel in dense_kernels(model).items()}
    return named_sites(patterns, shapes, LEVELS, heads=2)


@pytest.fixture(scope="module")
def model():
    return encoder()


def test_sites_have_the_names_that_a_recipe_needs(model):
    sites = sites_of(model, {"encoder_.*": "4x4", "encoder_.*/ffn/.*": "neurons"})
    assert [(named.key, named.pattern) for named in sites] == [
        ("encoder_00/attention/query", "4x4"),
        ("encoder_00/attention/key", "4x4"),
        ("encoder_00/attention/value", "4x4"),
        ("encoder_00/attention/output", "4x4"),
        ("encoder_00/ffn/.*", "neurons"),
    ]


def test_losses_are_the_divergence_of_the_outputs(model):
    batches = [inputs(seed=1) | {"other": np.zeros(4)}, inputs(seed=2)]
    before = values(model)
    [named] = sites_of(model, {"encoder_.*/ffn/.*": "neurons"})
    losses = output_losses(model, batches, named.site, LEVELS)
    assert list(losses) == list(LEVELS)
    assert losses[0.0] == pytest.approx(0, abs=1e-7) and losses[0.5] > 1e-7 and losses[0.9] > 1e-7
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, before[name])
    # By hand, at 0.9: two of 16 neurons stay (14.4 are rounded to 14).
    twin, kernels = encoder(), dense_kernels(model)
    first, second = (kernels[f"encoder_00/ffn/{n}"].numpy() for n in ("intermediate", "output"))
    score = np.abs(first).sum(axis=0) + np.abs(second).sum(axis=1)
    kept = np.isin(np.arange(16), np.argsort(score)[-2:])
    dense_kernels(twin)["encoder_00/ffn/intermediate"].assign(first * kept)
    dense_kernels(twin)["encoder_00/ffn/output"].assign(second * kept[:, None])
    divergences = []
    for batch in (inputs(seed=1), inputs(seed=2)):
        p, q = (np.asarray(m(batch)["logits"], float) for m in (model, twin))
        p, q = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (p, q))
        divergences.append((p * np.log(p / q)).sum(-1).mean())
    assert losses[0.9] == pytest.approx(np.mean(divergences), rel=1e-3)


def test_a_value_is_judged_by_its_squared_error():
    model = encoder(Classification(1))
    [named] = sites_of(model, {"classifier": "unstructured"})
    losses = output_losses(model, [inputs()], named.site, [0.9])
    dense = model(inputs())["logits"].numpy()
    kernel = dense_kernels(model)["classifier"]
    kernel.assign(kernel * (np.abs(kernel) == np.abs(kernel).max()))  # one of 8 weights
    expected = np.square(dense - model(inputs())["logits"].numpy()).mean() / 2
    assert losses[0.9] == pytest.approx(float(expected), rel=1e-5)
