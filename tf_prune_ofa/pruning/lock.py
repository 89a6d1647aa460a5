"""Pattern lock: masks as a file, applied to gradients and weights, asserted at every border.

Masks are written once, by the stage that prunes, and never derived from magnitudes again: on
already sparse weights that would find other zeros, or none. Keys are layer names, masks are bool
[in, out], True where a weight is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa.array_files import read_arrays, write_arrays
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import tf

Masks = dict[str, np.ndarray]

# A weight is 0 by chance, too: underflow of float16 leaves a few. No one prunes so little.
LEAST_ZEROS = 0.01  # of a layer's weights


def masks_from_weights(kernels: Mapping[str, np.ndarray]) -> Masks:
    """Return w != 0 of sparse kernels [in, out]; for a sparse checkpoint that comes without masks.

    Raises:
        UserError: a kernel has no zero at all, so there is no pattern to lock.
    """
    dense = [name for name, kernel in kernels.items() if np.all(kernel)]
    if dense:
        raise UserError(
            f"no sparsity pattern to lock in {len(dense)} of {len(kernels)} layers, "
            f"e.g. {dense[0]}: their kernels have no zeros. Start from a sparse checkpoint, or "
            "prune first"
        )
    return {name: np.asarray(kernel) != 0 for name, kernel in kernels.items()}


def pattern_in(kernels: Mapping[str, np.ndarray]) -> Masks:
    """Return masks of those layers that have a pattern: `LEAST_ZEROS` of their weights or more."""
    shares = {name: float(np.mean(kernel == 0)) for name, kernel in kernels.items()}
    # A layer of nothing but zeros is one that begins so.
    names = [name for name, share in shares.items() if LEAST_ZEROS <= share < 1]
    return masks_from_weights({name: kernels[name] for name in names})


def save_masks(path: str | Path, masks: Mapping[str, np.ndarray]) -> None:
    """Write masks to an .npz, one bit a weight."""
    arrays = {name: np.packbits(np.asarray(mask, bool)) for name, mask in masks.items()}
    shapes = json.dumps({name: list(np.shape(mask)) for name, mask in masks.items()})
    write_arrays(path, {**arrays, "shapes": np.array(shapes)})


def load_masks(path: str | Path) -> Masks:
    """Read what `save_masks` wrote.

    Raises:
        UserError: the file is missing, damaged, or no mask file.
    """
    if not Path(path).exists():
        raise UserError(f"no mask file at {path}; it is written by the stage that prunes")
    remedy = "run the stage that wrote it again"
    arrays = read_arrays(path, ["shapes"], remedy=remedy)
    try:
        shapes = json.loads(str(arrays.pop("shapes")))
        if not isinstance(shapes, dict) or set(shapes) != set(arrays) or not shapes:
            raise ValueError(f"masks of {_some(arrays)}, shapes of {_some(shapes)}")
        return {name: _unpacked(name, arrays[name], shape) for name, shape in shapes.items()}
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no mask file ({error}); {remedy}") from error


def _unpacked(name: str, bits: np.ndarray, shape: Any) -> np.ndarray:
    """Return a mask of exactly the bits that are there: NumPy would make up what is missing.

    Raises:
        ValueError: the shape is none of a kernel, or has more or fewer weights than there are bits.
    """
    is_shape = isinstance(shape, list) and len(shape) == 2
    if not is_shape or not all(type(size) is int and size > 0 for size in shape):
        raise ValueError(f"'{name}' has no shape of a kernel, got {str(shape)[:60]}")
    count = shape[0] * shape[1]
    if bits.dtype != np.uint8 or bits.shape != (-(-count // 8),):
        raise ValueError(f"'{name}' has no {shape[0]} x {shape[1]} bits")
    mask = np.unpackbits(bits).astype(bool)
    if mask[count:].any():
        raise ValueError(f"'{name}' has bits beyond {shape[0]} x {shape[1]}")
    return mask[:count].reshape(shape)


def _some(names: Any) -> str:
    return f"{len(names)} layers ({', '.join(sorted(map(str, names))[:3])})" if names else "none"


def assert_zeros(
    kernels: Mapping[str, np.ndarray | tf.Variable], masks: Mapping[str, np.ndarray], *, where: str
) -> None:
    """Check that every pruned weight is exactly zero.

    Args:
        kernels: kernels [in, out] by layer name.
        masks: the pattern.
        where: what is being checked, for the message.

    Raises:
        UserError: a pruned weight is not zero, or a masked layer is missing or has another shape.
    """
    _refuse(_revived(kernels, masks), where)


def assert_same_zeros(
    kernels: Mapping[str, np.ndarray | tf.Variable], masks: Mapping[str, np.ndarray], *, where: str
) -> None:
    """Check that masks are those of a model: every pruned weight is zero, and no others are.

    For where the two come in separately. Zeros that no mask names would be trained, or counted, as
    weights like any others.

    Args:
        kernels: kernels [in, out] by layer name, of all that may have a pattern.
        masks: the pattern; none says that nothing was pruned.
        where: what is being checked, for the message.

    Raises:
        UserError: as `assert_zeros`; or at least `LEAST_ZEROS` of a layer's weights are zero
            without being pruned by the masks.
    """
    _refuse(_revived(kernels, masks) + _left_out(kernels, masks), where)


def _revived(
    kernels: Mapping[str, np.ndarray | tf.Variable], masks: Mapping[str, np.ndarray]
) -> list[str]:
    problems = []
    for name, mask in masks.items():
        if name not in kernels:
            problems.append(f"{name}: no such layer")
            continue
        kernel = np.asarray(kernels[name])
        if kernel.shape != mask.shape:
            problems.append(f"{name}: kernel {kernel.shape}, mask {mask.shape}")
            continue
        revived = np.count_nonzero(kernel[~mask])
        if revived:
            problems.append(
                f"{name}: {revived} of {np.count_nonzero(~mask)} pruned weights not zero"
            )
    return problems


def _left_out(
    kernels: Mapping[str, np.ndarray | tf.Variable], masks: Mapping[str, np.ndarray]
) -> list[str]:
    problems = []
    for name, kernel in kernels.items():
        is_zero = np.asarray(kernel) == 0
        kept = masks.get(name, np.True_)
        if np.shape(kept) not in ((), is_zero.shape):
            continue
        left_out = np.count_nonzero(is_zero & kept)
        if left_out >= LEAST_ZEROS * is_zero.size:
            said = "the masks keep them" if name in masks else "the layer has no mask"
            problems.append(f"{name}: {left_out} of {is_zero.size} weights are zero, and {said}")
    return problems


def _refuse(problems: list[str], where: str) -> None:
    if problems:
        shown = "\n  ".join(problems[:10])
        layers = "1 layer" if len(problems) == 1 else f"{len(problems)} layers"
        raise UserError(f"the sparsity pattern is broken in {where} ({layers}):\n  {shown}")


def sparsity_of(masks: Mapping[str, np.ndarray]) -> float:
    """Return the share of zeros over all masked kernels together, in [0, 1]."""
    size = sum(np.size(mask) for mask in masks.values())
    return 1.0 - sum(int(np.count_nonzero(mask)) for mask in masks.values()) / size


class PatternLock:
    """Keeps pruned weights at zero during training: masks gradients, and weights after each step.

    Masking the gradient lets Adam's moments of a weight fade once it is pruned, and keeps them at
    zero where the pattern was locked from the start; masking the weight after the step makes the
    zero exact at all times, in checkpoints inside an epoch too.
    """

    def __init__(
        self,
        kernels: Mapping[str, tf.Variable],
        masks: Mapping[str, tf.Variable | np.ndarray],
        observe: Callable[[tf.Variable, tf.Tensor], None] | None = None,
    ) -> None:
        """Pair kernels with their masks.

        Args:
            kernels: kernel variables by layer name.
            masks: by layer name: constant masks, or the variables that a pruning wrapper updates.
            observe: given each masked kernel and its gradient, before that is masked or clipped.

        Raises:
            UserError: a masked layer is not in the model, or has another shape.
        """
        self._pairs = {}
        for name, mask in masks.items():
            if name not in kernels or tuple(kernels[name].shape) != tuple(mask.shape):
                raise UserError(
                    f"mask '{name}' {tuple(mask.shape)} fits no kernel of the model; are model and "
                    "masks of the same run?"
                )
            kernel = kernels[name]
            if not isinstance(mask, tf.Variable):
                mask = tf.constant(np.asarray(mask, bool))  # a quarter of what floats take
            self._pairs[kernel.ref()] = mask
        self._observe = observe

    def mask_gradients(
        self, gradients: list[tf.Tensor | None], variables: list[tf.Variable]
    ) -> list[tf.Tensor | None]:
        """Return the gradients with those of pruned weights set to zero."""
        for gradient, variable in zip(gradients, variables, strict=True):
            if self._observe and gradient is not None and variable.ref() in self._pairs:
                self._observe(variable, gradient)
        return [
            _kept(gradient, self._pairs[variable.ref()])
            if gradient is not None and variable.ref() in self._pairs
            else gradient
            for gradient, variable in zip(gradients, variables, strict=True)
        ]

    def apply(self) -> None:
        """Set pruned weights to zero; call it after the optimizer's step."""
        for reference, mask in self._pairs.items():
            kernel = reference.deref()
            kernel.assign(_kept(kernel, mask))


def _kept(values: tf.Tensor | tf.Variable, mask: tf.Tensor | tf.Variable) -> tf.Tensor:
    values = tf.convert_to_tensor(values)
    # Not before there are values: else all masks are there as floats while activations are held.
    with tf.control_dependencies([values]):
        return values * tf.cast(mask, values.dtype)
