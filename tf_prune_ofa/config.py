"""Settings of a recipe: frozen dataclasses with all defaults.

A recipe is an ordered mapping of stages. A stage names its `kind` (default: its own name), what it
starts from, and its settings. `recipe` reads one from a file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Literal

from tf_prune_ofa.encoders import encoder_names
from tf_prune_ofa.limits import (
    BATCH,
    COUNT,
    COUNT_OR_ALL,
    FEW,
    INNER_SHARE,
    POSITIVE,
    PROBABILITY,
    RATE,
    SEED,
    SHARE,
    SPEEDUP_OR_RULES,
    TOKENS,
    TOKENS_OR_SAME,
    WEIGHT,
    between,
    limited,
    required,
)
from tf_prune_ofa.schedules import Duration
from tf_prune_ofa.variants import USUAL_VARIANTS


@dataclass(frozen=True)
class About:
    """The story of a recipe: where it comes from, what to expect, what it takes."""

    title: str = ""
    source: str = ""
    expected: str = ""
    hardware: str = ""
    command: str = ""


@dataclass(frozen=True)
class SizeSettings:
    """What `ModelSettings.sizes` may hold: the keys of `models.bert.EncoderConfig`."""

    hidden_size: int = required(between(1, 65_536))
    num_layers: int = required(between(1, 1_000))
    num_heads: int = required(between(1, 1_024))
    intermediate_size: int = required(between(1, 1_000_000))
    max_positions: int = limited(512, TOKENS)
    vocab_size: int = limited(30_522, between(1, 10_000_000))
    type_vocab_size: int = limited(2, between(1, 1_024))
    embedding_size: int = limited(0, between(0, 65_536))
    architecture: str = "bert"
    activation: Literal["gelu_erf", "gelu_tanh"] = "gelu_erf"
    layer_norm_epsilon: float = limited(1e-12, SHARE)
    dropout: float = limited(0.1, SHARE)
    attention_dropout: float = limited(0.1, SHARE)


@dataclass(frozen=True)
class ModelSettings:
    """The encoder to start from.

    Attributes:
        weights: "minilm_l6" (installed with the quickstart), a sparse encoder that comes with this
            package ("minilm_l6_sparse_90"), a Hugging Face folder, an `hf://`
            handle, a keras-nlp preset name or folder, or "random" for an untrained encoder of
            `sizes`.
        dropout: rate during training, of hidden states and of attention probabilities.
        activation: "checkpoint" keeps the GELU's form of the weights; "gelu_tanh" or "gelu_erf"
            replace it.
        strip_accents: of the tokenizer; "checkpoint" does as the weights were trained. MediaPipe on
            a phone never strips them, so "never" is closer to it.
        clean_up: of texts before words are looked up; "checkpoint" does as the weights were
            trained, "mediapipe" as MediaPipe's text classifier does, so that every text has the
            same tokens on a phone as in training.
        sizes: for "random": keys of `models.bert.EncoderConfig`.
        vocabulary: for "random": folder or preset whose vocab.txt or tokenizer.json is used;
            "tiny_bpe" and "tiny_unigram" are small ones for trying RoBERTa and XLM-R.
    """

    weights: str = "minilm_l6"
    dropout: float = limited(0.1, SHARE)
    activation: Literal["checkpoint", "gelu_erf", "gelu_tanh"] = "checkpoint"
    strip_accents: Literal["checkpoint", "always", "never"] = "checkpoint"
    clean_up: Literal["checkpoint", "mediapipe"] = "checkpoint"
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
        skip_labels: labels, as the files write them, whose rows are left out and counted, such as
            SNLI's "-".
        metrics: the scores to report, the main one first (`tasks.scores.SCORES`); empty means
            the task's official ones, or accuracy, or Pearson and Spearman correlation.
        thresholds: where a text may have several labels, the probability from which one counts as
            there: one for all, or one a label; empty means 0.5.
        max_length: tokens of an example, [CLS] and [SEP] included; longer ones are cut.
        stride: of questions on a text: tokens from one window of a long text to the next.
        question_length: of a question, in tokens; longer ones are cut.
        answer_length: of an answer, in tokens.
        n_best: starts and ends of answers that are tried in each window.
        train_limit, dev_limit: use at most so many examples; 0 means all.
        corpus, corpus_length, corpus_limit: as the recipe's section "corpus" has them, in whose
            place they are put; of recipes that are older than it.
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
    skip_labels: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = limited((), INNER_SHARE)
    max_length: int = limited(64, TOKENS)
    stride: int = limited(128, TOKENS)
    question_length: int = limited(64, TOKENS)
    answer_length: int = limited(30, TOKENS)
    n_best: int = limited(20, FEW)
    train_limit: int = limited(0, COUNT_OR_ALL)
    dev_limit: int = limited(0, COUNT_OR_ALL)
    corpus: tuple[str, ...] = ()
    corpus_length: int = limited(0, TOKENS_OR_SAME)
    corpus_limit: int = limited(0, COUNT_OR_ALL)


@dataclass(frozen=True)
class CorpusSettings:
    """Unlabelled text for masked language models.

    It is no part of the task: what is learned from it serves every task, and a stage that learns
    from it is shared by the recipes of a run folder.

    Attributes:
        files: text files with a document on each line; or "reviews", the text that is installed
            with the quickstart: film plots and reviews, half a million tokens. Empty means the
            texts of the task's train split.
        records: instead of files, a folder that `tools/prepare_corpus.py` has made; of any size,
            for it is read from disk as it is needed. It has its own length.
        length: tokens of an example; 0 means the task's max_length.
        limit: use at most so many documents; 0 means all.
        whole_words: mask all pieces of a word or none of them.
    """

    files: tuple[str, ...] = ()
    records: str = ""
    length: int = limited(0, TOKENS_OR_SAME)
    limit: int = limited(0, COUNT_OR_ALL)
    whole_words: bool = False


@dataclass(frozen=True)
class LossSettings:
    """loss = hard · L_hard + soft · L_soft + hidden · L_hidden + attention · L_attention + ...

    The first two terms are those of Prune OFA (section 3), the next two those of SparseBERT
    (section 3), layerwise · L_layerwise is that of CoFi (section 2), squarehead · L_squarehead that
    of Kurtic et al. 2023 (arXiv 2310.06927, section 3).

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
        squarehead: weight of the error in hidden states as a share of the teacher's mean square, of
            each layer by itself, summed over layers: channels and layers with large values do not
            rule it as they rule "hidden".
        channels: weight of the error in hidden states as a share of the variance of each channel,
            mean over channels, summed over layers.
        regression: what the soft loss of a regression task compares with: the "teacher" (its
            output is a logit without softmax), or the "labels", as SparseBERT does.
    """

    hard: float = limited(1.0, WEIGHT)
    soft: float = limited(0.0, WEIGHT)
    temperature: float = limited(2.0, POSITIVE)
    hidden: float = limited(0.0, WEIGHT)
    attention: float = limited(0.0, WEIGHT)
    layerwise: float = limited(0.0, WEIGHT)
    squarehead: float = limited(0.0, WEIGHT)
    channels: float = limited(0.0, WEIGHT, is_newer=True)
    teacher_layers: tuple[int, ...] = limited((), FEW)
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
        return max(self.hidden, self.layerwise, self.squarehead, self.channels) > 0


@dataclass(frozen=True)
class RuleSettings:
    """A rule of its own pattern: final sparsity, and the pattern ("" is that of the stage)."""

    sparsity: float = required(SHARE)
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

    gradients: int = limited(16, FEW)
    block: int = limited(50, COUNT)
    dampening: float = limited(1e-7, POSITIVE)
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
        share_of: what sparsities are shares of: "all" weights, where zeros of `start` count as
            pruned, or those that it has "kept": 0.8 behind heads and neurons prunes four fifths of
            what they left.
        shape: of the ramp: "polynomial" of `power`, "linear", "cosine".
        plugins: modules, or paths of .py files, that register patterns, scores and shapes of your
            own.
        rewind: true rewinds the learning rate during the ramp, as Prune OFA does; "cycles" lets it
            fall from its peak to `cycle_floor` of it between two rewinds, as oBERT and GMP* do.
        rewind_every: between two rewinds; 0 means at every mask update.
        cycle_floor: share of the peak at the end of a cycle.
    """

    rules: dict[str, float | RuleSettings] = limited({"encoder_.*": 0.9}, SHARE)
    pattern: str = "unstructured"
    score: str = "magnitude"
    fisher: FisherSettings = field(default_factory=FisherSettings)
    scope: Literal["layer", "global"] = "layer"
    share_of: Literal["all", "kept"] = "all"
    shape: str = "polynomial"
    plugins: tuple[str, ...] = ()
    initial: float = limited(0.0, SHARE)
    begin: Duration = 0
    ramp_end: Duration = "50%"
    mask_end: Duration = "80%"
    frequency: Duration = "1%"
    power: float = limited(3.0, POSITIVE)
    rewind: Literal[True, False, "cycles"] = True
    rewind_every: Duration = 0
    cycle_floor: float = limited(0.01, PROBABILITY)


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
    copies: int = limited(20, FEW)
    probability: float = limited(0.4, PROBABILITY)
    candidates: int = limited(15, FEW)


@dataclass(frozen=True)
class TrainSettings:
    """What every training stage has.

    Attributes:
        kind: the stage's module in `stages/`.
        start: stage whose weights this one starts from, "model" for the recipe's encoder, or an
            encoder of the same sizes by its name: "minilm_l6" or "minilm_l6_sparse_90".
        teacher: the distillation teacher: a stage, or the name, folder or `hf://` handle of a
            model that is trained on the same task and has the same vocabulary, of any size where
            only logits are compared; "model" for the recipe's encoder, where its outputs are what
            is learned (embeddings); "" for none.
        head: "start" for the start's own head, a new one where it has none; "new" for a new one in
            any case; "teacher" for that of the teacher, a stage of the same objective: where inner
            layers are distilled, it fits from the first step.
        objective: "mlm" (masked language model) or "task".
        length: of the run.
        batch_size: examples of an optimizer step, on all devices together.
        gradient_accumulation: compute them in so many parts, one after another, where all at a time
            do not fit in memory; the gradient is the same.
        precision: of the products of student and teacher in this stage, but of a teacher from
            elsewhere; "bfloat16" is faster where the processor has it. Weights are float32 all the
            time, scores are those of float32.
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
    head: Literal["start", "teacher", "new"] = "start"
    objective: Literal["mlm", "task"] = "task"
    length: Duration = "3 epochs"
    batch_size: int = limited(32, BATCH)
    gradient_accumulation: int = limited(1, BATCH)
    precision: Literal["float32", "bfloat16"] = "float32"
    learning_rate: float = limited(5e-5, RATE)
    warmup: Duration = "10%"
    decay: Literal["linear", "constant"] = "linear"
    weight_decay: float = limited(0.01, RATE)
    clip_norm: float = limited(1.0, WEIGHT)
    loss: LossSettings = field(default_factory=LossSettings)
    nsp: bool = False
    mlm_share: float = limited(0.15, INNER_SHARE)
    mlm_distil: Literal["all", "masked"] = "all"
    dropout: bool = True
    frozen: tuple[str, ...] = ()
    cache_teacher: bool = True
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    checkpoint_every: Duration = "200 steps"


@dataclass(frozen=True)
class FinetuneSettings(TrainSettings):
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
        pattern_of: stage, or sparse encoder by its name, whose sparsity pattern is kept, with new
            values of its weights; "" for a pattern of its own.
        held_at: where `damping` holds the weights of that pattern: "start", at the dense model's,
            or "pattern_of", at those that were trained sparse, moved by what training has changed
            in `start`; then all else of the encoder layers, too, begins there.
        objective: whose text the examples are: "mlm" (the corpus) or "task".
        examples: how many.
        batch_size: examples that are computed at a time.
        speedup: instead of rules: whole heads and neurons go, of each layer as many as cost the
            least accuracy, until a static INT8 file without them is so many times as fast as the
            dense one on the stock runtime (block_sparse_int8); 0 for the rules. `start` must be
            trained on the objective.
        latency_ms: the same goal as a time of that file, in milliseconds on the machine of the
            costs; 0 for none.
        costs: with such a goal, a file of what heads and neurons cost; "" measures it here, in
            files of task.max_length tokens, with one thread, and leaves it as unit_costs.json.
        rules: as `SparsitySettings.rules`, of layers inside the encoder.
        pattern: as `SparsitySettings.pattern`, of one layer by itself.
        scope: "layer" prunes each layer as its rule says; "global" all layers of a rule together,
            each as far as a ranking of all their weights by `score` says; `start` must be trained
            on the objective.
        share_of: as `SparsitySettings.share_of`.
        score: of that ranking, as `SparsitySettings.score`; from gradients on the examples, without
            training.
        plugins: as `SparsitySettings.plugins`.
        rounds: in which the sparsity is reached; what a weight costs is computed anew in each.
        power: of the rounds' sparsities; 3 is cubic.
        damping: how much weights are held at their values before, as a share of the mean square
            of a layer's inputs.
        weights: "int4" rounds each layer to what dense_int4 can store, and lets the weights that
            are not yet rounded make up for it; with rules of 0 nothing is pruned, and zeros of
            `start` stay. Training behind it would move weights off the grid again.
    """

    kind: str = ""
    start: str = "model"
    pattern_of: str = ""
    held_at: Literal["start", "pattern_of"] = "start"
    objective: Literal["mlm", "task"] = "task"
    examples: int = limited(1024, COUNT)
    batch_size: int = limited(32, BATCH)
    speedup: float = limited(0.0, SPEEDUP_OR_RULES)
    latency_ms: float = limited(0.0, WEIGHT)
    costs: str = ""
    rules: dict[str, float | RuleSettings] = limited({"encoder_.*": 0.9}, SHARE)
    pattern: str = "unstructured"
    scope: Literal["layer", "global"] = "layer"
    share_of: Literal["all", "kept"] = "all"
    score: str = "fisher_diagonal"
    plugins: tuple[str, ...] = ()
    rounds: int = limited(4, FEW)
    power: float = limited(3.0, POSITIVE)
    damping: float = limited(0.01, WEIGHT)
    weights: Literal["float32", "int4"] = "float32"

    @property
    def goal(self) -> str:
        """Name of the setting that asks for a time, by which heads and neurons go; "" for none."""
        return "speedup" if self.speedup else "latency_ms" if self.latency_ms else ""


@dataclass(frozen=True)
class TransferSettings(TrainSettings):
    """Fine-tuning with the sparsity pattern locked.

    Attributes:
        locked: only where `start` is a sparse checkpoint from elsewhere: layers whose pattern
            (w != 0) is taken from the weights, once. Empty means every Dense layer of whose weights
            at least 1 % are zeros, the pooler among them; fewer are there by chance.
    """

    locked: tuple[str, ...] = ()


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
    range_momentum: float = limited(0.95, SHARE)
    calibration_batches: int = limited(16, COUNT)
    float_layers: tuple[str, ...] = ()
    attention: Literal["int8", "float"] = "int8"


@dataclass(frozen=True)
class VocabularySettings:
    """Which word pieces have rows of their own in a file's table of words.

    Attributes:
        keep: "all", or those that the "task" uses: the texts of its train split and `texts`.
            Special tokens stay in any case.
        others: what becomes of the rest. "split": they leave the vocabulary, and their words fall
            into shorter pieces; those of one character stay for that. "nearest": they stay, each
            with the row of the piece that stays and has the nearest one, in all variants but
            float32; no text has other tokens.
        texts: with "task", files of further text, a text on each line; or "reviews", what is
            installed with the quickstart.
        at_least: times that a piece must be used to stay.
        size: pieces in all, of which the most used stay; 0 for no limit.
    """

    keep: Literal["all", "task"] = "all"
    others: Literal["split", "nearest"] = "split"
    texts: tuple[str, ...] = ()
    at_least: int = limited(1, COUNT)
    size: int = limited(0, COUNT_OR_ALL)


@dataclass(frozen=True)
class ExportSettings:
    """`.tflite` files of a stage's model, one for each variant; batch 1, fixed sequence length.

    Attributes:
        variants: which files.
        sequence_length: of every file, in tokens.
        vocabulary: which word pieces have rows of their own.
        words: bits of the table of words in all variants but float32.
        mediapipe: "warn" says where MediaPipe's text classifier makes other tokens of a text than
            the model's own tokenizer; "same" refuses to export a model where it does.
    """

    kind: str = ""
    start: str = "quantize"
    variants: tuple[str, ...] = USUAL_VARIANTS
    sequence_length: int = limited(64, TOKENS)
    vocabulary: VocabularySettings = field(default_factory=VocabularySettings)
    words: Literal["int8", "int4"] = "int8"
    mediapipe: Literal["warn", "same"] = "warn"


@dataclass(frozen=True)
class VerifySettings:
    """Checks of the exported files: on `examples` of the held-out split, 0 for all of them.

    `threads` says how many of them run at a time, each in one thread.
    """

    kind: str = ""
    start: str = "export"
    examples: int = limited(0, COUNT_OR_ALL)
    threads: int = limited(2, FEW)


@dataclass(frozen=True)
class BenchmarkSettings:
    """Interleaved latency of the exported files.

    Attributes:
        delegate: "auto" also measures sparse_int8 with the sparse INT8 delegate where that is
            built; "none" does not.
    """

    kind: str = ""
    start: str = "export"
    threads: int = limited(1, FEW)
    runs: int = limited(100, COUNT)
    reference: str = "dense_int8"
    delegate: Literal["auto", "none"] = "auto"


@dataclass(frozen=True)
class ReportSettings:
    """Tables, plots and one HTML page of the whole run."""

    kind: str = ""


StageSettings = (
    FinetuneSettings
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
    "finetune": FinetuneSettings,
    "prune": PruneSettings,
    "reconstruct": ReconstructSettings,
    "transfer": TransferSettings,
    "quantize": QuantizeSettings,
    "export": ExportSettings,
    "verify": VerifySettings,
    "benchmark": BenchmarkSettings,
    "report": ReportSettings,
}
# What a kind was called before; recipes and runs may still say so.
OLD_KINDS = {"teacher": "finetune"}


@dataclass(frozen=True)
class Recipe:
    """A whole run: stages in order, by name."""

    name: str
    about: About
    seed: int = required(SEED)
    model: ModelSettings
    task: TaskSettings
    stages: dict[str, StageSettings]
    corpus: CorpusSettings = field(default_factory=CorpusSettings)


def references(stage: StageSettings) -> dict[str, str]:
    """Return what a stage reads besides its data, by setting: names of stages, or of models."""
    augment = getattr(stage, "augment", None)
    names = {key: getattr(stage, key, "") for key in ("start", "teacher", "pattern_of")}
    names["augment.model"] = augment.model if augment else ""
    return {key: name for key, name in names.items() if name}


def plugins_of(stage: StageSettings) -> tuple[str, ...]:
    """Return the names of the plugins that a stage loads."""
    return getattr(getattr(stage, "sparsity", stage), "plugins", ())


def cost_file_of(stage: StageSettings) -> str:
    """Return the file of costs that a stage names; "" for none."""
    return getattr(stage, "costs", "")


def text_files_of(stage: StageSettings) -> tuple[str, ...]:
    """Return the files of text that a stage names for itself."""
    return getattr(getattr(stage, "vocabulary", None), "texts", ())


def is_model_name(name: str) -> bool:
    """Return whether a teacher is an encoder that is known by name, a folder or a handle."""
    if name in encoder_names():
        return True
    # Not Path.is_dir, which raises where a name is too long for a file.
    return "/" in name or (name != "" and os.path.isdir(name))  # noqa: PTH112
