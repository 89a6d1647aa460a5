"""The files that a model is exported as: the one list of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """One kind of `.tflite` file.

    Attributes:
        label: for tables.
        is_static: whether it needs ranges of activations, because these are INT8, too.
        is_usual: whether it is written where no variants are asked for.
    """

    label: str
    is_static: bool
    is_usual: bool = True


# By name, in the order of tables.
VARIANTS = {
    "float32": Variant("float32 file", is_static=False),
    "dynamic_int8": Variant("dynamic-range INT8 file", is_static=False),
    "dense_int4": Variant("dense INT4 file", is_static=False, is_usual=False),
    "dense_int8": Variant("dense INT8 file", is_static=True),
    "sparse_int8": Variant("sparse INT8 file", is_static=True),
    "block_sparse_int8": Variant("block-sparse INT8 file", is_static=True, is_usual=False),
}
USUAL_VARIANTS = tuple(name for name, one in VARIANTS.items() if one.is_usual)
STATIC_VARIANTS = tuple(name for name, one in VARIANTS.items() if one.is_static)
