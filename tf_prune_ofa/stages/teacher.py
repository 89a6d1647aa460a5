"""Dense training: the MLM teacher that prepares for pruning, or the teacher of a task.

Prune OFA, section 3: the encoder is first trained with the pre-training objective on the very
corpus that it will be pruned on; student and teacher of the pruning both start from the result.
"""

from __future__ import annotations

from typing import Any

from tf_prune_ofa.config import TeacherSettings
from tf_prune_ofa.jobs.context import Context
from tf_prune_ofa.jobs.training import TrainingJob


def run(settings: TeacherSettings, context: Context) -> dict[str, Any]:
    """Train the dense model; return its figures."""
    job = TrainingJob(settings, context)
    model = job.load(settings.start)
    job.fit(job.distiller(model))
    job.save(model)
    return job.figures(model)
