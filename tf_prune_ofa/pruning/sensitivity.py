"""How far a model's outputs move when one layer is pruned and all others stay dense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.models.bert import dense_kernels
from tf_prune_ofa.pruning.allocation import magnitude_masks
from tf_prune_ofa.pruning.patterns import Site

Batch = Mapping[str, np.ndarray]


def output_losses(
    model: keras.Model, batches: Sequence[Batch], site: Site, sparsities: Sequence[float]
) -> dict[float, float]:
    """Return the divergence of the outputs from the dense model's by sparsity, in nats.

    KL(softmax of the dense logits || softmax of the pruned ones), the mean over examples and
    positions, the sum over the outputs named logits; of a single value half its squared error, the
    divergence of unit Gaussians. No labels are needed, and 0 is the least. The model is left as it
    was.

    Args:
        model: dense, with a head.
        batches: inputs by name; only those that the model has are used.
        site: what is pruned together, by magnitude.
        sparsities: the levels.
    """
    kernels = {name: dense_kernels(model)[name] for name in site.shapes}
    dense = {name: kernel.numpy() for name, kernel in kernels.items()}
    known = [{name: batch[name] for name in model.input_names} for batch in batches]
    expected = [model(batch, training=False) for batch in known]
    losses = {}
    try:
        for sparsity in sparsities:
            for name, mask in magnitude_masks(site, dense, sparsity).items():
                kernels[name].assign(dense[name] * mask)
            divergences = [
                _divergence(outputs, model(batch, training=False))
                for batch, outputs in zip(known, expected, strict=True)
            ]
            # Where nothing moves, float32 leaves about 1e-8 of either sign.
            losses[sparsity] = max(0.0, float(np.mean(divergences)))
    finally:
        for name, value in dense.items():
            kernels[name].assign(value)
    return losses


def _divergence(expected: Mapping[str, tf.Tensor], found: Mapping[str, tf.Tensor]) -> float:
    total = 0.0
    for name in expected:
        if not name.endswith("logits"):
            continue
        if expected[name].shape[-1] == 1:
            errors = tf.square(expected[name] - found[name]) / 2
        else:
            logs = tf.nn.log_softmax(expected[name])
            errors = tf.reduce_sum(tf.exp(logs) * (logs - tf.nn.log_softmax(found[name])), -1)
        total += float(tf.reduce_mean(errors))
    return total
