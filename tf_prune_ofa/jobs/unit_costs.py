"""What heads and neurons cost on the stock runtime: measured with an encoder of random weights.

Files of the encoder's sizes with fewer and fewer heads, and neurons, run in turns; between the
counts that were measured, time is taken to be linear. Weights do not matter to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.blocks.measure import race_us
from tf_prune_ofa.blocks.rewrite import block_sparse
from tf_prune_ofa.conversion import calibrate, convert, int8
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.json_files import write_json
from tf_prune_ofa.models.bert import Classification, EncoderConfig, build_model
from tf_prune_ofa.tflite.dense_layers import has_constant_kernel, layer_of_kernel
from tf_prune_ofa.tflite.graph import Graph

_WORDS = 64
_ENDS = {"heads": "attention/output", "neurons": "ffn/output"}


@dataclass(frozen=True)
class UnitCosts:
    """Times of a static INT8 file, in microseconds.

    Attributes:
        dense_us: with all heads and neurons.
        heads: number of heads left in each layer -> time of the file.
        neurons: the same of neurons.
        layers: of the encoder.
        sequence_length: of the file.
        threads: of the runtime.
    """

    dense_us: float
    heads: Mapping[int, float]
    neurons: Mapping[int, float]
    layers: int
    sequence_length: int
    threads: int

    def saved_us(self, end: str, gone: int) -> float:
        """Return what one layer saves where so many units are gone.

        Args:
            end: of the name of the layer that reads them, such as "ffn/output".
            gone: how many.
        """
        times = self.heads if end == _ENDS["heads"] else self.neurons
        counts = sorted(times)
        left = max(counts) - gone
        # More units never take less time: a measurement that says so is noise.
        rising = np.maximum.accumulate([min(times[c], self.dense_us) for c in counts])
        return float(self.dense_us - np.interp(left, counts, rising)) / self.layers


def measure_units(
    config: EncoderConfig, *, sequence_length: int, threads: int = 1, seconds: float = 10.0
) -> UnitCosts:
    """Return the costs of an encoder's heads and neurons on this machine.

    Args:
        config: its sizes.
        sequence_length: of the file.
        threads: of the runtime.
        seconds: how long to measure.
    """
    small = replace(config.without_dropout(), vocab_size=_WORDS)
    dense, inputs = _dense_int8(small, sequence_length)
    left = {
        "heads": _counts(config.num_heads, 1),
        "neurons": _counts(config.intermediate_size, 16),
    }
    files = {"dense": dense}
    for kind, counts in left.items():
        for count in counts:
            files[f"{kind} {count}"] = _with_fewer(dense, kind, count, config)
    us = race_us(files, seconds, threads, inputs)
    times: dict[str, dict[int, float]] = {
        kind: {count: us[f"{kind} {count}"] for count in counts} for kind, counts in left.items()
    }
    times["heads"][config.num_heads] = times["neurons"][config.intermediate_size] = us["dense"]
    return UnitCosts(
        us["dense"], times["heads"], times["neurons"], config.num_layers, sequence_length, threads
    )


def write_costs(path: Path, costs: UnitCosts) -> None:
    """Write costs for `read_costs`, whole or not at all."""
    write_json(path, asdict(costs))


def read_costs(path: Path, config: EncoderConfig, sequence_length: int) -> UnitCosts:
    """Return costs that were written.

    Raises:
        UserError: no such file, or costs of another encoder or length.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        for kind in _ENDS:
            said[kind] = {int(count): float(us) for count, us in said[kind].items()}
        costs = UnitCosts(**said)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}. Check the path.") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path} holds no costs of heads and neurons ({error!r}); leave costs out, and they "
            "are measured"
        ) from error
    found = (costs.layers, max(costs.heads), max(costs.neurons), costs.sequence_length)
    wanted = (config.num_layers, config.num_heads, config.intermediate_size, sequence_length)
    if found != wanted:
        raise UserError(
            f"{path} has costs of {found[0]} layers of {found[1]} heads and {found[2]} neurons at "
            f"{found[3]} tokens; this encoder has {wanted[0]}, {wanted[1]}, {wanted[2]} and "
            f"{wanted[3]}: leave costs out, and they are measured"
        )
    return costs


def _counts(units: int, least: int) -> Sequence[int]:
    """Return some numbers of units to measure: halves, down to the least."""
    counts = {least, units // 4 // least * least, units // 2 // least * least}
    return sorted(count for count in counts if least <= count < units)


def _dense_int8(config: EncoderConfig, sequence_length: int) -> tuple[bytes, dict[str, np.ndarray]]:
    """Return the file, and inputs of full length for it."""
    model = build_model(config, Classification(2), sequence_length=sequence_length, batch_size=1)
    float32 = convert.to_float32(model)
    rng = np.random.default_rng(0)
    shape = (1, sequence_length)
    example = {
        "input_word_ids": rng.integers(0, _WORDS, shape, np.int32),
        "input_mask": np.ones(shape, np.int32),
        "input_type_ids": np.zeros(shape, np.int32),
    }
    inputs = {name: example[name] for name in model.input_names}
    ranges = calibrate.measure(float32, [inputs], scores=True).ranges()
    return int8.dense_int8(float32, ranges), inputs


def _with_fewer(dense: bytes, kind: str, count: int, config: EncoderConfig) -> bytes:
    """Return the file with so many heads, or neurons, in each layer."""
    units = config.num_heads if kind == "heads" else config.intermediate_size
    graph = Graph(dense)
    for operator in graph.operators:
        if not has_constant_kernel(graph, operator):
            continue
        tensor: Any = int(operator.inputs[1])
        name = graph.name(tensor)
        if (layer_of_kernel(name) or "").endswith(_ENDS[kind]):
            kernel = graph.constant(tensor).copy()
            kernel[:, count * kernel.shape[1] // units :] = 0
            quantization = graph.tensors[tensor].quantization
            operator.inputs[1] = graph.add_constant(name, kernel, quantization)
    return block_sparse(graph.to_bytes())[0]
