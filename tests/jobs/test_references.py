"""What files are compared with: each Keras model runs once, whatever number of forms it serves."""

from typing import Any, cast

import numpy as np
import pytest

from tf_prune_ofa.jobs import references
from tf_prune_ofa.jobs.references import Inputs, reference_logits, reference_models

NOTHING = cast(Any, None)


def test_a_model_of_two_forms_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def logits(kind: Any, model: Any, inputs: Inputs) -> np.ndarray:
        ran.append(model)
        return np.array([len(ran)])

    monkeypatch.setattr(references, "keras_logits", logits)
    found = reference_logits(
        NOTHING, cast(Any, {"float": "one", "dynamic": "one", "static": "other"}), {}
    )
    assert ran == ["one", "other"]
    assert {form: int(value[0]) for form, value in found.items()} == {
        "float": 1,
        "dynamic": 1,
        "static": 2,
    }


@pytest.mark.parametrize("forms", [{"float"}, {"dynamic"}, {"float", "dynamic"}])
def test_only_the_forms_that_are_asked_for_have_models(forms: set[str]) -> None:
    model = cast(Any, object())
    found = reference_models(NOTHING, NOTHING, model, forms, int4_words=False)
    assert found == dict.fromkeys(forms, model)
