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
import re
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.schedules import Duration, parse_duration

# What an export writes where the recipe does not say; the last of all pays only for large blocks.
DEFAULT_VARIANTS = ("float32", "dynamic_int8", "dense_int8", "sparse_int8")
VARIANTS = (*DEFAULT_VARIANTS, "block_sparse_int8")


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
        source: "reviews" (installed with the quickstart), a task of GLUE such as "glue/sst2",
            "tfds:<name>", "files", or "squad" for files of SQuAD's form; "tfds:squad/v1.1" and
            "tfds:squad/v2.0" are SQuAD itself.
        folder: for a task of GLUE: the benchmark's TSV files; empty means TensorFlow Datasets.
        train, dev: for "files": TSV, CSV or JSON-lines; for "squad": JSON.
        text_a, text_b, label: column names; no `text_b` means single sentences.
        header: whether TSV and CSV files begin with a line of column names; without one, columns
            are named by their numbers from 1.
        labels: the label names in order; empty means a regression task.
        label_values: how the files write the labels, in the same order; empty means as they are.
        metrics: the scores to report, the main one first (`train.evaluate.METRICS`); empty means
            the task's official ones, or accuracy, or Pearson and Spearman correlation.
        max_length: tokens of an example, [CLS] and [SEP] included; longer ones are cut.
        stride: of questions on a text: tokens from one window of a long text to the next.
        question_length: of a question, in tokens; longer ones are cut.
        answer_length: of an answer, in tokens.
        n_best: starts and ends of answers that are tried in each window.
        train_limit, dev_limit: use at most so many examples; 0 means all.
        corpus: for "files" and "tfds:": text files for masked-language-model training, a document
            per line; empty means the train split's own texts.
        corpus_length: tokens of an example of the corpus; 0 means max_length.
        corpus_limit: use at most so many documents of the corpus files; 0 means all.
    """

    source: str = "reviews"
    folder: str = ""
    train: str = ""
    dev: str = ""
    text_a: str = "text"
    text_b: str = ""
    label: str = "label"
    header: bool = True
    labels: tuple[str, ...] = ()
    label_values: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    max_length: int = 64
    stride: int = 128
    question_length: int = 64
    answer_length: int = 30
    n_best: int = 20
    train_limit: int = 0
    dev_limit: int = 0
    corpus: tuple[str, ...] = ()
    corpus_length: int = 0
    corpus_limit: int = 0


@dataclass(frozen=True)
class LossSettings:
    """loss = hard · L_hard + soft · L_soft + hidden · L_hidden + attention · L_attention + ...

    The first two terms are those of Prune OFA (section 3), the next two those of SparseBERT
    (section 3), the last, layerwise · L_layerwise, is that of CoFi (section 2).

    Attributes:
        hard: weight of the loss on labels.
        soft: weight of the distillation loss on the teacher's logits.
        temperature: T, of both softmaxes.
        hidden: weight of the error in hidden states, summed over layers.
        attention: weight of the error in attention scores, summed over layers.
        layerwise: weight of the error in hidden states of chosen teacher layers, each against the
            student layer that is nearest to it at this step.
        teacher_layers: for "layerwise", which teacher layers, ascending, 1 is the first; empty
            means about every third, the last among them (3, 6, 9, 12 of twelve).
        regression: what the soft loss of a regression task compares with: the "teacher" (its
            output is a logit without softmax), or the "labels", as SparseBERT does.
    """

    hard: float = 1.0
    soft: float = 0.0
    temperature: float = 2.0
    hidden: float = 0.0
    attention: float = 0.0
    layerwise: float = 0.0
    teacher_layers: tuple[int, ...] = ()
    regression: Literal["teacher", "labels"] = "teacher"

    @property
    def distils(self) -> bool:
        """Whether a teacher is needed."""
        return self.soft > 0 or self.distils_layers

    @property
    def distils_layers(self) -> bool:
        """Whether the teacher's inner layers are needed, so that cached logits do not do."""
        return self.needs_hidden_states or self.attention > 0

    @property
    def needs_hidden_states(self) -> bool:
        """Whether the outputs of every layer are compared."""
        return self.hidden > 0 or self.layerwise > 0


@dataclass(frozen=True)
class RuleSettings:
    """A rule of its own pattern: final sparsity, and the pattern ("" is that of the stage)."""

    sparsity: float
    pattern: str = ""


@dataclass(frozen=True)
class FisherSettings:
    """Of the score "fisher_block"; see `pruning.fisher`.

    Attributes:
        gradients: m, of the last training steps; each takes the memory of the pruned kernels.
        block: B, weights of one output that are judged together.
        dampening: added to the Fisher's diagonal.
        compensate: move the kept weights of a block to make up for those that are pruned.
    """

    gradients: int = 16
    block: int = 50
    dampening: float = 1e-7
    compensate: bool = False


@dataclass(frozen=True)
class SparsitySettings:
    """Gradual pruning; see `schedules.SparsitySchedule` for the words, docs/patterns.md for more.

    Attributes:
        rules: ordered (regular expression of layer names -> final sparsity, or a mapping with
            `sparsity` and `pattern`); the last match wins; 0 leaves a layer dense. One that matches
            no Dense layer is an error.
        pattern: which weights are pruned together: "unstructured", blocks of outputs x inputs such
            as "64x32", "2:4" (in quotes), "heads", "neurons".
        score: what weights are ranked by: "magnitude", "random", "movement", "fisher_diagonal",
            "fisher_block".
        fisher: settings of the score "fisher_block".
        scope: "layer" ranks each layer's weights by themselves, "global" those of all layers of a
            rule together.
        shape: of the ramp: "polynomial" of `power`, "linear", "cosine".
        plugins: modules, or paths of .py files, that register patterns, scores and shapes of your
            own.
        rewind: true rewinds the learning rate during the ramp, as Prune OFA does; "cycles" lets it
            fall from its peak to `cycle_floor` of it between two rewinds, as oBERT and GMP* do.
        rewind_every: between two rewinds; 0 means at every mask update.
        cycle_floor: share of the peak at the end of a cycle.
    """

    rules: dict[str, float | RuleSettings] = field(default_factory=lambda: {"encoder_.*": 0.9})
    pattern: str = "unstructured"
    score: str = "magnitude"
    fisher: FisherSettings = field(default_factory=FisherSettings)
    scope: Literal["layer", "global"] = "layer"
    shape: str = "polynomial"
    plugins: tuple[str, ...] = ()
    initial: float = 0.0
    begin: Duration = 0
    ramp_end: Duration = "50%"
    mask_end: Duration = "80%"
    frequency: Duration = "1%"
    power: float = 3.0
    rewind: Literal[True, False, "cycles"] = True
    rewind_every: Duration = 0
    cycle_floor: float = 0.01


@dataclass(frozen=True)
class AugmentSettings:
    """Copies of the training examples with some words replaced; see `data.augment`.

    Attributes:
        model: the masked language model that proposes words: a stage with objective "mlm" before
            this one, or a folder or handle as for `ModelSettings.weights`; "" for no copies.
        copies: of each example, beside itself.
        probability: that a word is replaced.
        candidates: proposals for a word, of which one is drawn.
    """

    model: str = ""
    copies: int = 20
    probability: float = 0.4
    candidates: int = 15


@dataclass(frozen=True)
class TrainSettings:
    """What every training stage has.

    Attributes:
        kind: the stage's module in `stages/`.
        start: stage whose weights this one starts from, or "model" for the recipe's encoder.
        teacher: the distillation teacher: a stage, or a folder or `hf://` handle of a model that
            is trained on the same task and has the same vocabulary, of any size where only logits
            are compared; "" for none.
        head: "start" for the start's own head, a new one where it has none; "teacher" for that of
            the teacher, a stage of the same objective: where inner layers are distilled, it fits
            from the first step.
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
        cache_teacher: compute the teacher's logits once and keep them on disk ("task" only, and
            only where the run is longer than an epoch).
        augment: more training examples ("task" only).
        checkpoint_every: how often a killed run can resume from.
    """

    kind: str = ""
    start: str = "model"
    teacher: str = ""
    head: Literal["start", "teacher"] = "start"
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
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    checkpoint_every: Duration = "200 steps"


@dataclass(frozen=True)
class TeacherSettings(TrainSettings):
    """Dense training: MLM on the corpus, or a task."""


@dataclass(frozen=True)
class PruneSettings(TrainSettings):
    """Training that prunes."""

    sparsity: SparsitySettings = field(default_factory=SparsitySettings)


@dataclass(frozen=True)
class ReconstructSettings:
    """Pruning without training, layer by layer, from a few examples; see `stages.reconstruct`.

    Attributes:
        start: the dense model whose layers are to give the same outputs: a stage, or "model".
        pattern_of: stage whose sparsity pattern is kept, with new values of its weights; "" for a
            pattern of its own.
        objective: whose text the examples are: "mlm" (the corpus) or "task".
        examples: how many.
        batch_size: examples that are computed at a time.
        rules: as `SparsitySettings.rules`, of layers inside the encoder.
        pattern: as `SparsitySettings.pattern`, of one layer by itself.
        scope: "layer" prunes each layer as its rule says; "global" all layers of a rule together,
            each as far as a ranking of all their weights by the diagonal Fisher says: that of the
            labels' loss if `start` was trained on the task, otherwise of the last hidden states.
        plugins: as `SparsitySettings.plugins`.
        rounds: in which the sparsity is reached; what a weight costs is computed anew in each.
        power: of the rounds' sparsities; 3 is cubic.
        damping: how much weights are held at their dense values, as a share of the mean square of
            a layer's inputs.
    """

    kind: str = ""
    start: str = "model"
    pattern_of: str = ""
    objective: Literal["mlm", "task"] = "task"
    examples: int = 1024
    batch_size: int = 32
    rules: dict[str, float | RuleSettings] = field(default_factory=lambda: {"encoder_.*": 0.9})
    pattern: str = "unstructured"
    scope: Literal["layer", "global"] = "layer"
    plugins: tuple[str, ...] = ()
    rounds: int = 4
    power: float = 3.0
    damping: float = 0.01


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
        attention: whether the products inside attention are INT8, too.
    """

    freeze_ranges: Duration = "50%"
    range_momentum: float = 0.95
    calibration_batches: int = 16
    float_layers: tuple[str, ...] = ()
    attention: Literal["int8", "float"] = "int8"


@dataclass(frozen=True)
class ExportSettings:
    """`.tflite` files of a stage's model, one for each variant; batch 1, fixed sequence length."""

    kind: str = ""
    start: str = "quantize"
    variants: tuple[str, ...] = DEFAULT_VARIANTS
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
    | ReconstructSettings
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
    "reconstruct": ReconstructSettings,
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
    **dict.fromkeys(("corpus_limit", "corpus_length"), _FROM_0),
    **dict.fromkeys(("hard", "soft", "hidden", "attention", "layerwise"), _FROM_0),
    **dict.fromkeys(("learning_rate", "weight_decay", "clip_norm", "damping"), _FROM_0),
    **dict.fromkeys(("rounds",), _FROM_1),
    **dict.fromkeys(("batch_size", "max_length", "calibration_batches"), _FROM_1),
    **dict.fromkeys(("sequence_length", "threads", "runs"), _FROM_1),
    **dict.fromkeys(("stride", "question_length", "answer_length", "n_best"), _FROM_1),
    **dict.fromkeys(("copies", "candidates", "teacher_layers"), _FROM_1),
    **dict.fromkeys(("temperature", "power", "dampening"), _ABOVE_0),
    **dict.fromkeys(("gradients", "block"), _FROM_1),
    **dict.fromkeys(("probability", "cycle_floor"), ("in [0, 1]", lambda x: 0 <= x <= 1)),
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
            "prune.sparsity.ramp_end=60%", "seed=1", "task=mrpc"; values are YAML.
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
    _include_task(data, path.parent)
    for override in overrides:
        _set(data, override)
        _include_task(data, path.parent)
    recipe = recipe_from_dict(data, name=path.stem)
    return shrink(recipe) if tiny else recipe


def find_recipe(name: str | Path) -> Path:
    """Return the file of a recipe: `name` itself, or the recipe of that name in this package."""
    path = Path(name)
    if not path.exists() and path.name == str(name):
        shipped = (_shipped_recipes() / path.name).with_suffix(".yaml")
        return shipped if shipped.exists() else path
    return path


def _include_task(data: dict[str, Any], folder: Path) -> None:
    """Replace a task that is named by the content of its file, so that recipes can share it.

    The name is a file, looked for from the working folder and from the recipe's, or one of
    configs/tasks/.

    Raises:
        UserError: no such file, or it holds no mapping.
    """
    name = data.get("task")
    if not isinstance(name, str):
        return
    shipped = _shipped_recipes() / "tasks"
    places = [Path(name), folder / name, (shipped / name).with_suffix(".yaml")]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        known = sorted(file.stem for file in shipped.glob("*.yaml"))
        raise UserError(
            f"task is '{name}': there is no such file, and no task of that name"
            f"{_did_you_mean(name, known)}; tasks are {', '.join(known)}"
        )
    try:
        task = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(task, dict):
        raise UserError(f"{path} must hold the settings of a task, got {type(task).__name__}")
    data["task"] = task


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


def settings_of(cls: type, data: Any, where: str) -> Any:
    """Build a dataclass of settings from plain values, refusing what it does not know.

    Args:
        cls: frozen dataclass with the field types that recipes use.
        data: a mapping, as read from YAML.
        where: for messages, which place `data` is from.

    Raises:
        UserError: unknown key, wrong type, missing value.
    """
    return _build(cls, data, where)


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


TINY_STEPS = 12  # of a training stage


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
                stage,
                length=f"{TINY_STEPS} steps",
                batch_size=8,
                checkpoint_every="5 steps",
                warmup="10%",
                augment=replace(stage.augment, copies=min(stage.augment.copies, 2)),
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


def _tiny_sparsity(sparsity: SparsitySettings) -> SparsitySettings:
    rules = {key: _small_rule(rule) for key, rule in sparsity.rules.items()}
    # One gradient: there is but one training step before the first weights go.
    fisher = replace(sparsity.fisher, gradients=1)
    return replace(sparsity, rules=rules, pattern=_small_pattern(sparsity.pattern), fisher=fisher)


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
    """Return a few short examples of the task; of the reviews where it would need a download."""
    small = {"train_limit": 96, "dev_limit": 48, "max_length": 32}
    small |= {"corpus_limit": 96, "corpus_length": 32}
    if task.source.startswith(("tfds:squad", "squad")):
        # Questions of a few words on a text of a few words, in windows all the same.
        small |= {"question_length": 8, "stride": 12}
        if task.source != "squad":
            return TaskSettings(source="made_up_questions", **small)
    needs_download = task.source.startswith(("tfds:", "glue/")) and not task.folder
    if needs_download:
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
        if "block_sparse_int8" in settings.variants and "dense_int8" not in settings.variants:
            raise UserError(
                f"{name}.variants: block_sparse_int8 is verified against dense_int8, which is not "
                "among them; add dense_int8"
            )
    if isinstance(settings, ReconstructSettings) and settings.pattern_of:
        own = [
            one.name
            for one in dataclasses.fields(settings)
            if one.name in ("rules", "pattern", "scope", "plugins", "rounds", "power")
            and getattr(settings, one.name) != getattr(ReconstructSettings(), one.name)
        ]
        if own:
            raise UserError(
                f"{name}.{own[0]} is for a pattern of {name}'s own, but {name}.pattern_of takes "
                f"that of '{settings.pattern_of}'; leave one of them out"
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
    for required in dataclasses.fields(cls):
        has_default = (required.default, required.default_factory) != (dataclasses.MISSING,) * 2
        if not has_default and required.name not in values:
            raise UserError(f"'{where}' needs '{required.name}', got {data!r}")
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
    if hint == float | RuleSettings:
        return _convert(value, RuleSettings if isinstance(value, dict) else float, where)
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


def references(stage: StageSettings) -> dict[str, str]:
    """Return what a stage reads besides its data, by setting: names of stages, or of models."""
    augment = getattr(stage, "augment", None)
    names = {key: getattr(stage, key, "") for key in ("start", "teacher", "pattern_of")}
    names["augment.model"] = augment.model if augment else ""
    return {key: name for key, name in names.items() if name}


def plugins_of(stage: StageSettings) -> tuple[str, ...]:
    """Return the names of the plugins that a stage loads."""
    return getattr(getattr(stage, "sparsity", stage), "plugins", ())


def is_model_name(name: str) -> bool:
    """Return whether a teacher is named by folder or handle, not by a stage."""
    return "/" in name or (name != "" and Path(name).is_dir())


def _check_references(recipe: Recipe) -> None:
    """Data goes one way: a stage may refer only to stages before it."""
    before: list[str] = []
    for name, stage in recipe.stages.items():
        for key, other in references(stage).items():
            if other not in before and not (key == "start" and other == "model"):
                if key not in ("start", "pattern_of") and is_model_name(other):
                    continue
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
