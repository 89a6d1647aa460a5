"""A small sparse model for tests of the export, and inputs for its files."""

import numpy as np

from tf_prune_ofa.models.bert import Classification, EncoderConfig, build_model, dense_kernels

# Heads of 16 (the query's factor is 1/4), a feed-forward size above 256 (columns need two places)
# and attention kernels so small that storing them sparsely does not pay.
CONFIG = EncoderConfig(
    "bert", vocab_size=60, hidden_size=32, num_layers=2, num_heads=2, intermediate_size=512
).without_dropout()
LENGTH = 8
SPARSITY = 0.9


def make_model(config=CONFIG, head=None, length=LENGTH, seed=0):
    """A model whose encoder kernels are 90 % zero and whose activations stay near 1."""
    model = build_model(
        config, head or Classification(2), sequence_length=length, batch_size=1, seed=seed
    )
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        weights = [rng.normal(0, 0.1, weight.shape) for weight in layer.get_weights()]
        if layer.name.endswith("norm"):
            weights[0] += 1
        layer.set_weights(weights)
    for name, kernel in dense_kernels(model).items():
        value = rng.normal(0, 2 * kernel.shape[0] ** -0.5, kernel.shape)
        if name.startswith("encoder"):
            value[np.abs(value) < np.quantile(np.abs(value), SPARSITY)] = 0
        kernel.assign(value)
    return model


def make_examples(count, length=LENGTH, vocab_size=CONFIG.vocab_size, seed=0):
    """Inputs by name, each [length], with padding behind the tokens."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        mask = (np.arange(length) < rng.integers(3, length + 1)).astype(np.int32)
        ids = rng.integers(0, vocab_size, length, dtype=np.int32) * mask
        yield {"input_word_ids": ids, "input_mask": mask, "input_type_ids": np.zeros_like(mask)}
