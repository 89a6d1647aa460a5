"""Where each operator of an opened file runs: the sparse delegate, XNNPACK or the runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Who runs an operator. The last stands for the runtime's own kernels.
SPARSE = "sparse delegate"
XNNPACK = "XNNPACK"
BUILTIN = "runtime"


@dataclass(frozen=True)
class PlacedNode:
    """An operator of a loaded file, and where it runs.

    Attributes:
        index: of the operator.
        operator: its name, such as `FULLY_CONNECTED`.
        output: name of its first output.
        place: `SPARSE`, `XNNPACK` or `BUILTIN`.
    """

    index: int
    operator: str
    output: str
    place: str


def find_places(nodes: Sequence[dict], before_xnnpack: int) -> tuple[dict[int, str], list[str]]:
    """Return where each operator runs, and whose each delegated piece is.

    A runtime keeps delegated operators in its list and appends a DELEGATE that stands for them,
    without saying for which. What it stands for is what lies between its inputs and its outputs.

    Args:
        nodes: what the runtime lists.
        before_xnnpack: how many of them there were before XNNPACK had its turn.
    """
    delegates = [node for node in nodes if node["op_name"] == "DELEGATE"]
    operators = [node for node in nodes if node["op_name"] != "DELEGATE"]
    producer = {int(tensor): node["index"] for node in operators for tensor in node["outputs"]}
    inputs_of = {node["index"]: [int(t) for t in node["inputs"]] for node in operators}
    places = dict.fromkeys(inputs_of, BUILTIN)
    pieces = []
    for delegate in delegates:
        pieces.append(SPARSE if delegate["index"] < before_xnnpack else XNNPACK)
        seen = {int(tensor) for tensor in delegate["inputs"]}
        waiting = [int(tensor) for tensor in delegate["outputs"]]
        while waiting:
            tensor = waiting.pop()
            if tensor in seen or tensor not in producer:
                continue
            seen.add(tensor)
            places[producer[tensor]] = pieces[-1]
            waiting += inputs_of[producer[tensor]]
    return places, pieces
