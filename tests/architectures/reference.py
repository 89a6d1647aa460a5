"""Encoders once more, in NumPy, from the names that transformers gives to tensors.

Shares nothing with the package: what is compared with it was written from transformers' own code.
"""

import json

import numpy as np
from safetensors.numpy import save_file
from scipy.special import erf


def gelu(x):
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def norm(t, name, x, epsilon):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon)
    return x * t[name + ".weight"] + t[name + ".bias"]


def dense(t, name, x):
    return x @ t[name + ".weight"].T + t[name + ".bias"]


def encode(t, prefix, config, ids, mask, types, positions):
    """[B, S, H] of a checkpoint's tensors."""
    t = {name.removeprefix(prefix): value.astype(np.float64) for name, value in t.items()}
    epsilon, heads = config["layer_norm_eps"], config["num_attention_heads"]
    x = t["embeddings.word_embeddings.weight"][ids]
    x = x + t["embeddings.position_embeddings.weight"][positions]
    x = x + t["embeddings.token_type_embeddings.weight"][types]
    x = norm(t, "embeddings.LayerNorm", x, epsilon)
    if "embeddings_project.weight" in t:
        x = dense(t, "embeddings_project", x)
    rows, length, width = x.shape
    for index in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{index}."

        def split(name, x, at=at):
            parts = dense(t, f"{at}attention.self.{name}", x)
            return parts.reshape(rows, length, heads, width // heads).transpose(0, 2, 1, 3)

        query, key, value = (split(name, x) for name in ("query", "key", "value"))
        scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(width // heads)
        scores = np.where(mask[:, None, None, :] == 1, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        context = weights / weights.sum(-1, keepdims=True) @ value
        context = context.transpose(0, 2, 1, 3).reshape(rows, length, width)
        context = dense(t, at + "attention.output.dense", context)
        x = norm(t, at + "attention.output.LayerNorm", x + context, epsilon)
        inner = gelu(dense(t, at + "intermediate.dense", x))
        x = norm(t, at + "output.LayerNorm", x + dense(t, at + "output.dense", inner), epsilon)
    return x


def random_tensors(prefix, config, *, extra, embedding_size=None, seed=0):
    """Tensors of an encoder by transformers' names, and of more layers.

    Args:
        prefix: of the encoder's tensors.
        config: its config.json.
        extra: shape by name.
        embedding_size: width of the embeddings; the hidden size if not given.
    """
    rng = np.random.default_rng(seed)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    words = embedding_size or hidden
    shapes = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], words),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], words),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], words),
        "embeddings.LayerNorm.weight": (words,),
        "embeddings.LayerNorm.bias": (words,),
    }
    for index in range(config["num_hidden_layers"]):
        for name, rows, columns in (
            ("attention.self.query", hidden, hidden),
            ("attention.self.key", hidden, hidden),
            ("attention.self.value", hidden, hidden),
            ("attention.output.dense", hidden, hidden),
            ("intermediate.dense", inner, hidden),
            ("output.dense", hidden, inner),
        ):
            shapes[f"encoder.layer.{index}.{name}.weight"] = (rows, columns)
            shapes[f"encoder.layer.{index}.{name}.bias"] = (rows,)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"encoder.layer.{index}.{name}.weight"] = (hidden,)
            shapes[f"encoder.layer.{index}.{name}.bias"] = (hidden,)
    shapes = {prefix + name: shape for name, shape in shapes.items()} | extra
    return {
        name: rng.normal(1.0 if name.endswith("LayerNorm.weight") else 0.0, 0.2, shape).astype(
            np.float32
        )
        for name, shape in shapes.items()
    }


def write(folder, tensors, config):
    """Write a folder without a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def batch(vocab_size, *, pad_id=0, types=2, length=12, seed=1):
    """Ids, mask and types of three texts of different lengths."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, vocab_size, (3, length))
    mask = (np.arange(length) < np.array([length, 7, 2])[:, None]).astype(np.int32)
    kinds = (np.arange(length) >= 4).astype(np.int32) * np.ones((3, 1), np.int32) % types
    return np.where(mask == 1, ids, pad_id).astype(np.int32), mask, kinds.astype(np.int32)
