"""One way to open and run a .tflite file, whichever runtime is installed.

Legend: S sequence.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime import flatbuffer

Runtime = Literal["auto", "litert", "tflite_runtime", "tensorflow"]

# Module and distribution of each runtime, best first: LiteRT is the one that is maintained.
_RUNTIMES = {
    "litert": ("ai_edge_litert.interpreter", "ai-edge-litert"),
    "tflite_runtime": ("tflite_runtime.interpreter", "tflite-runtime"),
    "tensorflow": ("tensorflow.lite.python.interpreter", "tensorflow"),
}


class Interpreter:
    """A loaded .tflite file.

    Attributes:
        path: the file.
        runtime_name: "litert", "tflite_runtime" or "tensorflow".
        runtime_version: its version, e.g. "2.3.0".
        sequence_length: S of the file's inputs.
        input_names: names of the inputs, in their order in the file.
        output_names: names of the outputs, in their order in the file.
        node_count: operators in the file.
        delegated_count: how many of them XNNPACK runs.
        partition_count: into how many pieces these fall; each border costs time.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int = 1,
        runtime: Runtime = "auto",
        xnnpack: bool = True,
        check: bool = True,
        keep_tensors: bool = False,
    ) -> None:
        """Load a file and allocate its tensors.

        Args:
            path: the .tflite file.
            threads: how many threads the runtime may use.
            runtime: which runtime; "auto" takes the first that is installed, in the order litert,
                tflite_runtime, tensorflow.
            xnnpack: whether XNNPACK runs what it can; otherwise the runtime's own kernels do.
            check: whether to look for damage in the file first. Native code trusts the offsets in
                a file and may crash where it was cut off. A measurement of the time or memory of
                loading, of a file that was checked before, leaves this out.
            keep_tensors: keep every tensor of a run for `tensor`; for inspection, with
                `xnnpack` off, as what XNNPACK computes inside is never written out.

        Raises:
            UserError: no such file, not a whole .tflite file, no such runtime installed, or the
                runtime refuses the file.
        """
        self.path = Path(path)
        if check:
            flatbuffer.read_model(self.path)
        if threads < 1:
            raise UserError(f"{threads} threads were asked for; give 1 or more.")
        module, self.runtime_name, self.runtime_version = find_runtime(runtime)
        resolver = module.OpResolverType.AUTO
        if not xnnpack:
            resolver = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            self._interpreter = module.Interpreter(
                str(self.path),
                num_threads=threads,
                experimental_op_resolver_type=resolver,
                experimental_preserve_all_tensors=keep_tensors,
            )
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"{self.runtime_name} {self.runtime_version} cannot load {self.path}: {error}\n"
                "Use a newer runtime, or another variant of this model."
            ) from error
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        self._inputs = {plain_name(detail["name"]): detail for detail in inputs}
        self._outputs = {plain_name(detail["name"]): detail for detail in outputs}
        self.input_names = list(self._inputs)
        self.output_names = list(self._outputs)
        self.sequence_length = int(inputs[0]["shape"][-1])
        self.node_count, self.delegated_count, self.partition_count = _count_nodes(
            self._interpreter._get_ops_details()
        )

    @property
    def delegated_share(self) -> float:
        """Share of the file's operators that XNNPACK runs, in [0, 1]."""
        return self.delegated_count / self.node_count if self.node_count else 0.0

    def run(
        self, ids: np.ndarray, mask: np.ndarray, type_ids: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Run one example.

        Args:
            ids: word piece ids, int [S] or [1, S].
            mask: 1 for tokens, 0 for padding; same shape.
            type_ids: token types; same shape. None means all 0. Left out if the file has none.

        Returns:
            The outputs by name; INT8 outputs as they are stored.

        Raises:
            UserError: a shape is not the file's, or the file has other inputs.
        """
        values = {"input_word_ids": ids, "input_mask": mask}
        if "input_type_ids" in self._inputs:
            values["input_type_ids"] = np.zeros_like(ids) if type_ids is None else type_ids
        self.set_inputs(values)
        self.invoke()
        return self.outputs()

    def set_inputs(self, values: Mapping[str, np.ndarray]) -> None:
        """Set all inputs by name.

        Raises:
            UserError: names or shapes are not the file's.
        """
        if set(values) != set(self._inputs):
            raise UserError(
                f"{self.path.name} has the inputs {', '.join(self._inputs)}; given were "
                f"{', '.join(values)}."
            )
        for name, value in values.items():
            detail = self._inputs[name]
            shape = tuple(int(size) for size in detail["shape"])
            value = np.asarray(value)
            if value.shape not in (shape, shape[1:]):
                raise UserError(
                    f"{self.path.name} takes {name} of shape {list(shape)}, given was "
                    f"{list(value.shape)}. Pad or cut the text to the file's sequence length."
                )
            # A copy into the runtime; the caller's array is not kept.
            self._interpreter.set_tensor(
                detail["index"], value.reshape(shape).astype(detail["dtype"])
            )

    def invoke(self) -> None:
        """Run on the inputs that were set; all that a latency measurement should time.

        Raises:
            UserError: the runtime fails, for instance on an id outside the vocabulary.
        """
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            raise UserError(
                f"{self.runtime_name} {self.runtime_version} fails to run {self.path}: {error}. "
                "Check that the ids are those of the model's own vocabulary."
            ) from error

    def tensor(self, index: int) -> np.ndarray:
        """Return a copy of a tensor of the last run, by its index (with `keep_tensors`)."""
        return self._interpreter.get_tensor(index)

    def outputs(self) -> dict[str, np.ndarray]:
        """Return copies of the outputs by name."""
        return {
            name: self._interpreter.get_tensor(detail["index"])
            for name, detail in self._outputs.items()
        }


def find_runtime(runtime: Runtime = "auto") -> tuple[ModuleType, str, str]:
    """Import a runtime and return its module, its name and its version.

    Raises:
        UserError: no runtime of this name, or it is not installed.
    """
    if runtime != "auto" and runtime not in _RUNTIMES:
        raise UserError(f"there is no runtime {runtime!r}; choose auto, {', '.join(_RUNTIMES)}.")
    names = list(_RUNTIMES) if runtime == "auto" else [runtime]
    for name in names:
        module, distribution = _RUNTIMES[name]
        if name == "tensorflow":
            # TensorFlow must not bring Keras 3 in before keras_compat is asked.
            os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        return found, name, importlib.metadata.version(distribution)
    wanted = " or ".join(_RUNTIMES[name][1] for name in names)
    raise UserError(f"no TFLite runtime found: {wanted} is not installed. pip install {wanted}")


def plain_name(name: str) -> str:
    """Return the name of an input or output without what the converter puts around it."""
    # Files straight from the converter have "serving_default_input_mask:0".
    return name.removeprefix("serving_default_").removesuffix(":0")


def _count_nodes(nodes: list[dict]) -> tuple[int, int, int]:
    """Return how many operators there are, how many are delegated, and into how many pieces.

    A runtime keeps delegated operators in its list and appends a DELEGATE that stands for them,
    without saying for which. What it stands for is what lies between its inputs and its outputs.
    """
    delegates = [node for node in nodes if node["op_name"] == "DELEGATE"]
    operators = [node for node in nodes if node["op_name"] != "DELEGATE"]
    producer = {int(tensor): node["index"] for node in operators for tensor in node["outputs"]}
    inputs_of = {node["index"]: [int(t) for t in node["inputs"]] for node in operators}
    delegated: set[int] = set()
    for delegate in delegates:
        seen = {int(tensor) for tensor in delegate["inputs"]}
        waiting = [int(tensor) for tensor in delegate["outputs"]]
        while waiting:
            tensor = waiting.pop()
            if tensor in seen or tensor not in producer:
                continue
            seen.add(tensor)
            delegated.add(producer[tensor])
            waiting += inputs_of[producer[tensor]]
    return len(operators), len(delegated), len(delegates)
