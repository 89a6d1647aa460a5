import numpy as np
import pytest

from tf_prune_ofa.config import RuleSettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.pruning.rules import Rule, layer_rules, match_layers, rules_of_kept

LAYERS = (
    "encoder_00/attention/query",
    "encoder_00/ffn/output",
    "encoder_01/attention/query",
    "encoder_01/ffn/output",
    "pooler",
    "classifier",
)


def layer_sparsities(rules, layers):
    return {name: rule.sparsity for name, rule in layer_rules(rules, layers).items()}


def test_a_rule_matches_whole_names():
    assert match_layers(["encoder_.*", "pooler"], LAYERS) == {
        "encoder_.*": LAYERS[:4],
        "pooler": ("pooler",),
    }
    with pytest.raises(UserError, match="must match a layer's whole name"):
        match_layers(["encoder_00"], LAYERS)


def test_a_rule_that_matches_nothing_is_refused_with_the_nearest_layer():
    with pytest.raises(UserError) as error:
        match_layers(["encoder_.*", "encoder_02/ffn/output"], LAYERS)
    assert "rule 'encoder_02/ffn/output' matches no layer" in str(error.value)
    assert "The nearest of 6 layers is 'encoder_0" in str(error.value)
    with pytest.raises(UserError, match="nearest of 0 layers is '-'"):
        match_layers(["x"], [])


def test_what_is_no_regular_expression_is_refused():
    with pytest.raises(UserError, match=r"rule '\(' is not a regular expression"):
        match_layers(["("], LAYERS)


def test_the_last_match_wins():
    rules = {"encoder_.*": 0.9, ".*/ffn/output": 0.8, "encoder_00.*": 0.5, "pooler": 0.7}
    assert layer_sparsities(rules, LAYERS) == {
        "encoder_00/attention/query": 0.5,
        "encoder_00/ffn/output": 0.5,
        "encoder_01/attention/query": 0.9,
        "encoder_01/ffn/output": 0.8,
        "pooler": 0.7,
    }
    reverse = dict(reversed(rules.items()))
    assert layer_sparsities(reverse, LAYERS)["encoder_00/ffn/output"] == 0.9


def test_zero_keeps_a_layer_dense():
    found = layer_sparsities({"encoder_.*": 0.9, "encoder_00.*": 0}, LAYERS)
    assert list(found) == list(LAYERS[2:4])


def test_layers_come_in_the_model_s_order():
    rules = {"pooler": 0.5, "encoder_01.*": 0.5, "encoder_00.*": 0.5}
    assert list(layer_sparsities(rules, LAYERS)) == list(LAYERS[:5])


@pytest.mark.parametrize("rules", [{}, {"encoder_.*": 0.0}, {"pooler": 0.9, ".*": 0}])
def test_rules_that_prune_nothing_are_refused(rules):
    with pytest.raises(UserError, match="leave no layer to prune"):
        layer_sparsities(rules, LAYERS)


@pytest.mark.parametrize("sparsity", [-0.5, 1.0, 1.5, float("nan")])
def test_impossible_sparsities_are_refused(sparsity):
    with pytest.raises(UserError, match=r"rule 'pooler': sparsity must be in \[0, 1\), got "):
        layer_sparsities({"encoder_.*": 0.9, "pooler": sparsity}, LAYERS)


def test_a_rule_may_have_a_pattern_of_its_own():
    rules = {"encoder_.*": 0.9, ".*/ffn/output": RuleSettings(0.5, "neurons"), "pooler": 0.25}
    rules[".*_01/ffn/.*"] = RuleSettings(0.75)
    found = layer_rules(rules, LAYERS, "4x1")
    assert found == {
        "encoder_00/attention/query": Rule("encoder_.*", 0.9, "4x1"),
        "encoder_00/ffn/output": Rule(".*/ffn/output", 0.5, "neurons"),
        "encoder_01/attention/query": Rule("encoder_.*", 0.9, "4x1"),
        "encoder_01/ffn/output": Rule(".*_01/ffn/.*", 0.75, "4x1"),
        "pooler": Rule("pooler", 0.25, "4x1"),
    }


@pytest.mark.parametrize(("scope", "query", "output"), [("layer", 0.9, 0.6), ("global", 0.7, 0.7)])
def test_shares_of_what_is_kept(scope, query, output):
    """Of 100 weights 25 and of 200 weights all are kept: 0.6 of those go."""
    rules = layer_rules({"encoder_00/.*": 0.6, "pooler": 0.5}, LAYERS)
    shapes = {"encoder_00/attention/query": (10, 10), "encoder_00/ffn/output": (20, 10)}
    before = {"encoder_00/attention/query": np.arange(100).reshape(10, 10) < 25}
    found = rules_of_kept(rules, {**shapes, "pooler": (4, 4)}, before, scope)
    shares = {name: rule.sparsity for name, rule in found.items()}
    assert shares == pytest.approx(
        {"encoder_00/attention/query": query, "encoder_00/ffn/output": output, "pooler": 0.5}
    )
