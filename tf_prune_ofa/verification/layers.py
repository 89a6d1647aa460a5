"""How far each INT8 layer of a file is from the model that emulates INT8, in INT8 steps.

Differences add up from layer to layer: a value that Keras and the runtime round to different sides
in an early layer moves everything behind it. These are figures for a person, not a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models.bert import base_layer
from tf_prune_ofa.runtime.interpreter import Interpreter
from tf_prune_ofa.verification.dense import grid_of, layer_of
from tf_prune_ofa.verification.expected import Expected
from tf_prune_ofa.verification.reading import TfliteFile

EXAMPLES = 8  # more would change little and cost seconds


def differences(
    path: Path, reference: keras.Model, inputs: Mapping[str, np.ndarray], expected: Expected
) -> list[dict[str, Any]]:
    """Compare every INT8 layer's output in a dense file with Keras's, worst first.

    Args:
        path: the file.
        reference: the model that emulates INT8.
        inputs: [N, S] by name.
        expected: what the file must hold.

    Returns:
        `layer`, `mean_steps`, `max_steps` of each.
    """
    file = TfliteFile(path.read_bytes())
    tensors, grids = {}, {}
    for operator, kernel in file.dense_operators():
        grid = grid_of(file, operator.outputs[0])
        if grid is not None:
            layer = layer_of(file.tensors[kernel].name)[0]
            tensors[layer], grids[layer] = operator.outputs[0], grid
    layers = {base_layer(layer).name: layer.output for layer in reference.layers}
    model = keras.Model(reference.inputs, {name: layers[name] for name in tensors})
    few = {name: value[:EXAMPLES] for name, value in inputs.items()}
    wanted = {name: value.numpy() for name, value in model(few, training=False).items()}
    interpreter = Interpreter(path, xnnpack=False, keep_tensors=True)
    steps: dict[str, list[np.ndarray]] = {name: [] for name in tensors}
    for index, mask in enumerate(few["input_mask"]):
        type_ids = few["input_type_ids"][index] if "input_type_ids" in few else None
        interpreter.run(few["input_word_ids"][index], mask, type_ids)
        for name, tensor in tensors.items():
            grid, dense = grids[name], expected.dense[name]
            step = float(grid.scale) / dense.factor
            # The converter drops the batch axis of some tensors, so shapes differ and sizes do not.
            integers = interpreter.tensor(tensor).astype(np.float64)
            integers = integers.reshape(wanted[name][index].shape)
            scales = 1.0 if dense.outlier_scales is None else dense.outlier_scales
            difference = (integers - grid.zero_point) - wanted[name][index] / scales / step
            is_sequence = difference.ndim == 2
            steps[name].append(np.abs(difference[mask > 0] if is_sequence else difference).ravel())
    rows = []
    for name, parts in steps.items():
        all_steps = np.concatenate(parts)
        mean, largest = float(all_steps.mean()), float(all_steps.max())
        rows.append({"layer": name, "mean_steps": mean, "max_steps": largest})
    return sorted(rows, key=lambda row: -row["mean_steps"])
