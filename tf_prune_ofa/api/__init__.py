"""The package from Python: `import tf_prune_ofa as ofa`.

Each function runs one stage, the very code that a recipe runs, and returns an object that can be
saved and opened again. What a result was made from goes with it, so that the next function finds
masks, ranges and teachers by itself.

    task    = ofa.Task(train=(texts, labels), dev=(dev_texts, dev_labels), labels=["neg", "pos"])
    teacher = ofa.finetune("minilm_l6", task, epochs=2)
    sparse  = ofa.reconstruct(teacher, task, sparsity=0.9)
    student = ofa.transfer(sparse, task, teacher=teacher)
    files   = ofa.export(ofa.quantize(student, task, teacher=teacher), "out", sequence_length=64)
    ofa.verify(files)
    ofa.benchmark(files)

Further keyword arguments of a function are settings of its stage, with the names that they have in
recipes (docs/pipeline.md): `learning_rate`, `batch_size`, `loss={"soft": 1.0}` and so on.
"""

from tf_prune_ofa.api.hub_push import push_to_hub
from tf_prune_ofa.api.results import Exported, Files, Model, Result, open
from tf_prune_ofa.api.stages import (
    benchmark,
    export,
    finetune,
    prune,
    quantize,
    reconstruct,
    transfer,
    verify,
)
from tf_prune_ofa.api.task import Task

__all__ = [
    "Exported",
    "Files",
    "Model",
    "Result",
    "Task",
    "benchmark",
    "export",
    "finetune",
    "open",
    "prune",
    "push_to_hub",
    "quantize",
    "reconstruct",
    "transfer",
    "verify",
]
