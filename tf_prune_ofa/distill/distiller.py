"""The model that `fit` trains: a student, what it learns from, and its locked pattern."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tf_prune_ofa import replicas
from tf_prune_ofa.config import LossSettings
from tf_prune_ofa.distill import losses
from tf_prune_ofa.distill.accumulation import Shares, accumulated
from tf_prune_ofa.distill.target_losses import CLASSES, TargetLoss
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.pruning.lock import PatternLock

Tensors = dict[str, tf.Tensor]


@dataclass(frozen=True)
class Target:
    """How one output of the student is trained.

    Attributes:
        output: name of the model's output, e.g. "logits".
        labels: key of its labels in the batch's targets.
        weights: key of the labels' weights (1 counts, 0 padding), or "" where all count.
        soft_weights: the same for the teacher's logits; "" means as `weights`. In MLM distillation
            every token counts, while only masked ones have labels.
        loss: of the output and its labels, or the teacher's output: `CLASSES` (softmax), `VALUE`
            (regression), or one of the task's own.
        share: of this output in the total loss; 0.5 each for the two ends of an answer span.
        suffix: appended to "loss_hard" and "loss_soft" in the metrics.
        positions: where the classes are positions of the sequence: key of the inputs' mask [B, S]
            of those that count. Padding takes no part in the softmax.
    """

    output: str
    labels: str
    weights: str = ""
    soft_weights: str = ""
    loss: TargetLoss = CLASSES
    share: float = 1.0
    suffix: str = ""
    positions: str = ""


TEACHER_PREFIX = "teacher/"  # key of cached teacher logits in the targets: prefix + output name
# Of the model's outputs, one for each layer; see `models.bert.build_model`.
HIDDEN_PREFIX, ATTENTION_PREFIX = "hidden_states/", "attention_scores/"
# Losses of inner layers by their name in `LossSettings`: the outputs that they compare, and the
# function of the student's, the teacher's and the mask.
LAYER_TERMS: dict[str, tuple[str, Callable[..., tf.Tensor]]] = {
    "hidden": (HIDDEN_PREFIX, losses.hidden_loss),
    "attention": (ATTENTION_PREFIX, losses.attention_loss),
    "layerwise": (HIDDEN_PREFIX, losses.layerwise_loss),
    "squarehead": (HIDDEN_PREFIX, losses.squarehead_loss),
    "channels": (HIDDEN_PREFIX, losses.channels_loss),
}


class Distiller(keras.Model):
    """Trains `student` on labels and on a frozen teacher's logits.

    Loss: sum over targets of share · (hard · L_hard + soft · L_soft), plus weight · loss of each of
    `LAYER_TERMS`; see `distill.losses`.

    The teacher is held behind a function, so it is neither trained nor saved with the student, and
    it always runs without dropout. It may be of another size where only logits are compared. Where
    the batch's targets carry cached teacher logits (`TEACHER_PREFIX` + output name), it does not
    run at all.
    """

    def __init__(
        self,
        student: keras.Model,
        targets: tuple[Target, ...],
        loss: LossSettings,
        *,
        teacher: keras.Model | None = None,
        lock: PatternLock | None = None,
        trainable: Callable[[tf.Variable], bool] = lambda variable: True,
        clip_norm: float = 0.0,
        parts: int = 1,
    ) -> None:
        """Set up the training of one model.

        Args:
            student: functional model with named inputs and outputs.
            targets: what each output learns.
            loss: weights of the hard and soft terms, temperature.
            teacher: model with the same outputs; may be None if the logits are cached or
                `loss.soft` is 0.
            lock: keeps pruned weights at zero.
            trainable: says which variables are trained.
            clip_norm: global norm that gradients are scaled down to; 0 for none.
            parts: that a batch is computed in, one after another, to save memory.
        """
        super().__init__()
        self.student = student
        self.targets = targets
        self.loss_settings = loss
        self.clip_norm = clip_norm
        self.parts = parts
        self._lock = lock
        self._teacher = None if teacher is None else _frozen(teacher)
        self.trained_variables = [v for v in student.trainable_variables if trainable(v)]

    def call(self, inputs: Tensors, training: bool | None = None) -> Tensors:
        """Return the student's outputs."""
        return self.student(_inputs_of(self.student, inputs), training=training)

    def train_step(self, data: tuple[Tensors, Tensors]) -> Tensors:
        """Take one optimizer step on (inputs, targets); return each loss term of this batch.

        Of several replicas each returns its share of the terms, which Keras adds up.
        """
        if self.parts == 1:
            shares, logs = self._gradients_and_terms(data)
            squares = [replicas.rows_square(one) for one in shares]
        else:
            shares, logs, squares = accumulated(
                data, self.parts, self._gradients_and_terms, self._terms_without_dropout
            )
        gradients = replicas.summed(shares)
        if self._lock:
            gradients = self._lock.mask_gradients(gradients, self.trained_variables)
        if self.clip_norm:
            norm = replicas.global_norm(gradients, squares)
            gradients, _ = tf.clip_by_global_norm(gradients, self.clip_norm, use_norm=norm)
        self.optimizer.apply_gradients(
            zip(gradients, self.trained_variables, strict=True), skip_gradients_aggregation=True
        )
        if self._lock:
            self._lock.apply()
        return logs

    def _gradients_and_terms(self, data: tuple[Tensors, Tensors]) -> Shares:
        """Return gradients and loss terms of a batch or a part of it."""
        inputs, targets = data
        with tf.GradientTape() as tape:
            terms = self.loss_terms(inputs, targets, self.call(inputs, training=True))
            total = self.total_loss(terms)
        return tape.gradient(total, self.trained_variables), {"loss": total, **terms}

    def _terms_without_dropout(self, data: tuple[Tensors, Tensors]) -> Tensors:
        inputs, targets = data
        return self.loss_terms(inputs, targets, self.call(inputs, training=False))

    def loss_terms(self, inputs: Tensors, targets: Tensors, outputs: Tensors) -> Tensors:
        """Return every loss term, unweighted, by its name in the metrics."""
        terms = {}
        teacher_outputs = self._teacher_outputs(inputs, targets)
        for target in self.targets:
            positions = inputs.get(target.positions)
            logits = losses.only_at(outputs[target.output], positions)
            weights = targets.get(target.weights)
            soft_weights = targets.get(target.soft_weights or target.weights)
            if self.loss_settings.hard:
                hard = target.loss.hard(logits, targets[target.labels], weights)
                terms["loss_hard" + target.suffix] = hard
            if self.loss_settings.soft and not target.loss.learns_labels(self.loss_settings):
                taught = losses.only_at(teacher_outputs[target.output], positions)
                soft = target.loss.soft(logits, taught, self.loss_settings, soft_weights)
                terms["loss_soft" + target.suffix] = soft
            elif self.loss_settings.soft:
                soft = target.loss.hard(logits, targets[target.labels], weights)
                terms["loss_soft" + target.suffix] = soft
        return terms | self._layer_terms(outputs, teacher_outputs, inputs.get("input_mask"))

    def _layer_terms(
        self, outputs: Tensors, teacher_outputs: Tensors, mask: tf.Tensor | None
    ) -> Tensors:
        terms = {}
        for name, (prefix, loss) in LAYER_TERMS.items():
            if getattr(self.loss_settings, name):
                student, teacher = (
                    [of[key] for key in sorted(of) if key.startswith(prefix)]
                    for of in (outputs, teacher_outputs)
                )
                layers = self.loss_settings.teacher_layers
                options = {"teacher_layers": layers} if name == "layerwise" else {}
                terms[f"loss_{name}"] = loss(student, teacher, mask, **options)
        return terms

    def total_loss(self, terms: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Return the weighted sum of what `loss_terms` returned."""
        total = 0.0
        for target in self.targets:
            for name in ("hard", "soft"):
                term = terms.get(f"loss_{name}{target.suffix}")
                if term is not None:
                    total += target.share * getattr(self.loss_settings, name) * term
        for name in LAYER_TERMS:
            if f"loss_{name}" in terms:
                total += getattr(self.loss_settings, name) * terms[f"loss_{name}"]
        return total

    def _teacher_outputs(self, inputs: Tensors, targets: Tensors) -> Tensors:
        if not self.loss_settings.distils:
            return {}
        keys = {target.output: TEACHER_PREFIX + target.output for target in self.targets}
        if not self.loss_settings.distils_layers and all(k in targets for k in keys.values()):
            return {output: targets[key] for output, key in keys.items()}
        if self._teacher is None:
            raise ValueError("distillation needs a teacher, or its cached logits in the targets")
        return self._teacher(inputs)

    def get_config(self) -> dict[str, Any]:
        """Refuse: a distiller is built by its stage; only its student is saved."""
        raise NotImplementedError("save the student, not the distiller")


def _inputs_of(model: keras.Model, inputs: Tensors) -> Tensors:
    """Return those of the inputs that a model has; student and teacher may differ in them."""
    known = getattr(model, "input_names", inputs)
    return {name: inputs[name] for name in inputs if name in known}


def _frozen(teacher: keras.Model) -> Callable[[Tensors], Tensors]:
    """Return the teacher as a function, for `Distiller` not to track it as a part of its own."""
    return lambda inputs: teacher(_inputs_of(teacher, inputs), training=False)
