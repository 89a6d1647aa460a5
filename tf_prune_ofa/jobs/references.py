"""What exported files are compared with: Keras models, and the held-out examples as inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tf_prune_ofa.data.batches import model_inputs
from tf_prune_ofa.jobs.context import Context, StageResult
from tf_prune_ofa.jobs.task_models import task_model
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models import bert
from tf_prune_ofa.quant import ranges, scheme
from tf_prune_ofa.quant.activations import of_folder
from tf_prune_ofa.tasks.kind import Examples, Kind
from tf_prune_ofa.text.tokenizer import TextTokenizer
from tf_prune_ofa.verification import arithmetic
from tf_prune_ofa.verification.expected import WORDS
from tf_prune_ofa.verification.shared_rows import SharedRows

_KERAS_BATCH = 32
_WORD_TABLE = f"{WORDS}/embeddings"
Inputs = dict[str, np.ndarray]


def examples(
    context: Context, tokenizer: TextTokenizer, length: int, limit: int
) -> tuple[Inputs, Examples]:
    """Return inputs [N, S] of the dev split, padded to a file's sequence length, and the split."""
    recipe_inputs = context.recipe_inputs
    dev = recipe_inputs.task.dev.take(limit) if limit else recipe_inputs.task.dev
    # Kinds that need word pieces have refused other tokenizers before.
    split = recipe_inputs.kind.encode(dev, tokenizer, length=length)
    has_types = recipe_inputs.encoder.family.token_types
    inputs = model_inputs(
        split.tokens.ids,
        split.tokens.type_ids if has_types else None,
        max_length=length,
        multiple=length,
        pad_id=tokenizer.pad_id,
    )
    return inputs, split


def reference_models(
    context: Context,
    made_from: StageResult,
    model: keras.Model,
    forms: set[str],
    *,
    int4_words: bool,
    shared: SharedRows | None = None,
) -> dict[str, keras.Model]:
    """Return what each form of a file is compared with: the float model, or one with its rounding.

    Args:
        context: of the stage.
        made_from: the stage of the model.
        model: the float model, with the words that the files have.
        forms: which are needed.
        int4_words: whether the words are INT4 in all but the float file.
        shared: which words share rows in the same files; None for none.
    """
    references = {"float": model} if "float" in forms else {}
    rounded = model
    if int4_words or shared is not None:
        folder = made_from.model_folder
        table = bert.parameters(model)[_WORD_TABLE].numpy()
        rounded = task_model(folder, kept=np.arange(len(table)))
        bert.copy_parameters(model, rounded)
        rows = table if shared is None else table[shared.own]
        rows = arithmetic.words_from(rows) if int4_words else rows
        bert.parameters(rounded)[_WORD_TABLE].assign(
            rows if shared is None else rows[shared.row_of]
        )
    if "dynamic" in forms:
        references["dynamic"] = rounded
    if "dynamic_int4" in forms:
        references["dynamic_int4"] = _with_int4_weights(rounded, made_from)
    if "static" in forms:
        exact = (WORDS,) if int4_words else ()
        references["static"] = _emulated_model(context, made_from.name, rounded, exact)
    return references


def reference_logits(
    kind: Kind, references: Mapping[str, keras.Model], inputs: Inputs
) -> dict[str, np.ndarray]:
    """Return the logits [N, ...] of each form's model; a model of two forms runs once."""
    models = {id(model): model for model in references.values()}
    logits = {key: keras_logits(kind, model, inputs) for key, model in models.items()}
    return {form: logits[id(model)] for form, model in references.items()}


def _with_int4_weights(model: keras.Model, made_from: StageResult) -> keras.Model:
    """Return a copy whose encoder has the weights that INT4 can hold."""
    table = bert.parameters(model)[_WORD_TABLE]
    rounded = task_model(made_from.model_folder, kept=np.arange(int(table.shape[0])))
    bert.copy_parameters(model, rounded)
    for name, kernel in bert.dense_kernels(rounded).items():
        if name.startswith("encoder_") and kernel.shape[0] % 2 == 0:
            rows = kernel.numpy().T
            scales = arithmetic.int4_channel_scales(rows)
            kernel.assign((arithmetic.int4_integers(rows, scales) * scales[:, None]).T)
    return rounded


def _emulated_model(
    context: Context, start: str, weights: keras.Model, float_tables: tuple[str, ...] = ()
) -> keras.Model:
    """Return the model that emulates INT8, with the ranges that the stage `start` learned."""
    rows = int(bert.parameters(weights)[_WORD_TABLE].shape[0])
    config = replace(context.recipe_inputs.encoder.without_dropout(), vocab_size=rows)
    head = context.recipe_inputs.kind.head
    float_layers = getattr(context.recipe.stages[start], "float_layers", ())
    saved = of_folder(context.results[start].folder)
    if saved is None:
        raise ValueError(f"stage '{start}' has learned no ranges")
    int8_attention = any(name.endswith("/scores") for name in saved.ranges)
    model = scheme.apply(
        config,
        head,
        weights,
        float_layers,
        int8_attention=int8_attention,
        float_tables=float_tables,
    )
    ranges.assign_ranges(model, saved.ranges)
    ranges.assign_outlier_scales(model, saved.outlier_scales)
    return model


def keras_logits(kind: Kind, model: keras.Model, inputs: Inputs) -> np.ndarray:
    """Return the logits [N, ...] of a model, without what it says of padding.

    Examples of about the same length are run together, without the padding behind the longest of
    them: a file pads them all to its length, and the model must say the same without.
    """
    count, length = inputs["input_word_ids"].shape
    lengths = inputs["input_mask"].sum(axis=1)
    order = np.argsort(lengths, kind="stable")
    rows = [order[start : start + _KERAS_BATCH] for start in range(0, count, _KERAS_BATCH)]
    batches = (
        {name: value[some, : lengths[some].max()] for name, value in inputs.items()}
        for some in rows
    )
    logits = kind.predict(model, batches, length=length)[np.argsort(order)]
    return kind.without_padding(logits, inputs["input_mask"])
