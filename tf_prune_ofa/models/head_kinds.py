"""What can be built on an encoder: one class for each head, with all that is particular to it.

Legend: B batch · S sequence · H hidden · P predicted positions · V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tf_prune_ofa.architectures.family import Family
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import keras, tf
from tf_prune_ofa.models import layers

if TYPE_CHECKING:
    from tf_prune_ofa.models.bert import Graph

Tensors = dict[str, tf.Tensor]
BASE_CLASS = "Model"  # `Head.class_suffix` of the encoder itself


class Head(ABC):
    """A head of an encoder.

    Attributes:
        class_suffix: how transformers calls the class of a model with this head, behind "Bert".
        doubtful_layer: its last layer, where tensors of other classes have the same name, so that
            only the class in config.json tells what they mean; "" where names are its own.
    """

    class_suffix: ClassVar[str]
    doubtful_layer: ClassVar[str] = ""

    @property
    def transformers_class(self) -> str:
        """Return `class_suffix`, or where a setting decides, the one that it makes."""
        return self.class_suffix

    @property
    def named_outputs(self) -> int:
        """Return how many outputs have a label each; 0 where they have none."""
        return 0

    @property
    def problem_type(self) -> str:
        """Return what config.json calls the problem; "" where it says nothing."""
        return ""

    def check(self, family: Family) -> None:  # noqa: B027
        """Raise a `UserError` if there is no such head on encoders of this family."""

    def check_folder(self, folder: Path) -> None:  # noqa: B027
        """Raise a `UserError` if a model folder says that its head computes something else."""

    def inputs(self, batch_size: int | None) -> Tensors:
        """Return what the head reads besides the encoder's inputs, by name."""
        return {}

    @abstractmethod
    def outputs(self, graph: Graph, x: tf.Tensor, inputs: Tensors) -> Tensors:
        """Build the head; return its outputs by name.

        Args:
            graph: has the parts that all heads are made of.
            x: [B, S, H], what the encoder gives.
            inputs: of the whole model, by name.
        """


@dataclass(frozen=True)
class MaskedLM(Head):
    """Predicts the words at `mlm_positions` [B, P]; with `nsp`, also whether B follows A.

    Outputs: `mlm_logits` [B, P, V], `nsp_logits` [B, 2].
    """

    nsp: bool = False
    class_suffix = "ForMaskedLM"

    @property
    def transformers_class(self) -> str:
        """Return the class with both heads where there are two."""
        return "ForPreTraining" if self.nsp else self.class_suffix

    def check(self, family: Family) -> None:
        """Raise a `UserError` if the next sentence is asked for without token types."""
        if self.nsp and not (family.has_pooler and family.token_types):
            raise UserError(
                f"{family.title} has no pooler and no token types, so it cannot predict the next "
                "sentence; set nsp to false"
            )

    def check_folder(self, folder: Path) -> None:  # noqa: B027
        """Raise a `UserError` if a model folder says that its head computes something else."""

    def inputs(self, batch_size: int | None) -> Tensors:
        """Return the positions."""
        name = "mlm_positions"
        return {name: keras.Input([None], batch_size=batch_size, dtype=tf.int32, name=name)}

    def outputs(self, graph: Graph, x: tf.Tensor, inputs: Tensors) -> Tensors:
        """Build both heads."""
        outputs = {"mlm_logits": graph.mlm(x, inputs["mlm_positions"])}
        if self.nsp:
            outputs["nsp_logits"] = graph.dense(2, "nsp")(graph.pooled(x))
        return outputs


@dataclass(frozen=True)
class Classification(Head):
    """`logits` [B, num_labels]; one label makes it a regression head (STS-B)."""

    num_labels: int
    class_suffix = "ForSequenceClassification"
    doubtful_layer = "classifier"

    @property
    def named_outputs(self) -> int:
        """Return the number of labels."""
        return self.num_labels

    @property
    def problem_type(self) -> str:
        """Return a regression for one output."""
        return "regression" if self.num_labels == 1 else "single_label_classification"

    def outputs(self, graph: Graph, x: tf.Tensor, inputs: Tensors) -> Tensors:
        """Build a classifier on the first token."""
        return {"logits": graph.classifier(x, self.num_labels)}


@dataclass(frozen=True)
class TokenClassification(Head):
    """`tag_logits` [B, S, num_labels], a tag for each token."""

    num_labels: int
    class_suffix = "ForTokenClassification"
    doubtful_layer = "token_classifier"

    @property
    def named_outputs(self) -> int:
        """Return the number of tags."""
        return self.num_labels

    def outputs(self, graph: Graph, x: tf.Tensor, inputs: Tensors) -> Tensors:
        """Build a classifier on every token."""
        x = graph.point("token_classifier/input")(graph.dropout(x, "token_classifier/dropout"))
        return {"tag_logits": graph.dense(self.num_labels, "token_classifier")(x)}


@dataclass(frozen=True)
class SpanQA(Head):
    """`start_logits` and `end_logits` [B, S] of an answer span."""

    class_suffix = "ForQuestionAnswering"
    doubtful_layer = "span"

    def outputs(self, graph: Graph, x: tf.Tensor, inputs: Tensors) -> Tensors:
        """Build two numbers for each token."""
        span = graph.dense(2, "span")(graph.point("span/input")(x))  # [B, S, 2]
        return {
            "start_logits": layers.SelectLast(0, name="span/start")(span),
            "end_logits": layers.SelectLast(1, name="span/end")(span),
        }
