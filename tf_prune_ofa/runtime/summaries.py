"""What is known of a file without running it: the records that `inspect` returns."""

from dataclasses import asdict, dataclass
from typing import Any

from tf_prune_ofa.runtime.delegate import DelegateReport


@dataclass(frozen=True)
class OpSummary:
    """How often one operator version occurs."""

    name: str
    version: int
    count: int


@dataclass(frozen=True)
class PortSummary:
    """An input or output of the model.

    `scale` and `zero_point` are None in float files; a size that is left open is -1 in `shape`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    is_dynamic: bool
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True)
class TypeSummary:
    """All tensors of one element type; `stored_bytes` are those of the constants among them."""

    dtype: str
    tensors: int
    constants: int
    stored_bytes: int


@dataclass(frozen=True)
class WeightSummary:
    """One constant with two or more dimensions.

    Attributes:
        name: the tensor's name in the file.
        used_by: the operators that read it, such as `FULLY_CONNECTED`.
        shape: its shape; a fully-connected kernel is [out, in].
        dtype: type of the stored elements.
        quantization: `none`, `per-tensor` or `per-channel`.
        encoding: `dense`, `sparse`, or `sparse 1x16` for blocks of that shape.
        elements: how many numbers it stands for.
        zeros: how many of them are zero (for integers: equal to the zero point of their channel),
            or None for an element type that cannot be decoded.
        stored_bytes: bytes in the file, index arrays included.
    """

    name: str
    used_by: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    quantization: str
    encoding: str
    elements: int
    zeros: int | None
    stored_bytes: int

    @property
    def sparsity(self) -> float | None:
        """Share of zeros, in [0, 1]."""
        return None if self.zeros is None else self.zeros / self.elements


@dataclass(frozen=True)
class LoadSummary:
    """What a runtime does with the file.

    Attributes:
        runtime: its name.
        version: its version.
        operators: how many the file has.
        delegated: how many of them run in XNNPACK.
        partitions: in how many pieces.
        sparse: how many run in the sparse INT8 delegate, if it was loaded.
        sparse_partitions: in how many pieces.
        sparse_report: what that delegate says of each INT8 layer; None if it was not loaded.
        sparse_missing: why it was not loaded though it was asked for; empty otherwise.
    """

    runtime: str
    version: str
    operators: int
    delegated: int
    partitions: int
    sparse: int = 0
    sparse_partitions: int = 0
    sparse_report: DelegateReport | None = None
    sparse_missing: str = ""


@dataclass(frozen=True)
class FileSummary:
    """The content of a `.tflite` file; sizes in bytes.

    Attributes:
        path: the file.
        size_bytes: size of the file.
        buffer_bytes: what all constants take together.
        description: the converter's own words.
        operators: operators in all graphs of the file.
        graphs: graphs in the file; more than one means control flow or several signatures.
        ops: one entry per operator and version, most frequent first.
        inputs: of the first graph.
        outputs: of the first graph.
        types: one entry per element type.
        weights: constants with two or more dimensions, in the order in which operators use them.
        dynamic_tensors: names of tensors whose shape is only known at run time. XNNPACK may refuse
            a graph that has any.
        metadata: names of metadata entries.
        associated_files: names of files packed behind the model (vocabulary, labels).
        loaded: what a runtime says after loading it, or None if none was asked; see `load`.
    """

    path: str
    size_bytes: int
    buffer_bytes: int
    description: str
    operators: int
    graphs: int
    ops: tuple[OpSummary, ...]
    inputs: tuple[PortSummary, ...]
    outputs: tuple[PortSummary, ...]
    types: tuple[TypeSummary, ...]
    weights: tuple[WeightSummary, ...]
    dynamic_tensors: tuple[str, ...]
    metadata: tuple[str, ...]
    associated_files: tuple[str, ...]
    loaded: LoadSummary | None = None

    def to_json(self) -> dict[str, Any]:
        """The summary as plain JSON values, with each weight's sparsity added."""
        values = asdict(self)
        for entry, weight in zip(values["weights"], self.weights, strict=True):
            entry["sparsity"] = weight.sparsity
        return values
