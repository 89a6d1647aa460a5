"""Families of encoders: one module holds all that is particular to one.

The rest of the package asks the family and knows none by name. A further one is a module here and
a line in `FAMILIES`.
"""

from __future__ import annotations

import importlib
from functools import cache

from tf_prune_ofa.architectures.family import Family
from tf_prune_ofa.errors import UserError

# `model_type` of config.json -> module and name of the family.
FAMILIES = {
    "bert": ("bert", "BERT"),
    "distilbert": ("distilbert", "DISTILBERT"),
    "electra": ("electra", "ELECTRA"),
    "roberta": ("roberta", "ROBERTA"),
    "xlm-roberta": ("roberta", "XLM_ROBERTA"),
}


@cache
def find_family(model_type: str) -> Family:
    """Return a family by the `model_type` of its config.json.

    Raises:
        UserError: there is no such family here.
    """
    if model_type not in FAMILIES:
        known = [repr(name) for name in FAMILIES]
        raise UserError(
            f"{model_type!r} is no architecture of this package; it has {', '.join(known[:-1])} "
            f"and {known[-1]}"
        )
    module, name = FAMILIES[model_type]
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)


def families() -> list[Family]:
    """Return all families."""
    return [find_family(name) for name in FAMILIES]
