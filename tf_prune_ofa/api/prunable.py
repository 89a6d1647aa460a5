"""A tf_keras model of one's own: pruned, trained with its zeros locked, distilled, quantized.

What the stages do with BERT, for any flat model of Dense layers, with the same schedule, masks,
lock, losses and INT8 scheme. The data are batches of (inputs, labels).

    net     = ofa.prunable(model)
    sparse  = net.prune(batches, steps=1000, sparsity=0.9, teacher=model)
    student = sparse.train(batches, steps=500, teacher=model)
    int8    = student.quantize(batches, steps=200, teacher=model)
    int8.model, int8.masks, int8.ranges
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tf_prune_ofa.config import LossSettings, SparsitySettings
from tf_prune_ofa.distill.distiller import Distiller, Target
from tf_prune_ofa.distill.target_losses import CLASSES, VALUE
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import (
    keras,
    quantize_annotate_layer,
    quantize_apply,
    quantize_scope,
    tf,
)
from tf_prune_ofa.models.bert import base_layer
from tf_prune_ofa.pruning.gradual import (
    UpdateMasks,
    gradient_observer,
    pruning_wrap,
    wrapper_masks,
)
from tf_prune_ofa.pruning.lock import (
    Masks,
    PatternLock,
    assert_same_zeros,
    assert_zeros,
    pattern_in,
    sparsity_of,
)
from tf_prune_ofa.pruning.plan import plan_pools
from tf_prune_ofa.pruning.rules import layer_rules
from tf_prune_ofa.pruning.scores import find_score
from tf_prune_ofa.quant import ranges as int8_ranges
from tf_prune_ofa.quant.scheme import DenseInt8, Int8Scheme, RangeOnly
from tf_prune_ofa.schedules import LearningRateSchedule, SparsitySchedule
from tf_prune_ofa.train.callbacks import AtStep
from tf_prune_ofa.train.fit import Run, fit

Kind = Literal["classes", "value"]
_LOSSES = {"classes": CLASSES, "value": VALUE}
WARMUP = 0.1  # of the steps
RAMP_END, MASK_END = 0.6, 0.8  # of the steps: final sparsity is reached, masks are fixed
UPDATES = 50  # of masks in a run
FREEZE_RANGES, RANGE_MOMENTUM = 0.5, 0.95
CALIBRATION_BATCHES = 16


def prunable(model: keras.Model, *, kinds: Mapping[str, Kind] | Kind = "classes") -> Prunable:
    """Return a model in the form that can be pruned.

    Args:
        model: Sequential or functional, of single layers, with Dense layers among them. Its outputs
            are logits or values.
        kinds: what each output is, by its name, or of all: "classes" (logits [..., C], integer
            labels) or "value" ([..., 1], float labels).

    Raises:
        UserError: a subclassed or unbuilt model, a model inside the model, a layer that is used
            twice, no Dense layer, an output behind a softmax, or a kind that is not one.
    """
    if not isinstance(model, keras.Model) or not getattr(model, "_is_graph_network", False):
        raise UserError(
            "a functional or Sequential tf_keras model with known input shapes is needed, got "
            f"{type(model).__name__}; build it, or write it as keras.Model(inputs, outputs)"
        )
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            raise UserError(
                f"layer '{layer.name}' is a model of its own; TFMOT needs single layers: put its "
                "layers into the model itself"
            )
        if len(layer.inbound_nodes) > 1:
            raise UserError(
                f"layer '{layer.name}' is used {len(layer.inbound_nodes)} times; a layer that is "
                "shared cannot be pruned or quantized in one place only"
            )
        activation = getattr(layer, "activation", None)
        is_output = any(layer.output is output for output in model.outputs)
        if is_output and (
            activation is keras.activations.softmax or isinstance(layer, keras.layers.Softmax)
        ):
            raise UserError(
                f"output '{layer.name}' ends in a softmax; the losses take logits: leave it out"
            )
    if not _dense(model):
        raise UserError("the model has no Dense layer, so there is nothing to prune")
    of_all = {name: kinds for name in model.output_names} if isinstance(kinds, str) else kinds
    wrong = {n: k for n, k in of_all.items() if k not in _LOSSES}
    if wrong or set(of_all) != set(model.output_names):
        raise UserError(
            f"kinds must say 'classes' or 'value' for each of the outputs {model.output_names}, "
            f"got {dict(of_all)}"
        )
    # A model that comes sparse keeps its zeros.
    masks = pattern_in({name: kernel.numpy() for name, kernel in _kernels(model).items()})
    outputs = {name: of_all[name] for name in model.output_names}
    return Prunable(model, tuple(model.input_names), outputs, masks)


@dataclass(frozen=True)
class Prunable:
    """A model with its sparsity pattern; every method returns a new one and leaves this as it is.

    Attributes:
        model: tf_keras model; behind `quantize` it emulates INT8.
        inputs: names of its inputs, in their order.
        kinds: of its outputs, by name, in their order.
        masks: bool [in, out] by layer name, True where a weight is kept; before `prune`
            those of layers that came with at least 1 % of zeros.
        ranges: of INT8 activations by layer name, behind `quantize`.
    """

    model: keras.Model
    inputs: tuple[str, ...]
    kinds: Mapping[str, Kind]
    masks: Masks = field(default_factory=dict, repr=False)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict, repr=False)

    @property
    def sparsity(self) -> float:
        """Share of zeros in the pruned layers together."""
        return sparsity_of(self.masks) if self.masks else 0.0

    def prune(
        self,
        batches: tf.data.Dataset,
        *,
        steps: int,
        sparsity: float = 0.9,
        rules: Mapping[str, float] | None = None,
        pattern: str = "unstructured",
        score: str = "magnitude",
        learning_rate: float = 1e-3,
        teacher: keras.Model | None = None,
        loss: Mapping[str, Any] | None = None,
        run_dir: str | Path | None = None,
        seed: int = 0,
    ) -> Prunable:
        """Prune gradually while training, with a cubic ramp of the sparsity.

        Args:
            batches: of (inputs, labels), repeated for as long as it takes.
            steps: of training; the final sparsity is reached after 60 % of them.
            sparsity: of all Dense layers.
            rules: instead, ordered (regular expression of layer names -> sparsity).
            pattern: see docs/patterns.md.
            score: what weights are ranked by, see docs/patterns.md.
            learning_rate: its peak.
            teacher: a model of the same inputs and outputs to distil from.
            loss: weights of `config.LossSettings`; by default labels without a teacher, and half
                labels, half logits with one.
            run_dir: where a killed run finds its checkpoints; a temporary folder if None.
            seed: of random scores.

        Raises:
            UserError: a rule that matches no Dense layer, unknown pattern or score, or a run too
                short for the score.
        """
        settings = SparsitySettings(score=score)
        chosen = find_score(score)(settings, seed)
        shapes = {name: tuple(layer.kernel.shape) for name, layer in _dense(self.model).items()}
        layers = layer_rules(rules or {".*": sparsity}, shapes, pattern)
        begin = chosen.steps_before
        if begin >= int(RAMP_END * steps):
            raise UserError(
                f"{steps} steps are too few: the score '{score}' sees {begin} before it ranks, and "
                f"the final sparsity is reached after {RAMP_END:.0%} of the steps"
            )
        schedule = SparsitySchedule(
            final=max(rule.sparsity for rule in layers.values()),
            begin=begin,
            ramp_end=int(RAMP_END * steps),
            mask_end=min(int(MASK_END * steps), steps - 1),
            frequency=max(1, steps // UPDATES),
        )
        pools = plan_pools(layers, shapes, schedule, heads=1)
        student = _cloned(self.model, pruning_wrap(pools, chosen))
        masks = wrapper_masks(student)
        kernels = _kernels(student)
        # Layers that were pruned before and are not pruned now keep their zeros.
        earlier = {name: mask for name, mask in self.masks.items() if name not in masks}
        lock = PatternLock(kernels, {**earlier, **masks}, gradient_observer(student, chosen))

        def live() -> Masks:
            return {**earlier, **{name: mask.numpy() > 0 for name, mask in masks.items()}}

        self._fit(
            student, batches, steps, learning_rate, teacher, loss, run_dir, lock,
            callbacks=lambda start: [UpdateMasks(pools, student, chosen)],
            before_save=lambda where: assert_zeros(kernels, live(), where=where),
        )  # fmt: skip
        return replace(self, model=_cloned(student, lambda layer: layer), masks=live())

    def train(
        self,
        batches: tf.data.Dataset,
        *,
        steps: int,
        learning_rate: float = 1e-3,
        teacher: keras.Model | None = None,
        loss: Mapping[str, Any] | None = None,
        run_dir: str | Path | None = None,
    ) -> Prunable:
        """Train with the sparsity pattern locked; see `prune` for the arguments."""
        student = _cloned(self.model, lambda layer: layer)
        self._fit(
            student, batches, steps, learning_rate, teacher, loss, run_dir, self._lock(student)
        )
        return replace(self, model=student)

    def quantize(
        self,
        batches: tf.data.Dataset,
        *,
        steps: int,
        learning_rate: float = 1e-4,
        teacher: keras.Model | None = None,
        loss: Mapping[str, Any] | None = None,
        run_dir: str | Path | None = None,
    ) -> Prunable:
        """Train with emulated INT8, the pattern locked; see `prune` for the arguments.

        Kernels get one scale an output channel, outputs of Dense layers and of the layers in front
        of them a trained range, which stands still for the second half. Inputs of the model itself
        stay float.
        """
        in_front = {
            node.layer.name
            for layer in _dense(self.model).values()
            for node in layer.inbound_nodes[0].parent_nodes
            if not isinstance(node.layer, keras.layers.InputLayer | keras.layers.Dense)
        }

        def annotated(layer: keras.layers.Layer) -> keras.layers.Layer:
            if isinstance(layer, keras.layers.Dense):
                return quantize_annotate_layer(layer, DenseInt8())
            if layer.name in in_front:
                return quantize_annotate_layer(layer, RangeOnly())
            return layer

        with quantize_scope({cls.__name__: cls for cls in (DenseInt8, RangeOnly)}):
            student = quantize_apply(_cloned(self.model, annotated), scheme=Int8Scheme())
        student = self._named(student)
        calibration = [
            dict(zip(self.inputs, _flat(x), strict=True))
            for x, _ in batches.take(CALIBRATION_BATCHES)
        ]
        int8_ranges.calibrate(student, calibration)
        int8_ranges.set_momentum(student, RANGE_MOMENTUM)
        self._fit(
            student, batches, steps, learning_rate, teacher, loss, run_dir, self._lock(student),
            callbacks=lambda start: [
                AtStep(
                    int(FREEZE_RANGES * steps),
                    lambda: int8_ranges.set_momentum(student, 1.0),
                    start_step=start,
                )
            ],
        )  # fmt: skip
        return replace(self, model=student, ranges=int8_ranges.trained_ranges(student))

    def _lock(self, student: keras.Model) -> PatternLock | None:
        if not self.masks:
            return None
        kernels = _kernels(student)
        assert_same_zeros(kernels, self.masks, where="the model")
        return PatternLock(kernels, self.masks)

    def _fit(
        self,
        student: keras.Model,
        batches: tf.data.Dataset,
        steps: int,
        learning_rate: float,
        teacher: keras.Model | None,
        loss: Mapping[str, Any] | None,
        run_dir: str | Path | None,
        lock: PatternLock | None,
        **options: Any,
    ) -> None:
        if steps < 1:
            raise UserError(f"steps must be 1 or more, got {steps}")
        settings = LossSettings(**(loss or ({"hard": 0.5, "soft": 0.5} if teacher else {})))
        if settings.distils and teacher is None:
            raise UserError("the loss has distillation terms, but there is no teacher")
        if teacher is not None and not settings.distils:
            raise UserError(
                f"the teacher would do nothing: the loss {dict(loss or {})} has no term of "
                "distillation; give it a 'soft' above 0, or leave the teacher out"
            )
        if settings.distils_layers:
            raise UserError("only logits are compared in a model that is not BERT; set soft alone")
        if lock is not None and "before_save" not in options:
            kernels = _kernels(student)
            options["before_save"] = lambda where: assert_zeros(kernels, self.masks, where=where)
        names = list(self.kinds)
        targets = tuple(
            Target(name, f"labels/{name}", loss=_LOSSES[self.kinds[name]], suffix=f"_{name}")
            if len(names) > 1
            else Target(name, f"labels/{name}", loss=_LOSSES[self.kinds[name]])
            for name in names
        )
        named_teacher = None if teacher is None else self._named(teacher)
        distiller = Distiller(
            self._named(student), targets, settings, teacher=named_teacher, lock=lock
        )
        schedule = LearningRateSchedule(learning_rate, steps, int(WARMUP * steps))
        size = int(next(iter(tf.nest.flatten(next(iter(batches))[0]))).shape[0])
        data = batches.repeat().map(self._by_name)
        with tempfile.TemporaryDirectory(prefix="tf_prune_ofa-") as temporary:
            folder = Path(run_dir or temporary)
            run = Run("training", folder, schedule, size, 0.0, max(1, steps // 10))
            fit(distiller, lambda start: data.skip(start).take(steps - start), run, **options)

    def _by_name(self, inputs: Any, labels: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        if not isinstance(labels, dict):
            labels = dict(zip(self.kinds, _flat(labels), strict=True))
        inputs = dict(zip(self.inputs, _flat(inputs), strict=True))
        return inputs, {f"labels/{name}": labels[name] for name in self.kinds}

    def _named(self, model: keras.Model) -> keras.Model:
        """Return a model with inputs and outputs by name, as the losses ask for them."""
        inputs = dict(zip(self.inputs, model.inputs, strict=True))
        outputs = dict(zip(self.kinds, model.outputs, strict=True))
        return keras.Model(inputs, outputs, name=model.name)


def _flat(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else tf.nest.flatten(value)


def _dense(model: keras.Model) -> dict[str, keras.layers.Dense]:
    layers = {base_layer(layer).name: base_layer(layer) for layer in model.layers}
    return {n: layer for n, layer in layers.items() if isinstance(layer, keras.layers.Dense)}


def _kernels(model: keras.Model) -> dict[str, tf.Variable]:
    """Return the kernels of Dense layers; INT8 emulation keeps its own reference to them."""
    return {
        base_layer(layer).name: variable
        for layer in model.layers
        if isinstance(base_layer(layer), keras.layers.Dense)
        for variable in layer.weights
        if variable.name.split("/")[-1].startswith("kernel:")
    }


def _cloned(
    model: keras.Model, wrap: Callable[[keras.layers.Layer], keras.layers.Layer]
) -> keras.Model:
    """Return a copy of a model, each layer passed through `wrap`, without wrappers of before."""

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        base = base_layer(layer)
        return wrap(type(base).from_config(base.get_config()))

    copy = keras.models.clone_model(model, clone_function=clone)
    for new, old in zip(copy.layers, model.layers, strict=True):
        if not isinstance(old, keras.layers.InputLayer):
            own = base_layer(new)
            own.set_weights(base_layer(old).get_weights())
    return copy
