"""Recipes: frozen settings, read from YAML, with every mistake named.

A recipe is an ordered mapping of stages. A stage names its `kind` (default: its own name), what it
starts from, and its settings. All defaults are in this file.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import importlib.resources
import json
import math
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.schedules import Duration, parse_duration

VARIANTS = ("float32", "dynamic_int8", "dense_int8", "sparse_int8")


# Settings


@dataclass(frozen=True)
class About:
    """The story of a recipe: where it comes from, what to expect, what it takes."""

    title: str = ""
    source: str = ""
    expected: str = ""
    hardware: str = ""
    command: str = ""


@dataclass(frozen=True)
class ModelSettings:
    """The encoder to start from.

    Attributes:
        weights: "minilm_l6" (installed with the quickstart), a Hugging Face folder, an `hf://`
            handle, a keras-nlp preset name or folder, or "random" for an untrained encoder of
            `sizes`.
        dropout: rate during training, of hidden states and of attention probabilities.
        activation: "checkpoint" keeps the GELU's form of the weights; "gelu_tanh" or "gelu_erf"
            replace it.
        strip_accents: of the tokenizer; "checkpoint" does as the weights were trained. MediaPipe on
            a phone never strips them, so "never" gives the same tokens there as here.
        sizes: for "random": keys of `models.bert.EncoderConfig`.
        vocabulary: for "random": folder or preset whose vocab.txt is used.
    """

    weights: str = "minilm_l6"
    dropout: float = 0.1
    activation: Literal["checkpoint", "gelu_erf", "gelu_tanh"] = "checkpoint"
    strip_accents: Literal["checkpoint", "always", "never"] = "checkpoint"
    sizes: dict[str, Any] = field(default_factory=dict)
    vocabulary: str = "minilm_l6"


@dataclass(frozen=True)
class TaskSettings:
    """The labelled task and the unlabelled text.

    Attributes:
        source: "reviews" (installed with the quickstart), "tfds:<name>", or "files".
        train, dev: for "files": TSV, CSV or JSON-lines with named columns.
        text_a, text_b, label: column names; no `text_b` means single sentences.
        labels: the label names in order; empty means a regression task.
        max_length: tokens of an example, [CLS] and [SEP] included; longer ones are cut.
        train_limit, dev_limit: use at most so many examples; 0 means all.
        corpus: for "files" and "tfds:": text files for masked-language-model training, a document
            per line; empty means the train split's own texts.
    """

    source: str = "reviews"
    train: str = ""
    dev: str = ""
    text_a: str = "text"
    text_b: str = ""
    label: str = "label"
    labels: tuple[str, ...] = ()
    max_length: int = 64
    train_limit: int = 0
    dev_limit: int = 0
    corpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class LossSettings:
    """loss = hard · L_hard + soft · L_soft + hidden · L_hidden + attention · L_attention.

    The first two terms are those of Prune OFA (section 3), the others those of SparseBERT (section
    3).

    Attributes:
        hard: weight of the loss on labels.
        soft: weight of the distillation loss on the teacher's logits.
        temperature: T, of both softmaxes.
        hidden: weight of the error in hidden states, summed over layers.
        attention: weight of the error in attention scores, summed over layers.
    """

    hard: float = 1.0
    soft: float = 0.0
    temperature: float = 2.0
    hidden: float = 0.0
    attention: float = 0.0

    @property
    def distils(self) -> bool:
        """Whether a teacher is needed."""
        return self.soft > 0 or self.distils_layers

    @property
    def distils_layers(self) -> bool:
        """Whether the teacher's inner layers are needed, so that cached logits do not do."""
        return self.hidden > 0 or self.attention > 0


@dataclass(frozen=True)
class SparsitySettings:
    """Gradual magnitude pruning; see `schedules.SparsitySchedule` for the words.

    Attributes:
        rules: ordered (pattern of layer names -> final sparsity); the last match wins; 0 leaves a
            layer dense. A pattern that matches no Dense layer is an error.
        rewind: rewind the learning rate during the ramp.
    """

    rules: dict[str, float] = field(default_factory=lambda: {"encoder_.*": 0.9})
    initial: float = 0.0
    begin: Duration = 0
    ramp_end: Duration = "50%"
    mask_end: Duration = "80%"
    frequency: Duration = "1%"
    power: float = 3.0
    rewind: bool = True


@dataclass(frozen=True)
class TrainSettings:
    """What every training stage has.

    Attributes:
        kind: the stage's module in `stages/`.
        start: stage whose weights this one starts from, or "model" for the recipe's encoder.
        teacher: stage whose weights are the distillation teacher, or "" for none.
        objective: "mlm" (masked language model) or "task".
        length: of the run.
        warmup: of the learning rate.
        decay: "linear" to zero, or "constant".
        nsp: with "mlm", train BERT's next-sentence head on segment pairs too.
        mlm_share: share of tokens that are predicted, in (0, 1).
        mlm_distil: "all" distils the logits of every token, as the paper does; "masked" those of
            masked tokens only, which spares most of the vocabulary's matmul.
        dropout: train with the model's dropout. It is noise in a loss on hidden states; a student
            that learns from a teacher does well without.
        frozen: patterns of layer names that are not trained.
        cache_teacher: compute the teacher's logits once and keep them on disk ("task" only).
        checkpoint_every: how often a killed run can resume from.
    """

    kind: str = ""
    start: str = "model"
    teacher: str = ""
    objective: Literal["mlm", "task"] = "task"
    length: Duration = "3 epochs"
    batch_size: int = 32
    learning_rate: float = 5e-5
    warmup: Duration = "10%"
    decay: Literal["linear", "constant"] = "linear"
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    loss: LossSettings = field(default_factory=LossSettings)
    nsp: bool = False
    mlm_share: float = 0.15
    mlm_distil: Literal["all", "masked"] = "all"
    dropout: bool = True
    frozen: tuple[str, ...] = ()
    cache_teacher: bool = True
    checkpoint_every: Duration = "200 steps"


@dataclass(frozen=True)
class TeacherSettings(TrainSettings):
    """Dense training: MLM on the corpus, or a task."""


@dataclass(frozen=True)
class PruneSettings(TrainSettings):
    """Training that prunes."""

    sparsity: SparsitySettings = field(default_factory=SparsitySettings)


@dataclass(frozen=True)
class TransferSettings(TrainSettings):
    """Fine-tuning with the sparsity pattern locked.

    Attributes:
        locked: only where `start` is a sparse checkpoint from elsewhere: layers whose pattern
            (w != 0) is taken from the weights, once.
    """

    locked: tuple[str, ...] = ("encoder_.*",)


@dataclass(frozen=True)
class QuantizeSettings(TrainSettings):
    """Quantization-aware training with the pattern locked.

    Attributes:
        freeze_ranges: when the activation ranges stop moving.
        range_momentum: of the moving averages of the ranges, in [0, 1).
        calibration_batches: batches that set the first ranges, before training.
        float_layers: patterns of Dense layers that stay float.
    """

    freeze_ranges: Duration = "50%"
    range_momentum: float = 0.95
    calibration_batches: int = 16
    float_layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExportSettings:
    """`.tflite` files of a stage's model, one for each variant; batch 1, fixed sequence length."""

    kind: str = ""
    start: str = "quantize"
    variants: tuple[str, ...] = VARIANTS
    sequence_length: int = 64


@dataclass(frozen=True)
class VerifySettings:
    """Checks of the exported files; `examples` of the held-out split, 0 for all of them."""

    kind: str = ""
    start: str = "export"
    examples: int = 0
    threads: int = 2


@dataclass(frozen=True)
class BenchmarkSettings:
    """Interleaved latency of the exported files."""

    kind: str = ""
    start: str = "export"
    threads: int = 1
    runs: int = 100
    reference: str = "dense_int8"


@dataclass(frozen=True)
class ReportSettings:
    """Tables, plots and one HTML page of the whole run."""

    kind: str = ""


StageSettings = (
    TeacherSettings
    | PruneSettings
    | TransferSettings
    | QuantizeSettings
    | ExportSettings
    | VerifySettings
    | BenchmarkSettings
    | ReportSettings
)

STAGE_KINDS: dict[str, type] = {
    "teacher": TeacherSettings,
    "prune": PruneSettings,
    "transfer": TransferSettings,
    "quantize": QuantizeSettings,
    "export": ExportSettings,
    "verify": VerifySettings,
    "benchmark": BenchmarkSettings,
    "report": ReportSettings,
}

# What the numbers may be, by the last part of their key.
_Limit = tuple[str, Callable[[float], bool]]
_SHARE: _Limit = ("in [0, 1)", lambda x: 0 <= x < 1)
_FROM_0: _Limit = ("0 or more", lambda x: 0 <= x < math.inf)
_FROM_1: _Limit = ("1 or more", lambda x: x >= 1)
_ABOVE_0: _Limit = ("above 0", lambda x: 0 < x < math.inf)
_LIMITS: dict[str, _Limit] = {
    **dict.fromkeys(("dropout", "range_momentum"), _SHARE),
    **dict.fromkeys(("seed", "train_limit", "dev_limit", "examples"), _FROM_0),
    **dict.fromkeys(("hard", "soft", "hidden", "attention"), _FROM_0),
    **dict.fromkeys(("learning_rate", "weight_decay", "clip_norm"), _FROM_0),
    **dict.fromkeys(("batch_size", "max_length", "calibration_batches"), _FROM_1),
    **dict.fromkeys(("sequence_length", "threads", "runs"), _FROM_1),
    **dict.fromkeys(("temperature", "power"), _ABOVE_0),
    "mlm_share": ("in (0, 1)", lambda x: 0 < x < 1),
}


@dataclass(frozen=True)
class Recipe:
    """A whole run: stages in order, by name."""

    name: str
    about: About
    seed: int
    model: ModelSettings
    task: TaskSettings
    stages: dict[str, StageSettings]


# Reading


def load_recipe(
    path: str | Path, overrides: typing.Sequence[str] = (), *, tiny: bool = False
) -> Recipe:
    """Read a recipe file.

    Args:
        path: YAML file, or the name of a recipe of this package, e.g. "quickstart".
        overrides: texts "section.key=value", e.g. "prune.learning_rate=1e-4",
            "prune.sparsity.ramp_end=60%", "seed=1"; values are YAML.
        tiny: shrink the recipe to under a minute on a CPU; it runs the same code.

    Raises:
        UserError: unreadable file, unknown key, wrong type, stage that refers to a later one.
    """
    path = find_recipe(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        folder = _shipped_recipes() if path.name == str(path) else path.parent
        known = sorted(recipe.name for recipe in folder.glob("*.yaml"))
        name = path.with_suffix(".yaml").name
        raise UserError(f"no recipe file {path}{_did_you_mean(name, known)}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; name a recipe file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise UserError(
            f"{path} must hold a mapping with the key 'stages', got {type(data).__name__}"
        )
    for override in overrides:
        _set(data, override)
    recipe = recipe_from_dict(data, name=path.stem)
    return shrink(recipe) if tiny else recipe


def find_recipe(name: str | Path) -> Path:
    """Return the file of a recipe: `name` itself, or the recipe of that name in this package."""
    path = Path(name)
    if not path.exists() and path.name == str(name):
        shipped = (_shipped_recipes() / path.name).with_suffix(".yaml")
        return shipped if shipped.exists() else path
    return path


def _shipped_recipes() -> Path:
    return Path(str(importlib.resources.files("tf_prune_ofa.configs")))


def recipe_from_dict(data: dict[str, Any], *, name: str) -> Recipe:
    """Build a recipe from plain values; see `load_recipe`."""
    known = ("about", "seed", "model", "task", "stages")
    for key in data:
        if key not in known:
            raise UserError(f"unknown key '{key}'{_did_you_mean(key, known)}")
    stages = data.get("stages")
    if not isinstance(stages, dict) or not stages:
        raise UserError("a recipe needs 'stages', a mapping of stage names to settings")
    recipe = Recipe(
        name=name,
        about=_build(About, data.get("about"), "about"),
        seed=_convert(data.get("seed", 0), int, "seed"),
        model=_build(ModelSettings, data.get("model"), "model"),
        task=_build(TaskSettings, data.get("task"), "task"),
        stages={stage: _build_stage(stage, settings) for stage, settings in stages.items()},
    )
    _check_references(recipe)
    return recipe


def to_dict(settings: Any) -> Any:
    """Return settings as plain JSON values."""
    if dataclasses.is_dataclass(settings):
        return {f.name: to_dict(getattr(settings, f.name)) for f in dataclasses.fields(settings)}
    if isinstance(settings, dict):
        return {key: to_dict(value) for key, value in settings.items()}
    if isinstance(settings, tuple | list):
        return [to_dict(value) for value in settings]
    return settings


def digest(value: Any) -> str:
    """Return a hash of settings or plain values; equal settings have equal digests.

    The order of mappings counts: of the rules of a pruning stage, the last match wins.
    """
    text = json.dumps(to_dict(value), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def truncate(recipe: Recipe, last: str) -> Recipe:
    """Return the recipe up to and including the stage `last`.

    Raises:
        UserError: no such stage.
    """
    if last not in recipe.stages:
        raise UserError(
            f"no stage '{last}'{_did_you_mean(last, recipe.stages)}; the recipe has "
            f"{', '.join(recipe.stages)}"
        )
    names = list(recipe.stages)[: list(recipe.stages).index(last) + 1]
    return replace(recipe, stages={name: recipe.stages[name] for name in names})


def shrink(recipe: Recipe) -> Recipe:
    """Return the recipe with a two-layer random encoder, little data and a few steps a stage."""
    architecture = recipe.model.sizes.get("architecture", "bert")
    if "distilbert" in recipe.model.weights.lower():
        architecture = "distilbert"
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
        if isinstance(stage, TrainSettings):
            stage = replace(
                stage, length="12 steps", batch_size=8, checkpoint_every="5 steps", warmup="10%"
            )
        if isinstance(stage, PruneSettings):
            relative = {
                key: value if "%" in str(value := getattr(stage.sparsity, key)) else default
                for key, default in (
                    ("begin", 0), ("ramp_end", "50%"), ("mask_end", "80%"), ("frequency", 1)
                )
            }  # fmt: skip
            relative["frequency"] = 1
            stage = replace(stage, sparsity=replace(stage.sparsity, **relative))
        if isinstance(stage, QuantizeSettings):
            stage = replace(stage, calibration_batches=2)
        if isinstance(stage, ExportSettings):
            stage = replace(stage, sequence_length=min(stage.sequence_length, 32))
        if isinstance(stage, BenchmarkSettings):
            stage = replace(stage, runs=10)
        if isinstance(stage, VerifySettings):
            stage = replace(stage, examples=16)
        stages[name] = stage
    vocabulary = recipe.model.vocabulary
    return replace(
        recipe,
        name=recipe.name + "_tiny",
        model=ModelSettings(
            weights="random",
            sizes=sizes,
            vocabulary=vocabulary,
            strip_accents=recipe.model.strip_accents,
        ),
        task=_tiny_task(recipe.task),
        stages=stages,
    )


def _tiny_task(task: TaskSettings) -> TaskSettings:
    """Return a few short examples of the task; of the reviews where it would need a download."""
    small = {"train_limit": 96, "dev_limit": 48, "max_length": 32}
    if task.source.startswith("tfds:"):
        return TaskSettings(source="reviews", **small)
    return replace(task, **small)


def _build_stage(name: str, data: Any) -> StageSettings:
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise UserError(f"stage '{name}' must be a mapping of settings, got {data!r}")
    kind = data.get("kind", name)
    if kind not in STAGE_KINDS:
        raise UserError(
            f"stage '{name}' has the unknown kind '{kind}'{_did_you_mean(kind, STAGE_KINDS)}; "
            f"kinds are {', '.join(STAGE_KINDS)}"
        )
    settings = _build(STAGE_KINDS[kind], {**data, "kind": kind}, name)
    if isinstance(settings, ExportSettings):
        for variant in settings.variants:
            if variant not in VARIANTS:
                raise UserError(
                    f"{name}.variants: unknown variant '{variant}'"
                    f"{_did_you_mean(variant, VARIANTS)}"
                )
    return settings


def _build(cls: type, data: Any, where: str) -> Any:
    """Make a dataclass of plain values, refusing what it does not know."""
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise UserError(f"'{where}' must be a mapping of settings, got {data!r}")
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in data.items():
        if key not in hints:
            raise UserError(f"unknown key '{where}.{key}'{_did_you_mean(str(key), hints)}")
        values[key] = _convert(value, hints[key], f"{where}.{key}")
    return cls(**values)


def _convert(value: Any, hint: Any, where: str) -> Any:
    """Return `value` as the type `hint`; raise a UserError that names `where`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if hint == Duration:
        try:
            parse_duration(value)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        return value
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where)
    if origin is Literal:
        if value not in arguments:
            raise UserError(
                f"{where} must be one of {', '.join(map(repr, arguments))}, got {value!r}"
                f"{_did_you_mean(str(value), arguments)}"
            )
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"{where} must be a list, got {value!r}")
        return tuple(_convert(item, arguments[0], where) for item in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise UserError(f"{where} must be a mapping, got {value!r}")
        return {str(k): _convert(v, arguments[1], f"{where}.{k}") for k, v in value.items()}
    if origin in (types.UnionType, typing.Union):
        raise TypeError(f"config field {where} has an unsupported type {hint}")
    return _convert_scalar(value, hint, where)


def _convert_scalar(value: Any, hint: type, where: str) -> Any:
    value = _convert_type(value, hint, where)
    allowed, is_allowed = _LIMITS.get(where.rpartition(".")[2], ("", None))
    if is_allowed is not None and hint is not bool and not is_allowed(value):
        raise UserError(f"{where} must be {allowed}, got {value!r}")
    return value


def _convert_type(value: Any, hint: type, where: str) -> Any:
    is_bool = isinstance(value, bool)
    if hint is float and not is_bool:
        # YAML reads 1e-4 (no dot) as text; every user writes it.
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    elif hint is bool and is_bool or hint is int and isinstance(value, int) and not is_bool:
        return value
    elif hint is str and isinstance(value, str | int | float) and not is_bool:
        return str(value)
    elif hint is str and value is None:
        return ""
    # YAML reads yes, no, on and off as truth values; as labels they would match nothing.
    advice = "; put it in quotes" if hint is str and is_bool else ""
    raise UserError(f"{where} must be of type {hint.__name__}, got {value!r}{advice}")


def _set(data: dict[str, Any], override: str) -> None:
    """Apply one "section.key=value"; stages may be named without the prefix "stages."."""
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise UserError(f"--set {override!r}: write it as section.key=value")
    keys = path.split(".")
    stages = data.get("stages") or {}
    sections = ["about", "seed", "model", "task", "stages", *stages]
    if keys[0] in stages:
        keys = ["stages", *keys]
    elif keys[0] not in sections:
        raise UserError(
            f"--set {override!r}: no section or stage '{keys[0]}'{_did_you_mean(keys[0], sections)}"
        )
    node = data
    for key in keys[:-1]:
        if node.get(key) is None:
            node[key] = {}
        node = node[key]
        if not isinstance(node, dict):
            raise UserError(f"--set {override!r}: '{key}' is a value, not a section")
    try:
        node[keys[-1]] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override!r}: the value is not valid YAML: {error}") from error


def _check_references(recipe: Recipe) -> None:
    """Data goes one way: a stage may refer only to stages before it."""
    before: list[str] = []
    for name, stage in recipe.stages.items():
        for key in ("start", "teacher"):
            other = getattr(stage, key, "")
            if other and other not in before and not (key == "start" and other == "model"):
                raise UserError(
                    f"{name}.{key} refers to '{other}', which is not a stage before it"
                    f"{_did_you_mean(other, before)}; stages before it: "
                    f"{', '.join(before) or 'none'}"
                )
        loss = getattr(stage, "loss", None)
        if loss is not None and loss.hard == 0 and not loss.distils:
            raise UserError(f"{name}.loss must be above 0 in one of its terms, got 0 in all")
        if loss is not None and loss.distils and not stage.teacher:
            raise UserError(
                f"{name}.loss has distillation terms, but {name}.teacher names no stage to distil "
                "from"
            )
        before.append(name)


def _did_you_mean(word: str, known: typing.Iterable[Any]) -> str:
    near = difflib.get_close_matches(str(word), [str(k) for k in known], n=1)
    return f". Did you mean '{near[0]}'?" if near else ""
