"""What a stage's result depends on, as one hash: a stage of the same hash is done before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tf_prune_ofa.config import (
    CorpusSettings,
    StageSettings,
    cost_file_of,
    plugins_of,
    references,
    text_files_of,
)
from tf_prune_ofa.data.corpus import corpus_files
from tf_prune_ofa.files import sha256_of
from tf_prune_ofa.jobs.context import StageResult
from tf_prune_ofa.jobs.recipe_inputs import RecipeInputs
from tf_prune_ofa.plain_values import digest
from tf_prune_ofa.pruning.plugins import plugin_file
from tf_prune_ofa.tasks import reads_corpus


def stage_digest_of(
    settings: StageSettings, recipe_inputs: RecipeInputs, results: Mapping[str, StageResult]
) -> str:
    """Return the hash of settings, inputs and files that they name.

    A report's has every stage before it.
    """
    if settings.kind == "report":
        inputs = [result.digest for result in results.values()]
    else:
        inputs = [
            _input_digest(name, recipe_inputs, results) for name in references(settings).values()
        ]
    data = recipe_inputs.corpus_digest if reads_corpus(settings) else recipe_inputs.digest
    plugins = [sha256_of(plugin_file(name)) for name in plugins_of(settings)]
    named = corpus_files(CorpusSettings(text_files_of(settings)))
    named += [Path(name) for name in [cost_file_of(settings)] if name]
    contents = [sha256_of(path) for path in named]
    return digest([settings, data, inputs, *plugins, *contents])


def _input_digest(
    name: str, recipe_inputs: RecipeInputs, results: Mapping[str, StageResult]
) -> str:
    if name in results:
        return results[name].digest
    return name if name == "model" else recipe_inputs.model_digest(name)
