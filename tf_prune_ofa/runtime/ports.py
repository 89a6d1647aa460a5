"""Inputs and outputs of a file: their plain names, and shapes that leave a size open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tf_prune_ofa.errors import UserError


def plain_name(name: str) -> str:
    """Return the name of an input or output without what the converter puts around it."""
    # Files straight from the converter have "serving_default_input_mask:0".
    return name.removeprefix("serving_default_").removesuffix(":0")


def open_shape(signature: Sequence[int], sequence_length: int) -> tuple[int, ...]:
    """Return a shape whose open sizes (-1) are filled in: one example of so many tokens.

    >>> open_shape([-1, -1, 768], 128)
    (1, 128, 768)
    """
    sizes = [int(size) for size in signature]
    if len(sizes) > 1 and sizes[0] < 0:
        sizes[0] = 1
    return tuple(sequence_length if size < 0 else size for size in sizes)


def by_name(ports: Sequence[dict], path: Path) -> dict[str, dict]:
    """Return inputs or outputs by their plain names; by their full ones where these are the same.

    Raises:
        UserError: two have one name even so.
    """
    for named in (plain_name, str):
        found = {named(port["name"]): port for port in ports}
        if len(found) == len(ports):
            return found
    names = ", ".join(port["name"] for port in ports)
    raise UserError(
        f"{path} has two inputs or outputs of one name: {names}. Give each a name of its own when "
        "the model is converted."
    )


def resize(opened: Any, sequence_length: int) -> None:
    """Give the inputs of a runtime's interpreter the length that they leave open."""
    for detail in opened.get_input_details():
        shape = open_shape(detail["shape_signature"], sequence_length)
        if shape != tuple(detail["shape"]):
            opened.resize_tensor_input(detail["index"], shape)
