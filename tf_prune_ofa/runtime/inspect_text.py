"""The summary of a `.tflite` file as text for the console."""

from tf_prune_ofa.runtime.summaries import FileSummary, LoadSummary, WeightSummary
from tf_prune_ofa.text_table import megabytes, text_table


def describe(summary: FileSummary) -> str:
    """The summary as text for the console."""
    weight_bytes = sum(weight.stored_bytes for weight in summary.weights)
    sections = [
        f"{summary.path}: {megabytes(summary.size_bytes)} MB, {summary.operators} operators, "
        f"{len(summary.weights)} weights of {megabytes(weight_bytes)} MB together"
        + (f", {summary.graphs} graphs" if summary.graphs > 1 else ""),
        text_table(
            ["port", "name", "shape", "type", "scale", "zero point"],
            [
                [side, p.name, _shape(p.shape), p.dtype, _or_dash(p.scale), _or_dash(p.zero_point)]
                for side, ports in (("input", summary.inputs), ("output", summary.outputs))
                for p in ports
            ],
            left=(0, 1, 2, 3),
        ),
        text_table(
            ["operator", "version", "count"],
            [[op.name, str(op.version), str(op.count)] for op in summary.ops],
        ),
        text_table(
            ["tensor type", "tensors", "constants", "stored MB"],
            [
                [kind.dtype, str(kind.tensors), str(kind.constants), megabytes(kind.stored_bytes)]
                for kind in summary.types
            ],
        ),
        _described_parts(summary),
        _described_weights(summary.weights),
        "Dynamic tensors (shape known only at run time): " + _listed(summary.dynamic_tensors),
        "Metadata: " + _listed(summary.metadata),
        "Files packed behind the model: " + _listed(summary.associated_files),
    ]
    return "\n\n".join(section for section in sections if section)


def describe_load(loaded: LoadSummary) -> str:
    """What a runtime does with the file: one line, and one for each layer of a sparse delegate."""
    lines = [
        f"{loaded.runtime} {loaded.version} loads it: XNNPACK runs {loaded.delegated} of "
        f"{loaded.operators} operators, in {loaded.partitions} partitions"
    ]
    report = loaded.sparse_report
    if report is not None:
        taken = sum(layer.is_taken for layer in report.layers)
        lines += [
            f"The sparse delegate ({report.kernels}, costs {report.costs}) runs {loaded.sparse}, "
            f"in {loaded.sparse_partitions} partitions: {taken} of {len(report.layers)} INT8 "
            "layers",
            text_table(
                ["layer", "node", "where", "why"],
                [
                    [
                        layer.name,
                        str(layer.node),
                        "sparse delegate" if layer.is_taken else "left",
                        layer.reason,
                    ]
                    for layer in report.layers
                ],
                left=(0, 2, 3),
            ),
        ]
    elif loaded.sparse_missing:
        lines.append(loaded.sparse_missing)
    return "\n\n".join(lines)


def _described_parts(summary: FileSummary) -> str:
    """What the size is made of, of files whose weights have this package's names."""
    names = {"words": "embeddings/word/", "encoder": "encoder_"}
    sizes = {
        part: sum(w.stored_bytes for w in summary.weights if w.name.startswith(prefix))
        for part, prefix in names.items()
    }
    if not any(sizes.values()):
        return ""
    sizes["rest"] = summary.size_bytes - sum(sizes.values())
    said = [f"{part} {megabytes(size)} MB" for part, size in sizes.items()]
    return "By part: " + ", ".join(said)


def _described_weights(weights: tuple[WeightSummary, ...]) -> str:
    if not weights:
        return "No weights with two or more dimensions."
    return text_table(
        ["weight", "used by", "shape", "type", "scales", "stored as", "zeros", "zero %", "bytes"],
        [
            [
                weight.name,
                ", ".join(weight.used_by) or "-",
                _shape(weight.shape),
                weight.dtype,
                weight.quantization,
                weight.encoding,
                "-" if weight.zeros is None else f"{weight.zeros:,}",
                "-" if weight.sparsity is None else f"{100 * weight.sparsity:.2f}",
                f"{weight.stored_bytes:,}",
            ]
            for weight in weights
        ],
        left=(0, 1, 2, 3, 4, 5),
    )


def _shape(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def _or_dash(value: float | int | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) if names else "none"
