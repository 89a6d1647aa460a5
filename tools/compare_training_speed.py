"""Measure a distillation step against the same step in PyTorch.

    compare_training_speed.py --folder=DIR [--weights=minilm_l6] [--batch_size=32]
        [--sequence_length=64] [--threads=2] [--steps=20] [--json=OUT]

A Python environment with PyTorch is made in the folder (once; needs the network; 1 GB). Both sides
start from the same weights and take turns; their losses are compared, too.
"""

from pathlib import Path

from absl import flags

from tf_prune_ofa.json_files import write_json
from tf_prune_ofa.runtime.elsewhere import make_python
from tf_prune_ofa.tools._main import run

_FOLDER = flags.DEFINE_string("folder", None, "where PyTorch's environment goes", required=True)
_WEIGHTS = flags.DEFINE_string("weights", "minilm_l6", "encoder of student and teacher")
_BATCH = flags.DEFINE_integer("batch_size", 32, "examples in a step", 1)
_LENGTH = flags.DEFINE_integer("sequence_length", 64, "tokens of an example", 3)
_THREADS = flags.DEFINE_integer("threads", 2, "of both", 1)
_STEPS = flags.DEFINE_integer("steps", 20, "of each kind", 1)
_SECONDS = flags.DEFINE_float("seconds", 60.0, "stop after so long")
_JSON = flags.DEFINE_string("json", None, "also write the results to this file")


def main(argv: list[str]) -> None:
    """Prints the table."""
    del argv
    # TensorFlow is slow to load: a wrong flag, or --help, should answer at once.
    from tf_prune_ofa.experiments import step_speed
    from tf_prune_ofa.keras_compat import tf

    python = make_python(Path(_FOLDER.value) / "torch", [step_speed.TORCH, "numpy"])
    tf.config.threading.set_intra_op_parallelism_threads(_THREADS.value)
    tf.config.threading.set_inter_op_parallelism_threads(_THREADS.value)
    result = step_speed.compare(
        torch_python=python,
        weights=_WEIGHTS.value,
        batch_size=_BATCH.value,
        sequence_length=_LENGTH.value,
        threads=_THREADS.value,
        steps=_STEPS.value,
        seconds=_SECONDS.value,
    )
    print(step_speed.describe(result))
    if _JSON.value:
        write_json(_JSON.value, result)
        print(f"\nWritten to {_JSON.value}")


if __name__ == "__main__":
    run(main)
