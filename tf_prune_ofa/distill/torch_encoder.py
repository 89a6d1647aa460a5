"""The encoder in PyTorch, for long runs in bfloat16: the same function as `models.bert` builds.

Runs in a Python that has PyTorch and NumPy; nothing here needs TensorFlow. Matrix products of Dense
layers are in the type of their kernels, all else is float32: softmax, GELU's input apart, layer
norm, residuals. On a GPU attention, too, is in the type of the kernels.

Legend: B batch · S sequence · H hidden · A heads · D = H/A · L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

Weights = Mapping[str, torch.Tensor]
# Dense layers of an encoder layer, in the order of computing.
DENSE = (
    "attention/query",
    "attention/key",
    "attention/value",
    "attention/output",
    "ffn/intermediate",
    "ffn/output",
)


@dataclass(frozen=True)
class Sizes:
    """What the weights do not say of an encoder."""

    num_layers: int
    num_heads: int
    epsilon: float
    activation: str = "gelu_erf"


def torch_weights(
    arrays: Mapping[str, Any], kernels: torch.dtype, device: str = "cpu"
) -> dict[str, torch.Tensor]:
    """Return NumPy weights by stable name for PyTorch; kernels [in, out] become [out, in]."""
    return {
        name: torch.from_numpy(value.T.copy()).to(device, kernels)
        if name.endswith("/kernel")
        else torch.from_numpy(value.copy()).to(device, torch.float32)
        for name, value in arrays.items()
    }


def dense(x: torch.Tensor, weights: Weights, name: str) -> torch.Tensor:
    """Return x · kernel + bias, in the kernel's type."""
    kernel = weights[f"{name}/kernel"]
    return functional.linear(x.to(kernel.dtype), kernel, weights[f"{name}/bias"].to(kernel.dtype))


def norm(x: torch.Tensor, weights: Weights, name: str, epsilon: float) -> torch.Tensor:
    """Return the layer norm of x over its last axis."""
    gamma, beta = weights[f"{name}/gamma"], weights[f"{name}/beta"]
    return functional.layer_norm(x, gamma.shape, gamma, beta, epsilon)


def embed(weights: Weights, ids: torch.Tensor, types: torch.Tensor, sizes: Sizes) -> torch.Tensor:
    """Return what goes into the first layer, float32 [B, S, H]; ids and types are [B, S]."""
    x = functional.embedding(ids, weights["embeddings/word/embeddings"])
    x = x + weights["embeddings/position/embeddings"][: ids.shape[1]]
    if "embeddings/type/embeddings" in weights:
        x = x + functional.embedding(types, weights["embeddings/type/embeddings"])
    return norm(x, weights, "embeddings/norm", sizes.epsilon)


def layer(
    x: torch.Tensor,
    padding: torch.Tensor,
    weights: Weights,
    name: str,
    sizes: Sizes,
    record: dict[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Return the output of an encoder layer, float32 [B, S, H].

    Args:
        x: float32 [B, S, H].
        padding: what is added to scores, [B, 1, 1, S].
        weights: of the encoder.
        name: of the layer, `encoder_NN`.
        sizes: of the encoder.
        record: receives inputs of the Dense layers by their points' names, and their outputs by
            the layers' names.
    """

    def heads(part: torch.Tensor) -> torch.Tensor:  # [B, S, H] -> [B, A, S, D]
        # A processor's bfloat16 attention is slower than float32's; a GPU's is not.
        values = part if part.is_cuda else part.float()
        return values.unflatten(-1, (sizes.num_heads, -1)).transpose(1, 2)

    def project(values: torch.Tensor, part: str) -> torch.Tensor:
        out = dense(values, weights, f"{name}/{part}")
        if record is not None:
            record[f"{name}/{part}"] = out
        return out

    query, key, value = (
        heads(project(x, f"attention/{part}")) for part in ("query", "key", "value")
    )
    context = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=padding.to(query.dtype)
    )
    context = context.transpose(1, 2).flatten(2)
    attention = project(context, "attention/output").float()
    middle = norm(x + attention, weights, f"{name}/attention/norm", sizes.epsilon)
    form = "tanh" if sizes.activation == "gelu_tanh" else "none"
    active = functional.gelu(project(middle, "ffn/intermediate"), approximate=form)
    out = project(active, "ffn/output").float()
    if record is not None:
        record |= {
            f"{name}/attention/input": x,
            f"{name}/attention/context": context,
            f"{name}/ffn/input": middle,
            f"{name}/ffn/activation": active,
        }
    return norm(middle + out, weights, f"{name}/ffn/norm", sizes.epsilon)


def padding_scores(mask: torch.Tensor) -> torch.Tensor:
    """Return what is added to scores [B, A, S, S] for a mask [B, S] (1 token, 0 padding)."""
    return (1.0 - mask.float())[:, None, None, :] * -1e4


def hidden_states(
    weights: Weights,
    embedded: torch.Tensor,
    mask: torch.Tensor,
    sizes: Sizes,
    run_layer: Callable[..., torch.Tensor] = layer,
) -> list[torch.Tensor]:
    """Return the outputs of all layers, L times float32 [B, S, H].

    `run_layer` is `layer`, or what `torch.compile` makes of it.
    """
    states, x, padding = [], embedded, padding_scores(mask)
    for index in range(sizes.num_layers):
        name = f"encoder_{index:02d}/"
        # One name for all layers, so that what is compiled for one is right for all.
        own = {f"layer/{k[len(name) :]}": v for k, v in weights.items() if k.startswith(name)}
        x = run_layer(x, padding, own, "layer", sizes)
        states.append(x)
    return states
