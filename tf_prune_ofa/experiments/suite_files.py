"""Make the files of a benchmark suite: random weights, a random pattern of zeros."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tf_prune_ofa import __version__
from tf_prune_ofa.bench.rows import Row
from tf_prune_ofa.blocks.live import Block
from tf_prune_ofa.blocks.rewrite import block_sparse
from tf_prune_ofa.conversion import calibrate, convert, int8
from tf_prune_ofa.experiments.suite import REFERENCE, Suite, SuiteRow
from tf_prune_ofa.files import require_writable_dir, write_bytes
from tf_prune_ofa.json_files import write_json
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models.bert import Classification, EncoderConfig, build_model, parameters
from tf_prune_ofa.tflite import sparse
from tf_prune_ofa.tflite.dense_layers import KERNEL_SUFFIX
from tf_prune_ofa.tflite.graph import Graph

BLOCKS = (Block(64, 32), Block(32, 32))
SPARSITIES = (0.75, 0.80, 0.85, 0.90)
_SETTINGS = "suite.json"
# Ranges only have to be of the right size: speed does not depend on them.
_EXAMPLES = 2


def make_files(
    suite: Suite,
    folder: Path,
    *,
    blocks: Sequence[Block] = BLOCKS,
    sparsities: Sequence[float] = SPARSITIES,
    seed: int = 0,
    on_file: Callable[[str], None] = lambda name: None,
) -> list[SuiteRow]:
    """Make a suite's files in a folder, unless the same ones are there already.

    Args:
        suite: sizes of the encoder.
        folder: where; created if missing.
        blocks: sizes of the blocks of zeros.
        sparsities: shares of the encoder's weights that are 0.
        seed: of weights and patterns.
        on_file: called with the name of each file before it is made, for progress.

    Returns:
        float32, dynamic_int8 and dense_int8 of the dense model; for each sparsity sparse_int8 with
        zeros anywhere, and for each size of blocks the file that computes live blocks only.

    Raises:
        UserError: the folder cannot be written to.
    """
    folder = require_writable_dir(folder)
    settings = asdict(suite) | {
        "blocks": [str(block) for block in blocks],
        "sparsities": list(sparsities),
        "seed": seed,
        "version": __version__,
    }
    files = _names(folder, blocks, sparsities)
    stored = folder / _SETTINGS
    if stored.is_file() and json.loads(stored.read_text()) == settings:
        if all(file.path.is_file() for file in files):
            return files
    stored.unlink(missing_ok=True)
    on_file("float32")
    float32 = convert.to_float32(random_model(suite, seed))
    dense = int8.dense_int8(float32, random_ranges(suite, float32, seed))
    contents = {
        "float32": lambda: float32,
        REFERENCE: lambda: int8.dynamic_int8(float32),
        "dense_int8": lambda: dense,
    }
    for file in files:
        on_file(file.label)
        if file.series in contents:
            content = contents[file.series]()
        elif file.series == "sparse_int8":
            content = sparse.sparse_int8(with_zeros(dense, Block(1, 1), file.sparsity, seed))
        else:
            block = next(block for block in blocks if str(block) == file.series)
            content, _ = block_sparse(with_zeros(dense, block, file.sparsity, seed), block)
        write_bytes(file.path, content)
    write_json(stored, settings)
    return files


def with_zeros(file: bytes, block: Block, sparsity: float, seed: int = 0) -> bytes:
    """Return a dense_int8 file with random blocks of its encoder's kernels set to 0.

    Args:
        file: from `int8.dense_int8`.
        block: size of the blocks, outputs x inputs.
        sparsity: share of the blocks of each kernel, rounded to whole blocks.
        seed: of the choice.
    """
    graph = Graph(file)
    rng = np.random.default_rng(seed)
    for operator in graph.operators:
        if graph.op_name(operator) != "FULLY_CONNECTED":
            continue
        weights = int(operator.inputs[1])
        name = graph.name(weights)
        kernel = graph.constant(weights)
        is_pruned = name.startswith("encoder_") and name.endswith(KERNEL_SUFFIX)
        if not is_pruned or not block.divides(kernel):
            continue
        rows, columns = kernel.shape[0] // block.outputs, kernel.shape[1] // block.inputs
        live = np.ones(rows * columns, np.int8)
        live[rng.permutation(live.size)[: round(sparsity * live.size)]] = 0
        mask = np.kron(live.reshape(rows, columns), np.ones((block.outputs, block.inputs), np.int8))
        operator.inputs[1] = graph.add_constant(
            name, kernel * mask, graph.tensors[weights].quantization
        )
    return graph.to_bytes()


def other_interfaces(rows: Sequence[SuiteRow]) -> list[SuiteRow]:
    """Return rows that run some of the same files elsewhere.

    The dense INT8 files and the sparsest of each size of blocks in LiteRT's CompiledModel, and
    float32, static INT8 and these in tflite-runtime, which does not load dynamic-range files with
    one scale for each channel.
    """
    sparsest = {
        row.series: row.label for row in rows if row.sparsity and row.series != "sparse_int8"
    }
    wanted = {
        "compiled_model": [REFERENCE, "dense_int8", *sparsest.values()],
        "tflite_runtime": ["float32", "dense_int8", *sparsest.values()],
    }
    by_label = {row.label: row for row in rows}
    return [
        SuiteRow(
            f"{label}, {runtime}",
            Row(by_label[label].path, runtime),
            f"{by_label[label].series}, {runtime}",
            by_label[label].sparsity,
            same_as=label,
        )
        for runtime, labels in wanted.items()
        for label in labels
    ]


def _names(folder: Path, blocks: Sequence[Block], sparsities: Sequence[float]) -> list[SuiteRow]:
    files = [
        SuiteRow(name, Row(folder / f"{name}.tflite"), name)
        for name in ("float32", REFERENCE, "dense_int8")
    ]
    for series in ("sparse_int8", *map(str, blocks)):
        for sparsity in sparsities:
            label = f"{series} {sparsity:.0%}"
            row = Row(folder / f"{series}_{round(100 * sparsity)}.tflite")
            files.append(SuiteRow(label, row, series, sparsity))
    return files


def random_model(suite: Suite, seed: int) -> keras.Model:
    """Build a suite's classifier of two labels with random weights, batch 1."""
    config = EncoderConfig(
        suite.architecture,
        suite.vocab_size,
        suite.hidden_size,
        suite.num_layers,
        suite.num_heads,
        suite.intermediate_size,
    )
    model = build_model(
        config.without_dropout(),
        Classification(2),
        sequence_length=suite.sequence_length,
        batch_size=1,
        seed=seed,
    )
    rng = np.random.default_rng(seed)
    for name, variable in parameters(model).items():
        if name.endswith("/bias"):  # new ones are 0, and the converter would leave them out
            variable.assign(rng.normal(0, 0.02, variable.shape))
    return model


def random_ranges(suite: Suite, float32: bytes, seed: int) -> int8.Ranges:
    """Measure activation ranges on a few random inputs."""
    rng = np.random.default_rng(seed)
    inputs, _ = Graph(float32).signature()
    examples = []
    for _ in range(_EXAMPLES):
        values = {
            "input_word_ids": rng.integers(0, suite.vocab_size, suite.sequence_length, np.int32),
            "input_mask": np.ones(suite.sequence_length, np.int32),
            "input_type_ids": np.zeros(suite.sequence_length, np.int32),
        }
        examples.append({name: values[name] for name in inputs})
    return calibrate.measure_ranges(float32, examples, scores=True)
