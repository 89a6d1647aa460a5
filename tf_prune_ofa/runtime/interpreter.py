"""One way to open and run a .tflite file, whichever runtime is installed.

Legend: S sequence.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.runtime import delegate as sparse_delegate
from tf_prune_ofa.runtime.installed import Runtime, find_runtime
from tf_prune_ofa.runtime.measured import open_measured
from tf_prune_ofa.runtime.places import SPARSE, XNNPACK, PlacedNode, find_places
from tf_prune_ofa.runtime.ports import by_name, resize
from tf_prune_ofa.tflite import flatbuffer


class Interpreter:
    """A loaded .tflite file.

    Attributes:
        path: the file.
        runtime_name: "litert", "tflite_runtime" or "tensorflow".
        runtime_version: its version, e.g. "2.3.0".
        sequence_length: S of the file's first input; None where it has none, or one number only.
        input_names: names of the inputs, in their order in the file.
        output_names: names of the outputs, in their order in the file.
        node_count: operators in the file.
        delegated_count: how many of them XNNPACK runs.
        partition_count: into how many pieces these fall; each border costs time.
        sparse_count: how many operators the sparse INT8 delegate runs.
        sparse_partition_count: into how many pieces these fall.
        delegate_report: what the delegate says of every INT8 layer; None if none was loaded.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int = 1,
        runtime: Runtime = "auto",
        xnnpack: bool = True,
        check: bool = True,
        keep_tensors: bool = False,
        delegate: str | os.PathLike[str] | None = None,
        delegate_options: Mapping[str, str] | None = None,
        sequence_length: int | None = None,
    ) -> None:
        """Load a file and allocate its tensors.

        Args:
            path: the .tflite file.
            threads: how many threads the runtime may use.
            runtime: which runtime; "auto" takes the first that is installed, in the order litert,
                tflite_runtime, tensorflow.
            xnnpack: whether XNNPACK runs what it can; otherwise the runtime's own kernels do.
            check: whether to look for damage in the file first, as `file_checks` lists: a file that
                was cut, an index that points at nothing, a constant of the wrong size. Native code
                trusts all that, and crashes. It still trusts what is not looked at (options of
                operators, their order, shapes that do not fit each other): files of strangers are
                safe in a process of their own only, see `apart`. A measurement of the time or
                memory of loading, of a file that was checked before, leaves this out.
            keep_tensors: keep every tensor of a run for `tensor`; for inspection, with
                `xnnpack` off, as what XNNPACK computes inside is never written out.
            delegate: the sparse INT8 delegate: None for none, "auto" for the package's own (where
                it is missing the file runs without it, after one line in the log), or the path of
                a library.
            delegate_options: options of the delegate; see docs/delegate.md.
            sequence_length: S for inputs whose shape the file leaves open; see `open_shape`.

        Raises:
            UserError: no such file, not a whole .tflite file, no such runtime installed, or the
                runtime refuses the file, or a delegate that was named or its options.
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

        def open_file(loaded: Any | None) -> tuple[Any, int]:
            opened = module.Interpreter(
                str(self.path),
                num_threads=threads,
                experimental_op_resolver_type=resolver,
                experimental_preserve_all_tensors=keep_tensors,
                experimental_delegates=[] if loaded is None else [loaded],
            )
            # Delegates that were given take their operators at once, XNNPACK when tensors are
            # allocated: those that are there by now are not XNNPACK's.
            nodes = opened._interpreter.NumNodes()
            if sequence_length is not None:
                resize(opened, sequence_length)
            opened.allocate_tensors()
            return opened, nodes

        try:
            if delegate is None:
                (self._interpreter, nodes_before_xnnpack), loaded = open_file(None), None
            else:
                runtime_key = (self.runtime_name, self.runtime_version)
                (self._interpreter, nodes_before_xnnpack), loaded = open_measured(
                    module, runtime_key, delegate, delegate_options, open_file
                )
            inputs = self._interpreter.get_input_details()
            outputs = self._interpreter.get_output_details()
            operators = self._interpreter._get_ops_details()
        # The last of them is what the runtime's Python part makes of names that are no text.
        except (RuntimeError, ValueError, UnicodeDecodeError) as error:
            # Nothing is what it says where memory is refused.
            reason = str(error).strip() or "it does not say why; it may need more memory"
            raise UserError(
                f"{self.runtime_name} {self.runtime_version} cannot load {self.path}: {reason}\n"
                "Use a newer runtime, or another variant of this model."
            ) from error
        self._inputs, self._outputs = (by_name(ports, self.path) for ports in (inputs, outputs))
        self.input_names = list(self._inputs)
        self.output_names = list(self._outputs)
        has_length = len(inputs) and len(inputs[0]["shape"])
        self.sequence_length = int(inputs[0]["shape"][-1]) if has_length else None
        self._places, pieces = find_places(operators, nodes_before_xnnpack)
        places = list(self._places.values())
        self.node_count = len(places)
        self.delegated_count, self.partition_count = places.count(XNNPACK), pieces.count(XNNPACK)
        self.sparse_count, self.sparse_partition_count = places.count(SPARSE), pieces.count(SPARSE)
        self.delegate_report = None if loaded is None else sparse_delegate.report(loaded)

    @property
    def delegated_share(self) -> float:
        """Share of the file's operators that XNNPACK runs, in [0, 1]."""
        return self.delegated_count / self.node_count if self.node_count else 0.0

    def nodes(self) -> list[PlacedNode]:
        """Return every operator of the file, and where it runs."""
        names = {d["index"]: d["name"] for d in self._interpreter.get_tensor_details()}
        return [
            PlacedNode(
                index=node["index"],
                operator=node["op_name"],
                output=names[int(node["outputs"][0])] if len(node["outputs"]) else "",
                place=self._places[node["index"]],
            )
            for node in self._interpreter._get_ops_details()
            if node["index"] in self._places
        ]

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

    def run_signature(self, key: str, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run one of the file's signatures on inputs by name, and return its outputs by name.

        Raises:
            UserError: there is no such signature, or the runtime fails.
        """
        try:
            runner = self._interpreter.get_signature_runner(key)
            details = runner.get_input_details()
            given = {
                name: np.asarray(v).astype(details[name]["dtype"]) for name, v in values.items()
            }
            return {name: np.array(value) for name, value in runner(**given).items()}
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.runtime_name} {self.runtime_version} fails to run the signature {key!r} of "
                f"{self.path}: {error}."
            ) from error

    def invoke(self) -> None:
        """Run on the inputs that were set; all that a latency measurement should time.

        Raises:
            UserError: the runtime fails, for instance on an id outside the vocabulary.
        """
        try:
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"{self.runtime_name} {self.runtime_version} fails to run {self.path}: {error}. "
                "Check that the ids are those of the model's own vocabulary, or take another file."
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
