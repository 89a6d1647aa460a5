"""What holds for every family of encoders, whichever they are."""

import numpy as np
import pytest

from tf_prune_ofa.architectures import FAMILIES, families, find_family
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.models import bert
from tf_prune_ofa.models.bert import Classification, EncoderConfig, MaskedLM, SpanQA
from tf_prune_ofa.models.tensor_names import bare_name, head_of, tensor_names

every_family = pytest.mark.parametrize("family", families(), ids=list(FAMILIES))


def config(family, **changes):
    sizes = {"vocab_size": 30, "hidden_size": 8, "num_layers": 1, "num_heads": 2,
             "intermediate_size": 16, "max_positions": 10}  # fmt: skip
    return EncoderConfig(family.model_type, **{**sizes, **changes})


@every_family
def test_every_weight_of_every_head_has_a_name_in_the_file_and_back(family):
    names = tensor_names(config(family))
    # A tagger's classifier is called as another head's where only the class tells them apart.
    tags = {n for n in names if n.startswith("token_classifier/")}
    assert len({names[n] for n in names if n not in tags}) == len(names) - len(tags)
    for name, tensor in names.items():
        assert bare_name(f"{family.tensor_prefix}.{tensor}", family) == tensor
        assert head_of(name) is not None or name.startswith(("embeddings/", "encoder_00/"))
    for head in (None, Classification(3), MaskedLM(), SpanQA()):
        model = bert.build_model(config(family), head)
        assert set(bert.parameters(model)) <= set(names)


@every_family
def test_token_types_are_an_input_where_the_family_has_them(family):
    model = bert.build_model(config(family))
    assert ("input_type_ids" in model.input_names) == family.token_types
    assert ("pooled_output" in model.output) == family.has_pooler


@every_family
def test_the_next_sentence_needs_a_pooler_and_token_types(family):
    head = MaskedLM(nsp=True)
    if family.has_pooler and family.token_types:
        assert "nsp_logits" in bert.build_model(config(family), head).output
    else:
        with pytest.raises(UserError, match=f"{family.title} has no pooler and no token types"):
            bert.build_model(config(family), head)


@every_family
def test_what_is_written_is_what_was_read(family):
    model = bert.build_model(config(family))
    weights = {name: value.numpy() for name, value in bert.parameters(model).items()}
    again = family.after_reading(family.before_writing(weights))
    assert again.keys() == weights.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(again[name], value)


def test_another_architecture_is_refused():
    with pytest.raises(UserError, match="'gpt2' is no architecture of this package; it has 'bert'"):
        find_family("gpt2")
