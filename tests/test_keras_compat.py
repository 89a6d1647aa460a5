"""The right Keras, or one message that says what to do. Each case in a Python of its own."""

import configparser
import importlib.metadata
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tf_prune_ofa import keras_compat

REPOSITORY = Path(__file__).parents[1]


def python(code, *options, path=(), **environment):
    own = ("TF_USE_LEGACY_KERAS", "TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS")
    inherited = {name: value for name, value in os.environ.items() if name not in own}
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env={**inherited, "PYTHONPATH": os.pathsep.join(map(str, path)), **environment},
    )


AS_A_TOOL = """
    import sys
    from tf_prune_ofa.errors import UserError
    try:
        import tf_prune_ofa.keras_compat
    except UserError as error:
        sys.exit(f"Error: {error}")
"""


def test_keras_3_in_use_is_one_message():
    done = python("    import tensorflow as tf\n    tf.keras.layers" + AS_A_TOOL)
    assert done.returncode == 1
    message = done.stderr[done.stderr.index("Error: ") :]
    installed = importlib.metadata.version("keras")
    assert message.startswith("Error: tf_prune_ofa cannot run in this environment.\n")
    assert f"Keras {installed} is already active as tf.keras" in message
    assert "TF_USE_LEGACY_KERAS=1" in message
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("machine", "chosen"), [("x86_64", "1"), ("aarch64", None)])
@pytest.mark.parametrize("own", [None, "0"])
def test_onednn_is_used_on_x86_unless_the_user_says_otherwise(machine, chosen, own):
    done = python(
        f"""
        import os, platform
        platform.machine = lambda: {machine!r}
        import tf_prune_ofa.keras_compat
        print(os.environ.get("TF_ENABLE_ONEDNN_OPTS"))
        """,
        **({} if own is None else {"TF_ENABLE_ONEDNN_OPTS": own}),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(own or chosen)


def test_tensorflow_imported_first_but_its_keras_not_used():
    done = python(
        """
        import tensorflow
        from tf_prune_ofa.keras_compat import keras, tf
        assert issubclass(tf.keras.layers.Dense, keras.layers.Layer)
        """
    )
    assert done.returncode == 0, done.stderr


def test_the_first_import_switches_to_tf_keras_and_is_quiet():
    done = python(
        """
        from tf_prune_ofa.keras_compat import keras, tf
        assert tf.keras.layers.Dense is keras.layers.Dense
        assert keras.__version__.startswith("2.")
        tf.constant(1)
        """,
        TF_USE_LEGACY_KERAS="0",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_another_version_is_named_with_the_pip_line(tmp_path):
    # A package's metadata that comes first on the path is what an old installation looks like.
    folder = tmp_path / "tf_keras-2.15.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: tf_keras\nVersion: 2.15.1\n")
    done = python(AS_A_TOOL, path=[tmp_path])
    assert done.returncode == 1
    assert done.stderr == (
        "Error: tf_prune_ofa cannot run in this environment.\n"
        "  tf_keras 2.15.1 is installed, 2.21.* is needed.\n"
        f"  Run: {sys.executable} -m pip install 'tensorflow==2.21.*' 'tf_keras==2.21.*' "
        "'tensorflow-model-optimization==0.8.1'\n"
    )


def test_missing_packages_are_listed_together():
    # -S: Python without its installed packages. This also shows that errors need none of them.
    done = python(AS_A_TOOL, "-S")
    assert done.returncode == 1
    for name in ("tensorflow", "tf_keras", "tensorflow-model-optimization"):
        assert f"\n  {name} is not installed, " in done.stderr
    assert done.stderr.count("pip install") == 1


def test_importing_the_package_loads_nothing_heavy():
    done = python("import tf_prune_ofa; print(tf_prune_ofa.__version__)", "-S")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", keras_compat.SUPPORTED_VERSIONS)
def test_setup_cfg_pins_what_is_supported(name):
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(REPOSITORY / "setup.cfg")
    pins = dict(
        line.split(" == ")
        for line in setup["options.extras_require"]["train"].splitlines()
        if " == " in line and ";" not in line
    )
    supported = keras_compat.SUPPORTED_VERSIONS[name].removesuffix(".*")
    assert pins[name] == supported or pins[name].startswith(supported + ".")
