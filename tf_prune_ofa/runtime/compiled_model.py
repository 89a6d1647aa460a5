"""LiteRT's CompiledModel with the sparse delegate, through the C interface of libLiteRt.

A CompiledModel takes no external delegate, but accelerators, in the order in which they were
registered with its environment. Python's class has registered XNNPACK's by the time that it can be
asked, and XNNPACK leaves nothing over. So an environment is made without any, and gets the
delegate first and XNNPACK's accelerator behind it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime import delegate as sparse_delegate
from tf_prune_ofa.tflite import flatbuffer

# Of LiteRT's C headers (litert/c, version 2.3).
_AUTO_REGISTER_ACCELERATORS, _ANY_INT, _CPU = 24, 2, 1
_READ, _WRITE = 0, 1
_DTYPES = {1: np.float32, 2: np.int32, 3: np.uint8, 4: np.int64, 9: np.int8}
_HANDLE, _SIZE = ctypes.c_void_p, ctypes.c_size_t


class _Any(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int), ("value", ctypes.c_int64))


class _EnvironmentOption(ctypes.Structure):
    _fields_ = (("tag", ctypes.c_int), ("value", _Any))


class _TensorType(ctypes.Structure):
    """Element type; rank in seven bits; sizes; strides."""

    _fields_ = (
        ("element", ctypes.c_int),
        ("rank", ctypes.c_uint),
        ("sizes", ctypes.c_int * 8),
        ("strides", ctypes.c_uint * 8),
    )

    def shape(self) -> tuple[int, ...]:
        return tuple(self.sizes[: self.rank & 0x7F])


class CompiledModel:
    """A `.tflite` file in LiteRT's CompiledModel, on one thread, with the sparse delegate.

    Attributes:
        path: the file.
        delegate_report: what the delegate says of every INT8 layer.
    """

    def __init__(
        self, path: str | os.PathLike[str], delegate_options: Mapping[str, str] | None = None
    ) -> None:
        """Load and compile a file.

        Args:
            path: the file; its shapes are fixed.
            delegate_options: of the library, see docs/delegate.md. `cost_table` names what was
                measured here; without it shipped costs decide.

        Raises:
            UserError: the file, the options or the runtime do not do.
        """
        self.path = Path(path)
        flatbuffer.read_model(self.path)
        self._delegate = ctypes.CDLL(str(sparse_delegate.require()))
        self._delegate.tflite_plugin_create_delegate.restype = _HANDLE
        self._delegate.tf_prune_ofa_report.restype = ctypes.c_char_p
        self._options = {"num_threads": "1", **(delegate_options or {})}
        self._refused: list[str] = []
        self._made: list[int] = []
        self._kept: list[Any] = []  # what the runtime calls as long as it lives
        self._library = _library()
        self._environment, self._model, self._compiled = _HANDLE(), _HANDLE(), _HANDLE()
        self._buffers: list[_HANDLE] = []
        try:
            self._compile()
            self._inputs, self._outputs = (self._ports(kind) for kind in ("Input", "Output"))
        except BaseException:
            self.close()
            raise
        text = self._delegate.tf_prune_ofa_report(_HANDLE(self._made[0])).decode(errors="replace")
        self.delegate_report = sparse_delegate.read_report(text)

    def run(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run one example.

        Args:
            values: by input name.

        Returns:
            The outputs by name.

        Raises:
            UserError: names or shapes are not the file's, or the run fails.
        """
        if set(values) != set(self._inputs):
            raise UserError(
                f"{self.path.name} has the inputs {', '.join(self._inputs)}; given were "
                f"{', '.join(values)}."
            )
        for name, (buffer, kind) in self._inputs.items():
            value = np.asarray(values[name])
            if value.shape not in (kind.shape(), kind.shape()[1:]):
                raise UserError(
                    f"{self.path.name} takes {name} of shape {list(kind.shape())}, given was "
                    f"{list(value.shape)}."
                )
            self._access(buffer, kind, _WRITE)[...] = value.reshape(kind.shape())
            self._ask("UnlockTensorBuffer", buffer)
        arrays = [
            (_HANDLE * len(ports))(*(buffer.value for buffer, _ in ports.values()))
            for ports in (self._inputs, self._outputs)
        ]
        self._ask(
            "RunCompiledModel",
            self._compiled,
            _SIZE(0),
            *(item for array in arrays for item in (_SIZE(len(array)), array)),
        )
        results = {}
        for name, (buffer, kind) in self._outputs.items():
            results[name] = self._access(buffer, kind, _READ).copy()
            self._ask("UnlockTensorBuffer", buffer)
        return results

    def close(self) -> None:
        """Give everything back; the object is of no use afterwards."""
        for buffer in self._buffers:
            self._library.LiteRtDestroyTensorBuffer(buffer)
        handles = {
            "CompiledModel": self._compiled,
            "Model": self._model,
            "Environment": self._environment,
        }
        for kind, handle in handles.items():
            if handle:
                getattr(self._library, f"LiteRtDestroy{kind}")(handle)
                handle.value = None
        self._buffers = []

    def __enter__(self) -> CompiledModel:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self.close()

    def _compile(self) -> None:
        nobody = _EnvironmentOption(_AUTO_REGISTER_ACCELERATORS, _Any(_ANY_INT, 0))
        self._ask("CreateEnvironment", 1, ctypes.byref(nobody), ctypes.byref(self._environment))
        count = _SIZE()
        self._ask("GetNumAccelerators", self._environment, ctypes.byref(count))
        if count.value:
            raise UserError(
                "this LiteRT registers accelerators by itself, and they would take all layers "
                "before the sparse delegate. Use LiteRT 2.3.0, or runtime.interpreter."
            )
        self._register(self._callbacks())
        # A table of pointers behind a header of the size of one.
        table = ctypes.POINTER(_HANDLE)
        cpu = ctypes.cast(
            _HANDLE.in_dll(self._library, "LiteRtStaticLinkedAcceleratorCpuDef"), table
        )
        self._register([_HANDLE(cpu[i]) for i in range(1, 6)])
        file = os.fsencode(self.path)
        self._ask("CreateModelFromFile", self._environment, file, ctypes.byref(self._model))
        options = _HANDLE()
        self._ask("CreateOptions", ctypes.byref(options))
        try:
            self._ask("SetOptionsHardwareAccelerators", options, _CPU)
            self._ask(
                "CreateCompiledModel",
                *(self._environment, self._model, options, ctypes.byref(self._compiled)),
            )
        finally:
            self._library.LiteRtDestroyOptions(options)

    def _register(self, functions: list[Any]) -> None:
        """Register an accelerator of: name, version, hardware, who compiles, its delegate."""
        accelerator = _HANDLE()
        self._ask("CreateAccelerator", ctypes.byref(accelerator))
        setters = (
            "SetAcceleratorGetName",
            "SetAcceleratorGetVersion",
            "SetAcceleratorGetHardwareSupport",
            "SetIsAcceleratorDelegateResponsibleForJitCompilation",
            "SetDelegateFunction",
        )
        for setter, function in zip(setters, functions, strict=True):
            self._ask(setter, accelerator, function)
        self._ask("RegisterAccelerator", self._environment, accelerator, None, None)

    def _callbacks(self) -> list[Any]:
        name = ctypes.c_char_p(b"TfPruneOfaSparse")

        def is_named(_: int, out: Any) -> int:
            out[0] = name
            return 0

        def has_version(_: int, out: Any) -> int:
            out[0], out[1], out[2] = 1, 0, 0
            return 0

        def runs_on_cpu(_: int, out: Any) -> int:
            out[0] = _CPU
            return 0

        def compiles_nothing(_: int, out: Any) -> int:
            out[0] = False
            return 0

        ints, pointer = ctypes.POINTER(ctypes.c_int), ctypes.POINTER
        functions = [
            _callback(is_named, _HANDLE, pointer(ctypes.c_char_p)),
            _callback(has_version, _HANDLE, ints),
            _callback(runs_on_cpu, _HANDLE, ints),
            _callback(compiles_nothing, _HANDLE, pointer(ctypes.c_bool)),
            _callback(self._create_delegate, *[_HANDLE] * 5),
        ]
        self._kept += functions
        return functions

    def _create_delegate(self, _a: int, _b: int, _c: int, _d: int, wrapper: int) -> int:
        """Called by the runtime, which destroys the delegate with the compiled model."""
        arrays = [
            (ctypes.c_char_p * len(self._options))(*(word.encode() for word in words))
            for words in (self._options.keys(), self._options.values())
        ]
        tell = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(
            lambda text: self._refused.append(text.decode(errors="replace"))
        )
        made = self._delegate.tflite_plugin_create_delegate(
            *arrays, _SIZE(len(self._options)), tell
        )
        if not made:
            return 1
        self._made.append(made)
        destroy = ctypes.cast(self._delegate.tflite_plugin_destroy_delegate, _HANDLE)
        return self._library.LiteRtWrapDelegate(_HANDLE(made), destroy, _HANDLE(wrapper))

    def _ports(self, kind: str) -> dict[str, tuple[_HANDLE, _TensorType]]:
        """Make a buffer for each input or output."""
        signature, count = _HANDLE(), _SIZE()
        self._ask("GetModelSignature", self._model, _SIZE(0), ctypes.byref(signature))
        self._ask(f"GetNumSignature{kind}s", signature, ctypes.byref(count))
        ports = {}
        for i in map(_SIZE, range(count.value)):
            name, tensor, needs, buffer = ctypes.c_char_p(), _HANDLE(), _HANDLE(), _HANDLE()
            form = _TensorType()
            self._ask(f"GetSignature{kind}Name", signature, i, ctypes.byref(name))
            self._ask(f"GetSignature{kind}TensorByIndex", signature, i, ctypes.byref(tensor))
            self._ask("GetRankedTensorType", tensor, ctypes.byref(form))
            if form.element not in _DTYPES or min(form.shape(), default=1) < 1:
                raise UserError(f"{self.path.name} has an {kind.lower()} of open shape or type.")
            self._ask(
                f"GetCompiledModel{kind}BufferRequirements",
                *(self._compiled, _SIZE(0), i, ctypes.byref(needs)),
            )
            self._ask(
                "CreateManagedTensorBufferFromRequirements",
                *(self._environment, ctypes.byref(form), needs, ctypes.byref(buffer)),
            )
            self._buffers.append(buffer)
            ports[(name.value or b"").decode(errors="replace")] = (buffer, form)
        return ports

    def _access(self, buffer: _HANDLE, kind: _TensorType, mode: int) -> np.ndarray:
        """Lock a buffer and return it as an array, valid until it is unlocked."""
        place, dtype = _HANDLE(), np.dtype(_DTYPES[kind.element])
        self._ask("LockTensorBuffer", buffer, ctypes.byref(place), mode)
        size = int(np.prod(kind.shape(), dtype=np.int64)) * dtype.itemsize
        content = (ctypes.c_uint8 * size).from_address(place.value)
        return np.frombuffer(content, dtype).reshape(kind.shape())

    def _ask(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, f"LiteRt{function}")(*arguments)
        if status:
            reason = "; ".join(self._refused) or f"LiteRt{function} failed with {status}"
            raise UserError(f"LiteRT's CompiledModel cannot run {self.path}: {reason}.")


def _callback(function: Callable[..., int], *arguments: Any) -> Any:
    return ctypes.CFUNCTYPE(ctypes.c_int, *arguments)(function)


def _library() -> ctypes.CDLL:
    """Load LiteRT's C library.

    Raises:
        UserError: LiteRT is not installed, or too old.
    """
    try:
        import ai_edge_litert

        library = ctypes.CDLL(str(Path(ai_edge_litert.__file__).with_name("libLiteRt.so")))
        for function in ("LiteRtWrapDelegate", "LiteRtRegisterAccelerator"):
            getattr(library, function)
    except (ImportError, OSError, AttributeError) as error:
        raise UserError(
            f"LiteRT's CompiledModel takes accelerators from ai-edge-litert 2.3.0 on: {error}. "
            "pip install ai-edge-litert==2.3.0"
        ) from error
    return library
