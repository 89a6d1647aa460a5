"""Which weights live and die together: the shapes of sparsity, by name.

A pattern divides kernels into units. A unit's score is the mean of its weights' scores, and masks
keep or prune whole units, so that the count of units is exact whatever their size. Patterns are
written in TFLite's terms, outputs x inputs; `_units_of` is the one place where that becomes Keras's
[in, out].

Legend: M size of a group of N:M · N weights of it that may stay · D size of an attention head.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from tf_prune_ofa.errors import UserError, did_you_mean

Shapes = Mapping[str, tuple[int, int]]  # of kernels [in, out], by layer name
Units = Callable[[int, int], np.ndarray]  # (outputs, inputs) -> unit of each weight [out, in]


@dataclass(frozen=True)
class Site:
    """One kernel, or several that are pruned jointly, and the units that they fall into.

    Attributes:
        shapes: of the kernels [in, out] by layer name.
        units: layer name -> unit number of each weight, int [in, out]; None where each weight is
            a unit of its own, in the kernel's order.
        count: how many units there are; numbers go from 0 to count - 1.
        group: units in a group of neighbours; 0 without groups.
        most_zeros: how many units of a group may be pruned.
    """

    shapes: Shapes
    units: Callable[[str], np.ndarray] | None
    count: int
    group: int = 0
    most_zeros: int = 0

    @property
    def weights(self) -> int:
        """Weights of all its kernels together."""
        return sum(int(np.prod(shape)) for shape in self.shapes.values())

    def means(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the mean over each unit, [count], of values [in, out] by layer name."""
        if self.units is None:
            [array] = values.values()
            return array.ravel()
        sums, sizes = np.zeros(self.count), np.zeros(self.count)
        for name, array in values.items():
            units = self.units(name).ravel()
            sums += np.bincount(units, array.ravel(), self.count)
            sizes += np.bincount(units, minlength=self.count)
        return sums / sizes

    def spread(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Return a value of each unit, [count], as that of all its weights, [in, out] by layer."""
        if self.units is None:
            [(name, shape)] = self.shapes.items()
            return {name: values.reshape(shape)}
        return {name: values[self.units(name)] for name in self.shapes}

    def may_go(self, scores: np.ndarray) -> np.ndarray | None:
        """Return which units may be pruned, bool [count]: the lowest of each group; None for all.

        Args:
            scores: of the units; those pruned before must be the lowest.
        """
        if not self.group:
            return None
        # Of equal scores the later goes first, as in `keep_highest`.
        order = np.argsort(scores.reshape(-1, self.group)[:, ::-1], axis=1, kind="stable")
        allowed = np.zeros(order.shape, bool)
        np.put_along_axis(allowed, order[:, : self.most_zeros], True, axis=1)
        return allowed[:, ::-1].ravel()


class Pattern(Protocol):
    """What a pattern does."""

    def sites(self, shapes: Shapes, *, heads: int, rule: str) -> list[Site]:
        """Return the sites of all layers of a rule.

        Args:
            shapes: of their kernels [in, out].
            heads: attention heads of the encoder.
            rule: for messages.

        Raises:
            UserError: the pattern does not fit a kernel.
        """

    def check(self, sparsity: float, *, rule: str) -> None:
        """Raise a UserError if the pattern cannot have this final sparsity."""


@dataclass(frozen=True)
class KernelPattern:
    """Units inside each kernel for itself.

    Attributes:
        name: as in a recipe.
        units: unit of each weight; None where each weight is a unit.
        group: M, where groups of M weights along the input axis hold at least `most_zeros`.
        most_zeros: M - N.
    """

    name: str
    units: Units | None
    group: int = 0
    most_zeros: int = 0

    def sites(self, shapes: Shapes, *, heads: int, rule: str) -> list[Site]:
        """Return one site for each kernel; see `Pattern`."""
        return [self._site(name, shape) for name, shape in shapes.items()]

    def _site(self, name: str, shape: tuple[int, int]) -> Site:
        if self.units is None:
            return Site({name: shape}, None, int(np.prod(shape)))
        try:
            sizes = np.bincount(_units_of(self.units, shape).ravel())
        except UserError as error:
            raise UserError(f"pattern {self.name} does not fit {name}: {error}") from error
        if not np.all(sizes):
            raise UserError(
                f"pattern {self.name} has {np.count_nonzero(sizes == 0)} of {len(sizes)} units "
                f"without a weight of {name}; number the units from 0, leaving none out"
            )
        units = partial(_units_of, self.units, shape)
        return Site({name: shape}, lambda _: units(), len(sizes), self.group, self.most_zeros)

    def check(self, sparsity: float, *, rule: str) -> None:
        """Refuse a sparsity other than that of N:M."""
        own = self.most_zeros / self.group if self.group else sparsity
        if abs(own - sparsity) > 1e-3:
            raise UserError(
                f"rule '{rule}' asks for sparsity {sparsity}, but the pattern {self.name} is "
                f"{own:.4g} by itself; write {own:.4g}. (During the ramp, groups fill up bit by "
                "bit.)"
            )


@dataclass(frozen=True)
class JointPattern:
    """Units that run through several kernels of one encoder layer: heads, neurons.

    Attributes:
        name: as in a recipe.
        members: (end of the layer's name, axis of its kernel [out, in] along which the units lie).
        needs_heads: whether a unit is an attention head; else it is one row or column.
    """

    name: str
    members: tuple[tuple[str, int], ...]
    needs_heads: bool

    def sites(self, shapes: Shapes, *, heads: int, rule: str) -> list[Site]:
        """Return one site for each encoder layer; see `Pattern`."""
        found: dict[str, dict[str, int]] = {}
        for name in shapes:
            ends = [(end, axis) for end, axis in self.members if name.endswith("/" + end)]
            for end, axis in ends:
                found.setdefault(name.removesuffix(end), {})[name] = axis
            if not ends:
                raise UserError(f"rule '{rule}' matches {name}, which {self._advice}")
        for prefix, axes in found.items():
            missing = [prefix + end for end, _ in self.members if prefix + end not in axes]
            if missing:
                raise UserError(
                    f"rule '{rule}' leaves out {', '.join(missing)}. {self.name} are pruned in all "
                    f"kernels together: one rule must match them all. This pattern {self._advice}"
                )
        return [self._site({n: shapes[n] for n in axes}, axes, heads) for axes in found.values()]

    @property
    def _advice(self) -> str:
        ends = ", ".join(end for end, _ in self.members)
        folder = self.members[0][0].partition("/")[0]
        return f"has no {self.name}: they are in {ends}. Write encoder_.*/{folder}/.*"

    def _site(self, shapes: Shapes, axes: Mapping[str, int], heads: int) -> Site:
        first, axis = next(iter(axes.items()))
        size = shapes[first][1 - axis]
        count = heads if self.needs_heads else size

        def units(name: str) -> np.ndarray:
            return _units_of(partial(_along, axes[name], count), shapes[name])

        return Site(shapes, units, count)

    def check(self, sparsity: float, *, rule: str) -> None:
        """Any share of heads or neurons may go."""


def find_pattern(text: str) -> Pattern:
    """Return the pattern of a name in a recipe: "unstructured", "64x32", "2:4", "heads"...

    Raises:
        UserError: there is none of that name.
    """
    if text in _PATTERNS:
        return _PATTERNS[text]
    if match := re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text):
        return KernelPattern(text, partial(_blocks, int(match[1]), int(match[2])))
    if match := re.fullmatch(r"([1-9]\d*):([1-9]\d*)", text):
        kept, group = int(match[1]), int(match[2])
        if kept >= group:
            raise UserError(
                f"pattern {text} keeps {kept} of {group} weights, so it prunes nothing; write the "
                "weights that stay first, as in '2:4'"
            )
        return KernelPattern(text, partial(_singles, group), group, group - kept)
    hint = did_you_mean(text, _PATTERNS)
    if text.isdecimal():
        hint = ". YAML reads 2:4 without quotes as a number to base 60: write '2:4'."
    raise UserError(
        f"there is no pattern '{text}'; patterns are {', '.join(_PATTERNS)}, blocks of outputs x "
        f"inputs such as 64x32, and '2:4' (two of four inputs stay){hint}"
    )


def register_pattern(name: str, units: Units) -> None:
    """Add a pattern that recipes can name.

    Args:
        name: new.
        units: (outputs, inputs) -> int array [outputs, inputs], the number of the unit that each
            weight belongs to, from 0; raises a UserError for a kernel that does not fit.
    """
    if name in _PATTERNS:
        raise UserError(f"there is a pattern '{name}' already; choose another name")
    _PATTERNS[name] = KernelPattern(name, units)


def _units_of(units: Units, shape: tuple[int, int]) -> np.ndarray:
    """Return the unit of each weight in Keras's order [in, out]."""
    inputs, outputs = shape
    found = np.asarray(units(outputs, inputs))
    if found.shape != (outputs, inputs) or found.dtype.kind not in "iu" or found.min() < 0:
        raise UserError(
            f"its units must be numbers from 0, an int array {outputs, inputs}, got "
            f"{found.dtype} {found.shape}"
        )
    return found.T


def _blocks(rows: int, columns: int, outputs: int, inputs: int) -> np.ndarray:
    if outputs % rows or inputs % columns:
        raise UserError(
            f"blocks of {rows}x{columns} do not divide its kernel of {outputs}x{inputs} (both "
            "outputs x inputs); choose divisors, or leave the layer out by a rule"
        )
    row, column = np.arange(outputs) // rows, np.arange(inputs) // columns
    return row[:, None] * (inputs // columns) + column


def _singles(group: int, outputs: int, inputs: int) -> np.ndarray:
    if inputs % group:
        raise UserError(
            f"groups of {group} do not divide the {inputs} inputs of its kernel of "
            f"{outputs}x{inputs} (outputs x inputs)"
        )
    return np.arange(outputs * inputs).reshape(outputs, inputs)


def _along(axis: int, count: int, outputs: int, inputs: int) -> np.ndarray:
    """Return units that are whole rows (axis 0) or columns (axis 1) of [out, in]."""
    shape = (outputs, inputs)
    numbers = np.arange(shape[axis]) // (shape[axis] // count)
    return np.broadcast_to(np.expand_dims(numbers, 1 - axis), shape)


_PATTERNS: dict[str, Pattern] = {
    "unstructured": KernelPattern("unstructured", None),
    "heads": JointPattern(
        "heads",
        (
            ("attention/query", 0),
            ("attention/key", 0),
            ("attention/value", 0),
            ("attention/output", 1),
        ),
        needs_heads=True,
    ),
    "neurons": JointPattern(
        "neurons", (("ffn/intermediate", 0), ("ffn/output", 1)), needs_heads=False
    ),
}
