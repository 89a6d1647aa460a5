"""Tiny recipes: the same stages and code in under a minute, to try a recipe on a CPU."""

from __future__ import annotations

import re
from dataclasses import replace

from tf_prune_ofa.architectures import FAMILIES, find_family
from tf_prune_ofa.config import (
    AugmentSettings,
    BenchmarkSettings,
    ExportSettings,
    ModelSettings,
    PruneSettings,
    QuantizeSettings,
    Recipe,
    ReconstructSettings,
    RuleSettings,
    SparsitySettings,
    StageSettings,
    TaskSettings,
    TrainSettings,
    TransferSettings,
    VerifySettings,
)
from tf_prune_ofa.data.tasks import kind_of_source
from tf_prune_ofa.encoders import TINY_VOCABULARIES, encoder_names
from tf_prune_ofa.schedules import parse_duration
from tf_prune_ofa.tasks import find_kind

TINY_STEPS = 12  # of a training stage
# What stands in for a sparse encoder from elsewhere.
_SPARSE_ENCODER = PruneSettings(
    kind="prune",
    objective="mlm",
    length=f"{TINY_STEPS} steps",
    batch_size=8,
    sparsity=SparsitySettings(frequency=1),
)


def shrink(recipe: Recipe) -> Recipe:
    """Return the recipe with a two-layer random encoder, little data and a few steps a stage."""
    architecture = recipe.model.sizes.get("architecture", "bert")
    # The longest name first: "distilbert" has "bert" in it.
    for name in sorted(FAMILIES, key=len, reverse=True):
        if name in recipe.model.weights.lower():
            architecture = name
            break
    sizes = {
        "architecture": architecture,
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 2,
        "intermediate_size": 64,
        "max_positions": 64,
    }
    stages: dict[str, StageSettings] = {}
    for name, stage in recipe.stages.items():
        if getattr(stage, "start", "") in encoder_names():
            stage = replace(stage, start="model")
        if getattr(stage, "teacher", "") in encoder_names():
            stage = replace(stage, teacher="model")
        if isinstance(stage, TransferSettings) and stage.start == "model":
            # A sparse encoder from elsewhere: new weights have no zeros to take over.
            stages["sparse_encoder"] = _SPARSE_ENCODER
            stage = replace(stage, start="sparse_encoder")
        if isinstance(stage, TrainSettings):
            stage = replace(
                stage,
                length=f"{TINY_STEPS} steps",
                batch_size=8,
                checkpoint_every="5 steps",
                warmup="10%",
                augment=_few_copies(stage.augment),
                loss=replace(stage.loss, teacher_layers=()),
            )
        if isinstance(stage, PruneSettings):
            relative = {
                key: value if "%" in str(value := getattr(stage.sparsity, key) or "0%") else default
                for key, default in (
                    ("begin", 0), ("ramp_end", "50%"), ("mask_end", "80%"), ("frequency", 1)
                )
            }  # fmt: skip
            relative["frequency"] = 1
            if parse_duration(stage.sparsity.begin)[0] > 0:
                # A score may need gradients of steps before.
                share = parse_duration(relative["begin"])[0] / 100
                relative["begin"] = relative["begin"] if share * TINY_STEPS >= 1 else 1
            stage = replace(stage, sparsity=replace(_tiny_sparsity(stage.sparsity), **relative))
        if isinstance(stage, ReconstructSettings):
            pattern = _small_pattern(stage.pattern)
            rules = {key: _small_rule(rule) for key, rule in stage.rules.items()}
            stage = replace(stage, examples=32, batch_size=8, rules=rules, pattern=pattern)
            if stage.goal:
                # Costs are of another encoder; heads and neurons are little of a small one's time.
                stage = replace(stage, speedup=1.1, latency_ms=0.0, costs="")
        if isinstance(stage, QuantizeSettings):
            stage = replace(stage, calibration_batches=2)
        if isinstance(stage, ExportSettings):
            stage = replace(stage, sequence_length=min(stage.sequence_length, 32))
        if isinstance(stage, BenchmarkSettings):
            stage = replace(stage, runs=10)
        if isinstance(stage, VerifySettings):
            stage = replace(stage, examples=16)
        stages[name] = stage
    model = recipe.model
    # Nothing is downloaded: a vocabulary of this package stands in for one of another kind.
    (tokenizer, *_) = find_family(architecture).tokenizers
    if tokenizer in TINY_VOCABULARIES:
        model = ModelSettings(vocabulary=TINY_VOCABULARIES[tokenizer])
    return replace(
        recipe,
        name=recipe.name + "_tiny",
        model=ModelSettings(
            weights="random",
            sizes=sizes,
            vocabulary=model.vocabulary,
            strip_accents=model.strip_accents,
            clean_up=model.clean_up,
        ),
        task=_tiny_task(recipe.task),
        stages=stages,
        corpus=replace(recipe.corpus, length=32, limit=96),
    )


def _tiny_sparsity(sparsity: SparsitySettings) -> SparsitySettings:
    rules = {key: _small_rule(rule) for key, rule in sparsity.rules.items()}
    fisher = sparsity.fisher
    if sparsity.score == "fisher_block":
        # One gradient: there is but one training step before the first weights go.
        fisher = replace(fisher, gradients=1)
    return replace(sparsity, rules=rules, pattern=_small_pattern(sparsity.pattern), fisher=fisher)


def _few_copies(augment: AugmentSettings) -> AugmentSettings:
    return replace(augment, copies=min(augment.copies, 2)) if augment.model else augment


def _small_rule(rule: float | RuleSettings) -> float | RuleSettings:
    if isinstance(rule, RuleSettings):
        return replace(rule, pattern=_small_pattern(rule.pattern))
    return rule


def _small_pattern(pattern: str) -> str:
    """Return a pattern with blocks so small that they divide the tiny encoder's kernels."""
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", pattern):
        return pattern
    # Powers of two up to 8 divide its sizes, 32 and 64.
    return "x".join(str(min(8, 2 ** (int(n).bit_length() - 1))) for n in pattern.split("x"))


def _tiny_task(task: TaskSettings) -> TaskSettings:
    """Return a few short examples of the task, or of one of its kind that needs no download."""
    small = {"train_limit": 96, "dev_limit": 48, "max_length": 32}
    return find_kind(kind_of_source(task.source)).tiny(task, small)
