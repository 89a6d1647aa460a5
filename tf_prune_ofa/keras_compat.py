"""The one module that imports tf_keras and TFMOT.

TFMOT works on Keras 2 only, which lives on as tf_keras. TensorFlow decides which Keras `tf.keras`
is when it is first imported, so the switch is set here, before that, and everything else in the
package takes `tf`, `keras` and the names of TFMOT from here. Keras 3 may be installed beside it
(keras-nlp needs it); it only must not be what `tf.keras` is.

Raises at import:
    EnvironmentMismatch: another set of versions is installed, a package is missing, or Keras 3 is
        already active as `tf.keras`. The message lists all that was found and what to do.
"""

import contextlib
import fnmatch
import importlib.metadata
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator

from tf_prune_ofa.errors import EnvironmentMismatch

# The set that the tests run with. Newer ones may move the private modules of TFMOT used below.
SUPPORTED_VERSIONS = {
    "tensorflow": "2.21.*",
    "tf_keras": "2.21.*",
    "tensorflow-model-optimization": "0.8.1",
}

_CHATTER = re.compile(rb"^I0000 |absl::InitializeLog\(\)|failed call to cuInit|^To enable the ")


def find_version_problems() -> list[str]:
    """Compares the installed packages with `SUPPORTED_VERSIONS`, without importing them.

    Returns:
        One sentence for each package that is missing or of another version.
    """
    problems = []
    for name, wanted in SUPPORTED_VERSIONS.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"{name} is not installed, {wanted} is needed.")
            continue
        if not fnmatch.fnmatchcase(found, wanted):
            problems.append(f"{name} {found} is installed, {wanted} is needed.")
    return problems


def find_active_keras_problem() -> str | None:
    """Says which wrong Keras is already active as `tf.keras`; None if there is none.

    TensorFlow settles the matter when `tf.keras` is first used, not when it is imported: TensorFlow
    may have been imported before, as long as nobody has touched `tf.keras`.
    """
    tensorflow = sys.modules.get("tensorflow")
    # Keras 3 knows its version here; the API module of tf_keras has no such name.
    version = getattr(getattr(tensorflow, "keras", None), "__version__", None)
    if version is None:
        return None
    return (
        f"Keras {version} is already active as tf.keras: it was used before tf_prune_ofa was "
        "imported. Import tf_prune_ofa.keras_compat first, or set the environment variable "
        "TF_USE_LEGACY_KERAS=1 before Python starts."
    )


def _check_environment() -> None:
    problems = find_version_problems()
    if problems:
        wanted = " ".join(f"'{name}=={version}'" for name, version in SUPPORTED_VERSIONS.items())
        problems.append(f"Run: {sys.executable} -m pip install {wanted}")
    else:
        active = find_active_keras_problem()
        problems = [active] if active else []
    if problems:
        raise EnvironmentMismatch(
            "tf_prune_ofa cannot run in this environment.\n  " + "\n  ".join(problems)
        )


@contextlib.contextmanager
def _startup_chatter_dropped() -> Iterator[None]:
    """Drops the notes that TensorFlow's libraries write to file descriptor 2 while they load.

    TF_CPP_MIN_LOG_LEVEL does not reach them, since they are written before it is read. Whatever
    else was written to the descriptor is passed on at the end. Does nothing if the user has set
    TF_CPP_MIN_LOG_LEVEL to 0 or 1: that is how to see everything.
    """
    # 2 = errors only; the notes on CPU features and missing GPUs would bury the progress bars.
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") in ("0", "1"):
        yield
        return
    try:
        stderr_copy = os.dup(2)
    except OSError:
        # A process without stderr (a service) has nothing to keep clean.
        yield
        return
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr_copy, 2)
            os.close(stderr_copy)
            held_back.seek(0)
            kept = [line for line in held_back if not _CHATTER.search(line)]
            os.write(2, b"".join(kept))


# An explicit 0 is overruled: there is no way to run TFMOT on Keras 3.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
_check_environment()

# TensorFlow uses oneDNN by itself only on x86 that has dot products (AVX512-VNNI, AVX-VNNI) or AMX.
# With AVX2 alone a training step takes 0.6 of Eigen's time too (docs/howto/scale.md).
if platform.machine().lower() in ("x86_64", "amd64"):
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# The order matters: TensorFlow must load after the switch, tf_keras and TFMOT after TensorFlow.
# ruff: noqa: E402
with _startup_chatter_dropped():
    import tensorflow as tf

    # A machine without GPU says so, as an error, when devices are first listed.
    tf.config.list_physical_devices()

import tf_keras as keras
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_impl import Pruning
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_wrapper import (
    PruneLowMagnitude,
)
from tensorflow_model_optimization.quantization.keras import (
    QuantizeConfig,
    QuantizeLayoutTransform,
    QuantizeRegistry,
    QuantizeScheme,
    QuantizeWrapper,
    quantize_annotate_layer,
    quantize_apply,
    quantize_scope,
)
from tensorflow_model_optimization.quantization.keras.quantizers import Quantizer
from tensorflow_model_optimization.sparsity.keras import (
    PolynomialDecay,
    UpdatePruningStep,
    prune_low_magnitude,
)

__all__ = [
    "PolynomialDecay",
    "PruneLowMagnitude",
    "Pruning",
    "QuantizeConfig",
    "QuantizeLayoutTransform",
    "QuantizeRegistry",
    "QuantizeScheme",
    "QuantizeWrapper",
    "Quantizer",
    "UpdatePruningStep",
    "keras",
    "prune_low_magnitude",
    "quantize_annotate_layer",
    "quantize_apply",
    "quantize_scope",
    "tf",
]
