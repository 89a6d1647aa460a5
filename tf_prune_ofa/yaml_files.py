"""YAML as recipes, tasks and plans are written in: plain values, each key once, of limited size."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from tf_prune_ofa.errors import UserError

# Far beyond any recipe, and far below what would fill memory or exhaust the parser's recursion.
MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_VALUES = 100_000  # with every alias written out


class _Loader(yaml.SafeLoader):
    """The safe loader, which takes the last of equal keys, any depth, and any use of aliases."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(
                None, None, f"more than {MAX_DEPTH} levels deep", self.peek_event().start_mark
            )
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _count(node, {})
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        # Before "<<" is merged in: a key beside it is meant to replace the merged one.
        first: dict[Hashable, yaml.Mark] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in first:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"the key {key!r} is there twice, in line {first[key].line + 1} too; only one "
                    "of them could count",
                    key_node.start_mark,
                )
            if isinstance(key, Hashable):
                first[key] = key_node.start_mark
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file as plain values.

    Raises:
        UserError: a file that is too large, not YAML, or has a key twice.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UserError(
            f"{path} has more than {MAX_BYTES / 1e6:.0f} MB, which no recipe needs; name a recipe"
        )
    try:
        return parse_yaml(data.decode("utf-8-sig"))
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error


def parse_yaml(text: str) -> Any:
    """Return a YAML text as plain values.

    Raises:
        yaml.YAMLError: it is none, or has a key twice.
        ValueError: a value that cannot be, such as the 40th of a month.
    """
    return yaml.load(text, _Loader)  # noqa: S506, a safe loader


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many values a node has with every alias written out, refusing too many."""
    if id(node) in known:
        if not known[id(node)]:
            raise yaml.composer.ComposerError(
                None, None, "an alias inside of what it stands for", node.start_mark
            )
        return known[id(node)]
    known[id(node)] = 0  # begun
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        children = [child for pair in node.value for child in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    count = 1 + sum(_count(child, known) for child in children)
    if count > MAX_VALUES:
        raise yaml.composer.ComposerError(
            None, None, f"more than {MAX_VALUES:,} values", node.start_mark
        )
    known[id(node)] = count
    return count
