"""What a stage's result depends on, as one hash: a stage of the same hash is done before."""

from __future__ import annotations

from collections.abc import Mapping

from tf_prune_ofa.config import StageSettings, plugins_of, references
from tf_prune_ofa.files import sha256_of
from tf_prune_ofa.jobs.context import StageResult
from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs
from tf_prune_ofa.plain_values import digest, to_dict
from tf_prune_ofa.pruning.plugins import plugin_file
from tf_prune_ofa.tasks import reads_corpus


def stage_digest_of(
    settings: StageSettings, recipe_inputs: RecipeInputs, results: Mapping[str, StageResult]
) -> str:
    """Return the hash of settings, inputs and plugins; a report's has every stage before it."""
    if settings.kind == "report":
        inputs = [result.digest for result in results.values()]
    else:
        inputs = [
            _input_digest(name, recipe_inputs, results) for name in references(settings).values()
        ]
    data = recipe_inputs.corpus_digest if reads_corpus(settings) else recipe_inputs.digest
    plugins = [sha256_of(plugin_file(name)) for name in plugins_of(settings)]
    return digest([to_dict(settings), data, inputs, *plugins])


def _input_digest(
    name: str, recipe_inputs: RecipeInputs, results: Mapping[str, StageResult]
) -> str:
    if name in results:
        return results[name].digest
    return name if name == "model" else recipe_inputs.model_digest(name)
