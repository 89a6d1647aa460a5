"""Models of a training stage: built with the weights of a stage before or of the encoder, saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tf_prune_ofa import paths
from tf_prune_ofa.config import TrainSettings
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.jobs.other_models import load_other_model, open_encoder
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models import bert, huggingface
from tf_prune_ofa.models.assign import assign_weights
from tf_prune_ofa.models.heads import for_head, without_heads
from tf_prune_ofa.models.keras_preset import is_keras_preset
from tf_prune_ofa.models.tensor_names import HEADS, head_of
from tf_prune_ofa.tasks.objective import Objective


class Models:
    """Loads and saves the models of one stage."""

    def __init__(
        self, settings: TrainSettings, context: Context, objective: Objective, seed: int
    ) -> None:
        """Remember whose models they are.

        Args:
            settings: of the stage.
            context: of the stage.
            objective: of the stage.
            seed: of new weights.
        """
        self.settings = settings
        self.context = context
        self.objective = objective
        self.seed = seed
        self._unused_pooler: dict[str, np.ndarray] = {}

    def load(
        self,
        start: str,
        head: bert.Head | None,
        *,
        wrap: bert.Wrap | None = None,
        is_trained: bool = True,
    ) -> keras.Model:
        """Build a model with the weights of a stage or of the encoder.

        Args:
            start: name of a stage before, "model", or the name of an encoder.
            head: what is built on the encoder.
            wrap: see `models.bert.build_model`.
            is_trained: False for a teacher, and where dropout would disturb.
        """
        encoder = self.context.recipe_inputs.encoder
        has_dropout = is_trained and self.settings.dropout
        model = bert.build_model(
            encoder if has_dropout else encoder.without_dropout(),
            head,
            wrap=wrap,
            hidden_states=self.settings.loss.needs_hidden_states,
            attention_scores=self.settings.loss.attention > 0,
            precision=self.settings.precision,
            seed=self.seed,
        )
        found = self.weights_of(start)
        if found is None:
            return model
        folder, weights = found
        if self.settings.head == "new" and start == self.settings.start:
            weights = without_heads(weights)
        elif start not in self.context.results and not is_keras_preset(folder):
            weights = for_head(weights, folder, head, self.objective.label_names or ())
        # Where start and teacher are one stage, so are their heads.
        if self.settings.head == "teacher" and start == self.settings.start:
            weights = self._with_head_of_teacher(weights)
        report = assign_weights(model, weights, folder, new_heads=HEADS)
        self.objective.start_head(bert.parameters(model), report.new)
        if report.new:
            print(f"  new, not from '{start}': {', '.join(report.new)}", flush=True)
        if "pooler" in report.unused_heads and not self._unused_pooler:
            # An MLM model has no use for it, but the task that comes later starts from it. What is
            # loaded first is the start; a teacher's pooler is not the student's.
            self._unused_pooler = {k: v for k, v in weights.items() if k.startswith("pooler/")}
        return model

    def in_float32(self, model: keras.Model, head: bert.Head | None) -> keras.Model:
        """Return a trained model as all later stages will see it, whatever it was trained in."""
        if self.settings.precision == "float32":
            return model
        exact = bert.build_model(self.context.recipe_inputs.encoder.without_dropout(), head)
        bert.copy_parameters(model, exact)
        return exact

    def weights_of(self, start: str) -> tuple[Path, Mapping[str, np.ndarray]] | None:
        """Return the folder and the weights of a stage or of an encoder; None of a random one."""
        if start in self.context.results:
            folder = self.context.results[start].model_folder
            return folder, huggingface.read_weights(folder)
        if start != "model":
            source = open_encoder(start, self.context.recipe_inputs)
            return source.folder, source.read_weights()
        if self.context.recipe.model.weights == "random":
            return None
        source = self.context.recipe_inputs.source
        return source.folder, source.read_weights()

    def _with_head_of_teacher(self, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the weights with the heads of the teacher, which must be a stage of the recipe."""
        name = self.settings.teacher
        if name not in self.context.results:
            raise UserError(
                f"{self.context.name}.head is 'teacher', but {self.context.name}.teacher is "
                f"{name!r}; name a stage of the recipe, or leave head out"
            )
        taught = huggingface.read_weights(self.context.results[name].model_folder)
        return {key: value for key, value in weights.items() if head_of(key) is None} | {
            key: value for key, value in taught.items() if head_of(key) is not None
        }

    def load_teacher(self, head: bert.Head | None) -> keras.Model:
        """Build the teacher, of a stage before or from elsewhere, without dropout."""
        name = self.settings.teacher
        if name in self.context.results or name == "model":
            return self.load(name, head, is_trained=False)
        return load_other_model(name, head, self.context.recipe_inputs, self.settings.loss)

    def save(self, model: keras.Model, head: bert.Head | None) -> Path:
        """Write a model as a Hugging Face folder."""
        folder, recipe_inputs = self.context.folder / paths.MODEL, self.context.recipe_inputs
        huggingface.write_folder(
            folder,
            model,
            recipe_inputs.encoder,
            head,
            recipe_inputs.source.vocab_path,
            labels=None if head is None else self.objective.label_names,
            extra=self._unused_pooler,
            tokenizer=recipe_inputs.tokenizer_settings,
        )
        return folder
