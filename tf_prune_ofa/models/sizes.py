"""What the sizes of an encoder may be: beyond, a file or a recipe is damaged, not large."""

from __future__ import annotations

from typing import Any

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.limits import check, limits_of

# A few times what the largest published encoders have; 16 GB as float32.
MAX_WEIGHTS = 4_000_000_000
ACTIVATIONS = ("gelu_erf", "gelu_tanh")


def check_sizes(config: Any) -> None:
    """Check the fields of an `EncoderConfig` against the limits that stand beside them.

    Raises:
        UserError: one is of another type or out of its range, heads do not divide the hidden size,
            or all together make too many weights.
    """
    kind: Any = type(config)
    for name, limit in limits_of(kind).items():
        value = getattr(config, name)
        is_int = type(config).__dataclass_fields__[name].type == "int"
        right_type = type(value) is int if is_int else type(value) in (int, float)
        problem = check(value, limit) if right_type else limit.words
        if problem:
            kind = "a whole number" if is_int else "a number"
            raise UserError(f"{name} of the encoder is {value!r}; it must be {kind} {problem}")
    if config.activation not in ACTIVATIONS:
        raise UserError(f"activation is {config.activation!r}; choose {' or '.join(ACTIVATIONS)}")
    if config.hidden_size % config.num_heads:
        raise UserError(
            f"hidden_size {config.hidden_size} is not a multiple of num_heads {config.num_heads}; "
            "every head needs the same whole number of dimensions"
        )
    count = number_of_weights(config)
    if count > MAX_WEIGHTS:
        raise UserError(
            f"an encoder of these sizes has {count:,} weights; this package takes up to "
            f"{MAX_WEIGHTS:,}. Correct num_layers, hidden_size or intermediate_size"
        )


def number_of_weights(config: Any) -> int:
    """Return the weights of the matrices of an encoder, without those of heads."""
    hidden, tables = config.hidden_size, config.vocab_size + config.max_positions
    layer = 4 * hidden * hidden + 2 * hidden * config.intermediate_size
    return tables * hidden + config.num_layers * layer
