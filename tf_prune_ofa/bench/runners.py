"""One way to open and run a model file, whichever runtime it is for.

Runtimes are imported when a file is opened: each process of a benchmark has one of them, and none
has all. Of this package only light modules may be imported here at the top, for the same reason.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tf_prune_ofa.errors import UserError

if TYPE_CHECKING:  # peers run this in environments of their own
    from tf_prune_ofa.runtime.installed import Runtime

Values = Mapping[str, np.ndarray]


class Runner(Protocol):
    """An opened model file.

    Attributes:
        runtime_name: one of `NAMES`, never "auto".
        runtime_version: version of its package.
        delegation: `operators`, `delegated` and `partitions` of a `.tflite` file in an
            interpreter, with a sparse delegate also `sparse` and `sparse_partitions`; None where
            the runtime does not tell.
    """

    runtime_name: str
    runtime_version: str
    delegation: dict[str, int] | None

    def set_inputs(self, values: Values) -> None:
        """Set all inputs by name."""

    def invoke(self) -> None:
        """Run on them: the part that is timed."""

    def outputs(self) -> dict[str, np.ndarray]:
        """Return copies of the outputs by name."""


class _Interpreter:
    """A `.tflite` file in LiteRT, tflite-runtime or TensorFlow.

    Options are those of `runtime.interpreter.Interpreter`, such as `xnnpack` and `delegate`.
    """

    def __init__(
        self, path: str, threads: int, runtime: Runtime, options: Mapping[str, Any]
    ) -> None:
        from tf_prune_ofa.runtime.interpreter import Interpreter

        # Files were checked before; reading them again here would cost memory that is measured.
        opened = Interpreter(path, threads, runtime, check=False, **options)
        self.runtime_name, self.runtime_version = opened.runtime_name, opened.runtime_version
        self.delegation = {
            "operators": opened.node_count,
            "delegated": opened.delegated_count,
            "partitions": opened.partition_count,
        }
        if opened.delegate_report is not None:
            self.delegation |= {
                "sparse": opened.sparse_count,
                "sparse_partitions": opened.sparse_partition_count,
            }
        self.set_inputs, self.invoke, self.outputs = (
            opened.set_inputs,
            opened.invoke,
            opened.outputs,
        )


class _CompiledModel:
    """A `.tflite` file in LiteRT's newer interface.

    Option `xnnpack`: false takes the runtime's own kernels.
    """

    runtime_name = "compiled_model"
    delegation = None

    def __init__(self, path: str, threads: int, runtime: str, options: Mapping[str, Any]) -> None:
        from ai_edge_litert import compiled_model

        self.runtime_version = importlib.metadata.version("ai-edge-litert")
        mode = None if options.get("xnnpack", True) else compiled_model.CpuKernelMode.BUILTIN
        self._model = compiled_model.CompiledModel.from_file(
            path,
            options=compiled_model.Options(
                hardware_accelerators=compiled_model.HardwareAccelerator.CPU,
                cpu_options=compiled_model.CpuOptions(num_threads=threads, kernel_mode=mode),
            ),
        )
        signature = self._model.get_signature_list()
        (self._key, names), *_ = signature.items()
        self._inputs = dict(zip(names["inputs"], self._model.create_input_buffers(0), strict=True))
        self._outputs = dict(
            zip(names["outputs"], self._model.create_output_buffers(0), strict=True)
        )
        self._details = self._model.get_output_tensor_details(self._key)

    def set_inputs(self, values: Values) -> None:
        for name, buffer in self._inputs.items():
            buffer.write(values[name])

    def invoke(self) -> None:
        self._model.run_by_index(0, list(self._inputs.values()), list(self._outputs.values()))

    def outputs(self) -> dict[str, np.ndarray]:
        found = {}
        for name, buffer in self._outputs.items():
            shape, dtype = self._details[name]["shape"], self._details[name]["dtype"]
            found[name] = buffer.read(int(np.prod(shape)), dtype).reshape(shape)
        return found


class _OnnxRuntime:
    """An `.onnx` file in ONNX Runtime's CPU provider, with all of its graph optimizations."""

    runtime_name = "onnxruntime"
    delegation = None

    def __init__(self, path: str, threads: int, runtime: str, options: Mapping[str, Any]) -> None:
        import onnxruntime

        self.runtime_version = onnxruntime.__version__
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            path, settings, providers=["CPUExecutionProvider"]
        )
        self._names = [output.name for output in self._session.get_outputs()]

    def set_inputs(self, values: Values) -> None:
        self._values = dict(values)

    def invoke(self) -> None:
        self._results = self._session.run(None, self._values)

    def outputs(self) -> dict[str, np.ndarray]:
        return dict(zip(self._names, self._results, strict=True))


class _OpenVino:
    """An `.onnx` file in OpenVINO, set for latency.

    Option `precision`: what float layers are computed in, "f32" or "bf16"; OpenVINO by itself takes
    bfloat16 where the processor has it.
    """

    runtime_name = "openvino"
    delegation = None

    def __init__(self, path: str, threads: int, runtime: str, options: Mapping[str, Any]) -> None:
        import openvino

        self.runtime_version = importlib.metadata.version("openvino")
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": options.get("precision", "f32"),
        }
        model = openvino.Core().compile_model(path, "CPU", settings)
        self._request = model.create_infer_request()
        self._names = [output.any_name for output in model.outputs]

    def set_inputs(self, values: Values) -> None:
        import openvino

        for name, value in values.items():
            self._request.set_tensor(name, openvino.Tensor(np.ascontiguousarray(value)))

    def invoke(self) -> None:
        self._request.infer()

    def outputs(self) -> dict[str, np.ndarray]:
        return {name: self._request.get_tensor(name).data.copy() for name in self._names}


class _DeepSparse:
    """An `.onnx` file in DeepSparse."""

    runtime_name = "deepsparse"
    delegation = None

    def __init__(self, path: str, threads: int, runtime: str, options: Mapping[str, Any]) -> None:
        import deepsparse

        self.runtime_version = importlib.metadata.version("deepsparse")
        self._engine = deepsparse.Engine(path, batch_size=1, num_cores=threads)

    def set_inputs(self, values: Values) -> None:
        self._values = [np.ascontiguousarray(values[name]) for name in self._engine.input_names]

    def invoke(self) -> None:
        self._results = self._engine.run(self._values)

    def outputs(self) -> dict[str, np.ndarray]:
        return dict(zip(self._engine.output_names, self._results, strict=True))


# Class and module of each runtime.
_INTERPRETER = "tf_prune_ofa.runtime.installed"
_RUNNERS: Mapping[str, tuple[Callable[..., Any], str]] = {
    "auto": (_Interpreter, _INTERPRETER),
    "litert": (_Interpreter, _INTERPRETER),
    "tflite_runtime": (_Interpreter, _INTERPRETER),
    "tensorflow": (_Interpreter, _INTERPRETER),
    "compiled_model": (_CompiledModel, "ai_edge_litert.compiled_model"),
    "onnxruntime": (_OnnxRuntime, "onnxruntime"),
    "openvino": (_OpenVino, "openvino"),
    "deepsparse": (_DeepSparse, "deepsparse"),
}
NAMES = tuple(_RUNNERS)


def prepare(runtime: str) -> ModuleType:
    """Import a runtime, so that opening a file does not pay for that.

    Raises:
        UserError: there is no runtime of this name, or it is not installed.
    """
    if runtime not in _RUNNERS:
        raise UserError(f"there is no runtime {runtime!r}; choose one of {', '.join(NAMES)}.")
    runner, module = _RUNNERS[runtime]
    if runner is _Interpreter:
        return importlib.import_module(module).find_runtime(runtime)[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"the runtime {runtime} is not installed here ({error}). tools/make_peers.py makes an "
            "environment for each runtime that is not this package's own."
        ) from error


def open_file(path: str, runtime: str, threads: int, options: Mapping[str, Any]) -> Runner:
    """Open a model file.

    Raises:
        UserError: there is no such runtime, or it refuses the file.
    """
    prepare(runtime)
    try:
        return _RUNNERS[runtime][0](path, threads, runtime, options)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{runtime} cannot load {path}: {error}") from error
