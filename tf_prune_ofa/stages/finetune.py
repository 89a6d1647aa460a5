"""Dense training: the MLM teacher that prepares for pruning, or the teacher of a task.

Prune OFA, section 3: the encoder is first trained with the pre-training objective on the very
corpus that it will be pruned on; student and teacher of the pruning both start from the result.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tf_prune_ofa.config import FinetuneSettings
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.jobs.training import TrainingJob
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models.bert import dense_kernels


def run(settings: FinetuneSettings, context: Context) -> dict[str, Any]:
    """Train the dense model; return its figures."""
    job = TrainingJob(settings, context)
    model = job.load(settings.start)
    job.fit(job.distiller(model))
    job.save(model)
    return job.figures(model) | {"zeros_in_kernels": _zeros(model)}


def _zeros(model: keras.Model) -> float:
    """Return the share of weights in the encoder's dense layers that are 0, counted."""
    kernels = [
        kernel.numpy() for name, kernel in dense_kernels(model).items() if "encoder_" in name
    ]
    return sum(np.count_nonzero(kernel == 0) for kernel in kernels) / sum(k.size for k in kernels)
