"""Rows of a benchmark suite for other runtimes: the same encoder, as ONNX."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa import __version__
from tf_prune_ofa.array_files import write_arrays
from tf_prune_ofa.bench.rows import Row
from tf_prune_ofa.blocks.live import Block
from tf_prune_ofa.experiments import peers
from tf_prune_ofa.experiments.suite import Suite, SuiteRow
from tf_prune_ofa.experiments.suite_files import random_model, random_ranges, with_zeros
from tf_prune_ofa.files import write_bytes
from tf_prune_ofa.json_files import write_json
from tf_prune_ofa.models.bert import parameters
from tf_prune_ofa.tflite.dense_layers import KERNEL_SUFFIX
from tf_prune_ofa.tflite.graph import Graph

# DeepSparse's reason to be: zeros anywhere, as many as models were published with.
SPARSITY = 0.90
_SETTINGS = "suite_peers.json"
_SPARSE_FLOAT = f"float32 {SPARSITY:.0%}"


def make_rows(
    suite: Suite,
    folder: Path,
    pythons: Mapping[str, Path],
    *,
    seed: int = 0,
    on_file: Callable[[str], None] = lambda name: None,
) -> list[SuiteRow]:
    """Make the files that installed peers run, unless they are there already.

    Each runtime gets what its own tools make for INT8: ONNX Runtime's dynamic quantization; for
    OpenVINO quantize and dequantize operators, as its own quantizer writes them; for DeepSparse
    integer products, as its exporter wrote them. Weights, and the zeros at 90 %, are those of the
    suite's `.tflite` files.

    Args:
        suite: sizes of the encoder.
        folder: with the files of `suite.make_files`.
        pythons: from `peers.installed`.
        seed: of weights and patterns, as for `suite.make_files`.
        on_file: called with the name of each file before it is made, for progress.

    Returns:
        Rows of the peers; with DeepSparse also the sparse float32 `.tflite` file that its rows are
        compared with. Empty if there are no peers.
    """
    rows = _rows(folder, pythons)
    settings = asdict(suite) | {"seed": seed, "version": __version__}
    stored = folder / _SETTINGS
    if not stored.is_file() or json.loads(stored.read_text()) != settings:
        for row in rows:
            row.path.unlink(missing_ok=True)
    missing = [path for path in dict.fromkeys(row.path for row in rows) if not path.is_file()]
    if missing:
        _make(suite, missing, folder, pythons, seed, on_file)
        write_json(stored, settings)
    return rows


def _rows(folder: Path, pythons: Mapping[str, Path]) -> list[SuiteRow]:
    def row(
        peer: str, kind: str, file: str, sparsity: float = 0.0, **options: str
    ) -> list[SuiteRow]:
        if peer not in pythons:
            return []
        label = f"{peer} {kind}" + (f" {sparsity:.0%}" if sparsity else "")
        return [
            SuiteRow(
                label,
                Row(folder / file, peer, options, pythons[peer]),
                label,
                sparsity,
                same_as=_SPARSE_FLOAT if sparsity else "float32",
            )
        ]

    rows = [
        *row("onnxruntime", "float32", "float32.onnx"),
        *row("onnxruntime", "dynamic INT8", "dynamic_int8.onnx"),
        *row("openvino", "float32", "float32.onnx", precision="f32"),
        *row("openvino", "bfloat16", "float32.onnx", precision="bf16"),
        *row("openvino", "static INT8", "static_int8.onnx", precision="f32"),
        *row("deepsparse", "float32", "float32_90.onnx", SPARSITY),
        *row("deepsparse", "static INT8", "integer_products_90.onnx", SPARSITY),
    ]
    if "deepsparse" in pythons:
        path = folder / "float32_90.tflite"
        rows.insert(0, SuiteRow(_SPARSE_FLOAT, Row(path), "float32, zeros anywhere", SPARSITY))
    return rows


def _make(
    suite: Suite,
    wanted: list[Path],
    folder: Path,
    pythons: Mapping[str, Path],
    seed: int,
    on_file: Callable[[str], None],
) -> None:
    model = random_model(suite, seed)
    float32 = (folder / "float32.tflite").read_bytes()
    sparse_float32 = with_zeros(float32, Block(1, 1), SPARSITY, seed)
    weights = {name: variable.numpy() for name, variable in parameters(model).items()}
    ranges = random_ranges(suite, float32, seed)
    writer = next(iter(pythons.values()))
    with tempfile.TemporaryDirectory() as name:
        dense, sparse = Path(name, "dense.npz"), Path(name, "sparse.npz")
        write_arrays(dense, weights)
        write_arrays(sparse, _sparse_weights(weights, sparse_float32))
        sizes: dict[str, Any] = {
            "num_layers": suite.num_layers,
            "num_heads": suite.num_heads,
            "sequence_length": suite.sequence_length,
            "epsilon": 1e-12,
        }
        kinds: dict[str, dict[str, Any]] = {
            "float32.onnx": {"weights": dense},
            "static_int8.onnx": {"weights": dense, "ranges": ranges},
            "float32_90.onnx": {"weights": sparse},
            "integer_products_90.onnx": {
                "weights": sparse,
                "ranges": ranges,
                "integer_products": True,
            },
        }
        for path in wanted:
            on_file(path.name)
            if path.suffix == ".tflite":
                write_bytes(path, sparse_float32)
            elif path.name in kinds:
                peers.write_onnx(writer, path, **sizes, **kinds[path.name])
            else:
                source = folder / "float32.onnx"
                peers.quantize_dynamically(pythons["onnxruntime"], source, path)


def _sparse_weights(
    weights: Mapping[str, np.ndarray], sparse_float32: bytes
) -> dict[str, np.ndarray]:
    """Return the weights with the zeros that a file has in its kernels."""
    graph = Graph(sparse_float32)
    sparse = dict(weights)
    for operator in graph.operators:
        if graph.op_name(operator) != "FULLY_CONNECTED":
            continue
        name = graph.name(int(operator.inputs[1]))
        if name.endswith(KERNEL_SUFFIX):
            sparse[name] = weights[name] * (graph.constant(int(operator.inputs[1])).T != 0)
    return sparse
