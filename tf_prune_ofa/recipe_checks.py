"""Mistakes in a recipe that are found in the recipe alone, before anything is loaded."""

from __future__ import annotations

import re
from typing import Any

from tf_prune_ofa.architectures import find_family
from tf_prune_ofa.config import (
    BenchmarkSettings,
    ExportSettings,
    ModelSettings,
    QuantizeSettings,
    Recipe,
    ReconstructSettings,
    ReportSettings,
    SizeSettings,
    StageSettings,
    TrainSettings,
    VerifySettings,
    VocabularySettings,
    is_model_name,
    references,
)
from tf_prune_ofa.encoders import encoder_names
from tf_prune_ofa.errors import UserError, did_you_mean
from tf_prune_ofa.plain_values import shown
from tf_prune_ofa.variants import STATIC_VARIANTS, VARIANTS

SECTIONS = ("about", "seed", "model", "task", "corpus", "stages")
_NAME_LENGTH = 60  # of a stage, of whose folder it is a part
_STAGE_NAME = re.compile(rf"\w[\w .-]{{0,{_NAME_LENGTH - 1}}}")


def check_stage_name(name: Any) -> None:
    """Check the name of a stage: that of its folder, and a word of --set and of `start`.

    Raises:
        UserError: it would be a path, or is the name of a section.
    """
    if not isinstance(name, str) or not _STAGE_NAME.fullmatch(name):
        raise UserError(
            f"{shown(name)} is no name of a stage: begin with a letter or digit, and go on with "
            f"letters, digits, '_', '-', '.' and spaces, at most {_NAME_LENGTH} in all"
        )
    if name in SECTIONS:
        raise UserError(
            f"a stage cannot be called '{name}', which is a section of the recipe; choose another "
            "name, and give its kind"
        )


def check_model(settings: ModelSettings) -> None:
    """Check what the settings of an encoder's sizes cannot say by their types.

    Raises:
        UserError: there is no such architecture.
    """
    if settings.sizes:
        find_family(settings.sizes.get("architecture", SizeSettings.architecture))


def check_stage(name: str, settings: StageSettings) -> None:
    """Check that the settings of a stage go together.

    Raises:
        UserError: they do not.
    """
    if isinstance(settings, ExportSettings):
        _check_variants(name, settings)
    if isinstance(settings, QuantizeSettings) and settings.precision != "float32":
        raise UserError(
            f"{name}.precision is '{settings.precision}', but INT8 is emulated in float32; leave "
            "it out of stages that quantize"
        )
    if isinstance(settings, ReconstructSettings) and settings.pattern_of:
        _check_no_own_pattern(name, settings)
    if isinstance(settings, ReconstructSettings):
        _check_goal(name, settings)
        if settings.held_at == "pattern_of" and not settings.pattern_of:
            raise UserError(
                f"{name}.held_at is 'pattern_of', but {name}.pattern_of names nothing; name the "
                "stage or the encoder that was trained sparse, or leave held_at out"
            )


def _check_variants(name: str, settings: ExportSettings) -> None:
    for variant in settings.variants:
        if variant not in VARIANTS:
            raise UserError(
                f"{name}.variants: unknown variant '{variant}'{did_you_mean(variant, VARIANTS)}"
            )
    if "block_sparse_int8" in settings.variants and "dense_int8" not in settings.variants:
        raise UserError(
            f"{name}.variants: block_sparse_int8 is verified against dense_int8, which is not "
            "among them; add dense_int8"
        )
    words = settings.vocabulary
    for key in ("others", "texts", "at_least", "size"):
        if words.keep == "all" and getattr(words, key) != getattr(VocabularySettings(), key):
            raise UserError(
                f"{name}.vocabulary.{key} is for a vocabulary of what texts use, but "
                f"{name}.vocabulary.keep is 'all'; set it to 'task', or leave {key} out"
            )
    if words.others == "nearest" and set(settings.variants) == {"float32"}:
        raise UserError(
            f"{name}.vocabulary.others is 'nearest', but {name}.variants has float32 alone, where "
            "each word keeps its row; add another variant, or leave others out"
        )


def _check_no_own_pattern(name: str, settings: ReconstructSettings) -> None:
    """Settings of a pattern would be ignored beside `pattern_of`."""
    defaults = ReconstructSettings()
    for key in ("rules", "pattern", "scope", "share_of", "plugins", "rounds", "power"):
        if getattr(settings, key) != getattr(defaults, key):
            raise UserError(
                f"{name}.{key} is for a pattern of {name}'s own, but {name}.pattern_of takes that "
                f"of '{settings.pattern_of}'; leave one of them out"
            )


def _check_goal(name: str, settings: ReconstructSettings) -> None:
    """A speed-up, or a latency, finds a pattern of its own."""
    defaults, goal = ReconstructSettings(), settings.goal
    if not goal:
        if settings.costs:
            raise UserError(
                f"{name}.costs is of no use without {name}.speedup or {name}.latency_ms; leave it "
                "out"
            )
        return
    if settings.speedup and settings.latency_ms:
        raise UserError(f"{name} has both speedup and latency_ms; leave one of them out")
    if settings.pattern_of:
        raise UserError(f"{name} has both {goal} and pattern_of; leave one of them out")
    for key in ("rules", "pattern", "scope", "share_of", "score", "plugins", "rounds", "power"):
        if getattr(settings, key) != getattr(defaults, key):
            raise UserError(
                f"{name}.{key} is of no use beside {name}.{goal}, which finds out how many heads "
                "and neurons of each layer go; leave one of them out"
            )


def check_references(recipe: Recipe) -> None:
    """Check that data goes one way, and that each stage gets what its kind can use.

    Raises:
        UserError: a stage refers to one that is not before it, or has nothing of use for it.
    """
    before: list[str] = []
    for name, stage in recipe.stages.items():
        for key, other in references(stage).items():
            if other not in before and not (other == "model" and _may_be_model(key, recipe)):
                if key in ("start", "pattern_of") and other in encoder_names():
                    continue
                if key not in ("start", "pattern_of") and is_model_name(other):
                    continue
                raise UserError(
                    f"{name}.{key} refers to '{other}', which is not a stage before it"
                    f"{did_you_mean(other, before)}; stages before it: "
                    f"{', '.join(before) or 'none'}"
                )
        _check_source(name, stage, recipe)
        loss = getattr(stage, "loss", None)
        if loss is not None and loss.hard == 0 and not loss.distils:
            raise UserError(f"{name}.loss must be above 0 in one of its terms, got 0 in all")
        if loss is not None and loss.distils and not getattr(stage, "teacher", ""):
            raise UserError(
                f"{name}.loss has distillation terms, but {name}.teacher names no stage to distil "
                "from"
            )
        before.append(name)


def _may_be_model(key: str, recipe: Recipe) -> bool:
    """Return whether a stage may refer to the recipe's encoder as it is.

    As a teacher only where the encoder's own outputs are what is learned: the head of any other
    task would be a new one, which has nothing to teach.
    """
    return key == "start" or (key == "teacher" and recipe.task.source == "embeddings")


def _check_source(name: str, stage: StageSettings, recipe: Recipe) -> None:
    """What a late stage would find out only after hours of those before it."""
    start = getattr(stage, "start", "model")
    source = recipe.stages.get(start)
    if isinstance(stage, VerifySettings | BenchmarkSettings):
        if not isinstance(source, ExportSettings):
            raise UserError(f"{name}.start must be a stage that exports files, got {start!r}")
    elif isinstance(stage, ExportSettings):
        has_model = isinstance(source, TrainSettings | ReconstructSettings)
        if not has_model or getattr(source, "objective", "") != "task":
            raise UserError(
                f"{name}.start must be a stage with a model of the task (objective 'task'), got "
                f"{start!r}"
            )
        static = [one for one in stage.variants if one in STATIC_VARIANTS]
        if static and not isinstance(source, QuantizeSettings):
            raise UserError(
                f"{name}.variants has {', '.join(static)}, which need the ranges of a 'quantize' "
                f"stage, but {name}.start is {start!r}; add one, or leave them out"
            )
    elif isinstance(stage, ReconstructSettings) and (stage.scope == "global" or stage.goal):
        learnt = getattr(source, "objective", stage.objective)
        if learnt != stage.objective:
            what = stage.goal or "scope 'global'"
            remedy = "leave it out" if stage.goal else f"set {name}.scope to 'layer'"
            raise UserError(
                f"{name} has {what}, which ranks by the loss of objective '{stage.objective}', but "
                f"{name}.start is {start!r}, which learns '{learnt}'; {remedy}, or start from "
                "another stage"
            )
    elif isinstance(source, ExportSettings | VerifySettings | BenchmarkSettings | ReportSettings):
        raise UserError(f"{name}.start is {start!r}, which leaves no model; name the one it is of")
