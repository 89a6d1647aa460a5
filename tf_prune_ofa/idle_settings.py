"""Settings that would do nothing beside the others: whoever wrote one believes that it does.

Only what a recipe says is looked at, and only what is not the default.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tf_prune_ofa.config import (
    AugmentSettings,
    CorpusSettings,
    LossSettings,
    ModelSettings,
    ReconstructSettings,
    SparsitySettings,
    TaskSettings,
    TrainSettings,
)
from tf_prune_ofa.data.tasks import kind_of_source
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.plain_values import shown


@dataclass(frozen=True)
class _Rule:
    """Settings of a section that do something only where a condition holds.

    Attributes:
        of: class of the section.
        keys: of the settings.
        have_use: the condition, of the section's settings.
        are_for: what it is, to say so.
    """

    of: type
    keys: tuple[str, ...]
    have_use: Callable[[Any], bool]
    are_for: str


_RULES = (
    _Rule(
        TaskSettings,
        ("thresholds",),
        lambda task: kind_of_source(task.source) == "multilabel",
        "tasks of several labels a text (task.source 'multilabel')",
    ),
    _Rule(
        TaskSettings,
        ("stride", "question_length", "answer_length", "n_best"),
        lambda task: kind_of_source(task.source) == "spans",
        "questions on a text (task.source 'squad')",
    ),
    _Rule(
        ModelSettings,
        ("sizes", "vocabulary"),
        lambda model: model.weights == "random",
        "a new encoder (model.weights 'random'); others have their own",
    ),
    _Rule(
        CorpusSettings,
        ("files", "limit"),
        lambda corpus: not corpus.records,
        "a corpus of text files, and corpus.records names one that is made already",
    ),
    _Rule(LossSettings, ("temperature",), lambda loss: loss.soft > 0, "the term 'soft'"),
    _Rule(
        LossSettings,
        ("teacher_layers",),
        lambda loss: loss.layerwise > 0,
        "the term 'layerwise'",
    ),
    _Rule(
        SparsitySettings,
        ("fisher",),
        # A score of a plugin may read them.
        lambda sparsity: sparsity.score == "fisher_block" or bool(sparsity.plugins),
        "score 'fisher_block'",
    ),
    _Rule(
        SparsitySettings,
        ("power",),
        lambda sparsity: sparsity.shape not in ("linear", "cosine"),
        "shape 'polynomial'",
    ),
    _Rule(
        SparsitySettings,
        ("rewind_every",),
        lambda sparsity: sparsity.rewind is not False,
        "rewind true or 'cycles'",
    ),
    _Rule(
        SparsitySettings,
        ("cycle_floor",),
        lambda sparsity: sparsity.rewind == "cycles",
        "rewind 'cycles'",
    ),
    _Rule(
        AugmentSettings,
        ("copies", "probability", "candidates"),
        lambda augment: bool(augment.model),
        "copies that a masked language model makes, and 'model' names none",
    ),
    _Rule(
        TrainSettings,
        ("nsp", "mlm_share", "mlm_distil"),
        lambda stage: stage.objective == "mlm",
        "objective 'mlm'",
    ),
    _Rule(
        TrainSettings,
        ("teacher",),
        lambda stage: stage.loss.distils or stage.head == "teacher",
        "a loss with a term of distillation ('soft', 'hidden', ...)",
    ),
    _Rule(
        ReconstructSettings,
        ("score",),
        lambda stage: stage.scope == "global" or bool(stage.goal),
        "scope 'global'",
    ),
)


def check_idle(where: str, settings: Any) -> None:
    """Refuse settings that would do nothing, in a section and in the sections inside of it.

    Args:
        where: name of the section, for the message.
        settings: the section.

    Raises:
        UserError: names the first one, and what it is for.
    """
    for rule in _RULES:
        if not isinstance(settings, rule.of) or rule.have_use(settings):
            continue
        defaults = type(settings)()
        for key in rule.keys:
            value = getattr(settings, key)
            if value != getattr(defaults, key):
                raise UserError(
                    f"{where}.{key} is {shown(value)}, which would do nothing: it is for "
                    f"{rule.are_for}. Leave it out"
                )
    for key in ("loss", "sparsity", "augment"):
        inner = getattr(settings, key, None)
        if inner is not None:
            check_idle(f"{where}.{key}", inner)
