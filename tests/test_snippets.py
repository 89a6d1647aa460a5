"""Every code block of README.md and docs/ does what it says, on a tiny model.

Python runs as it stands, page by page. Of shell commands those on files run; those that would train
or measure for minutes have their flags, and their recipe, read by the tool itself. `pytest -s`
prints how many there are of each kind.
"""

import re
import shutil
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import small_runs
import text_files
import yaml
from snippets import REPOSITORY, snippets

ALL = snippets()
WORDS = "good bad very film movie a the was it by ann in may who wrote ? is rome small".split()
TEXTS = ["a good film", "a bad film", "very good", "very bad"] * 10
LABELS = ["positive", "negative", "positive", "negative"] * 10
# What pages call a file or folder of the reader's, and what stands for it here.
STAND_INS = {
    "FILE": ["dense_int8.tflite"],
    "FILES...": ["dense_int8.tflite", "sparse_int8_s64.tflite"],
    "FOLDER": ["model"],
    "a.tflite": ["dense_int8.tflite"],
    "b.tflite": ["sparse_int8_s64.tflite"],
}
# These do their work on the files of the shared run; the others would take minutes.
RUN = ("inspect_tflite", "sparsify_tflite", "export")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A tiny encoder, and a packed one with 90 % zeros made from it."""
    from tf_prune_ofa.models import bert, huggingface, packed

    folder = tmp_path_factory.mktemp("encoder")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    sizes = {**small_runs.SIZES, "max_positions": 64}
    config = bert.EncoderConfig("bert", vocab_size=len(pieces), **sizes)
    model = bert.build_model(config, seed=1)
    tiny = folder / "tiny"
    tokenizer = small_runs.TOKENIZER
    huggingface.write_folder(tiny, model, config, None, folder / "vocab.txt", tokenizer=tokenizer)
    base, sparse = huggingface.read_weights(tiny), {}
    rng = np.random.default_rng(0)
    for name, value in base.items():
        is_pruned = name.startswith("encoder_") and name.endswith("/kernel")
        sparse[name] = value * (rng.random(value.shape) < 0.1) if is_pruned else value
    about = {"name": "tiny", "base": "minilm_l6"}
    packed.write_packed(folder / "tiny.npz", packed.pack(sparse, base, about))
    return tiny, folder / "tiny.npz"


@pytest.fixture(scope="module")
def place(encoder, tmp_path_factory):
    """A folder to work in; the encoders that come with the package are the tiny ones."""
    from tf_prune_ofa.api import chain, stages
    from tf_prune_ofa.models import finding

    folder = tmp_path_factory.mktemp("snippets")
    dense, sparse = encoder
    for name, content in {
        "squad/dense_int8_s384.tflite": text_files.span(),
        "dense_int8_s384.tflite": text_files.span(),
        "tags/dense_int8_s64.tflite": text_files.tagger(),
        "embeddings/sparse_int8_s64.tflite": text_files.classifier(64, outputs="embedding"),
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "about.json").write_text("{}")
    (folder / "texts.txt").write_text("a good film\nvery bad\n" * 10)
    runs = folder / "runs"
    runs.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TF_PRUNE_OFA_CACHE", str(folder / "cache"))
        patch.setattr(finding, "_find_default", lambda: dense)
        names = ("minilm_l6_sparse_90", "minilm_l6_sparse_80")
        patch.setattr(finding, "shipped_encoders", lambda: dict.fromkeys(names, sparse))
        for function in (stages.transfer, stages.quantize):
            patch.setitem(function.__kwdefaults__, "steps", 4)
        patch.setitem(stages.benchmark.__kwdefaults__, "runs", 3)
        # One run folder for all pages: a call that another page has made finds its result.
        shared = SimpleNamespace(TemporaryDirectory=lambda **_: SimpleNamespace(name=str(runs)))
        patch.setattr(chain, "tempfile", shared)
        yield folder


@pytest.fixture(scope="module")
def made(place):
    """What the tutorial of training makes, by its own names; other pages go on from there."""
    names = {"__name__": "snippet"}
    for snippet in ALL:
        if snippet.page == "docs/tutorials/train.md" and snippet.language == "python":
            run_python(snippet, names)
    assert names["files"].paths
    for variant in ("dense_int8", "sparse_int8"):
        shutil.copy(names["files"].paths[variant], f"{variant}_s64.tflite")
    shutil.copy("dense_int8_s64.tflite", "dense_int8.tflite")
    shutil.copytree(names["quantized"].model_folder, "model")
    shutil.copy(names["quantized"].folder / "ranges.json", "ranges.json")
    shutil.copytree("out", "out_of_the_tutorial")
    return names


def run_python(snippet, names):
    code = compile("\n" * snippet.line + snippet.code, str(REPOSITORY / snippet.page), "exec")
    exec(code, names)


def pages():
    """Pages with Python to run."""
    return sorted({s.page for s in ALL if s.language == "python" and not s.reason})


@pytest.mark.parametrize("page", pages())
def test_python(page, made):
    from tf_prune_ofa.keras_compat import keras, tf

    if page == "docs/tutorials/train.md":
        return  # by the fixture
    names = {**made, "__name__": "snippet", "texts": TEXTS, "labels": LABELS}
    names |= {"dev_texts": TEXTS[:8], "dev_labels": LABELS[:8]}
    # For a model of one's own, and for ids.
    x = np.random.default_rng(0).normal(size=[32, 4]).astype(np.float32)
    batches = tf.data.Dataset.from_tensor_slices((x, (x[:, 0] > 0).astype(np.int64))).batch(16)
    names |= {"batches": batches, "model": keras.Sequential([keras.layers.Dense(2)])}
    names["model"].build([None, 4])
    names |= dict.fromkeys(("ids", "mask", "type_ids"), np.zeros([1, 64], np.int32))
    # A page may export over what the tutorial wrote.
    shutil.rmtree("out")
    shutil.copytree("out_of_the_tutorial", "out")
    for snippet in ALL:
        if snippet.page == page and snippet.language == "python" and not snippet.reason:
            run_python(snippet, names)


def tool_commands():
    """(where, tool, its arguments) of each command that starts a tool."""
    for snippet in ALL:
        if snippet.language == "sh" and not snippet.reason:
            for words in snippet.commands():
                if words[0] == ".venv/bin/python":
                    words = words[1:]
                tool = re.fullmatch(r"tools/(\w+)\.py", words[0])
                if tool:
                    yield pytest.param(
                        tool[1], words[1:], id=f"{snippet.where}-{tool[1]}-{len(words)}"
                    )


@pytest.mark.parametrize(("tool", "arguments"), list(tool_commands()))
def test_tools(tool, arguments, made, tmp_path):
    stands = [one for word in arguments for one in STAND_INS.get(word, [word])]
    stands = [re.sub(r"=FOLDER$", "=model", word) for word in stands]
    stands = [re.sub(r"=FILE$", "=dense_int8.tflite", word) for word in stands]
    process = small_runs._context.Process(
        target=_start, args=(tool, stands, tool in RUN, str(tmp_path), tmp_path / "log")
    )
    process.start()
    process.join(timeout=200)
    assert process.exitcode == 0, (tmp_path / "log").read_text(encoding="utf-8")


def _start(tool, arguments, is_run, folder, log):
    """Run a tool, or only read its flags and its recipe, in a process of its own."""
    import importlib
    import os

    from absl import flags

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    module = importlib.import_module(f"tf_prune_ofa.tools.{tool}")
    rest = flags.FLAGS([tool, *arguments])
    values = flags.FLAGS.flag_values_dict()
    if values.get("recipe"):
        from tf_prune_ofa.recipe import load_recipe

        options = {name: values[name] for name in ("tiny", "export") if name in values}
        path = REPOSITORY / values["recipe"]
        load_recipe(path if path.suffix else values["recipe"], values.get("set", ()), **options)
    if values.get("plan"):
        assert (REPOSITORY / values["plan"]).is_file()
    if is_run:
        module.main(rest)
    sys.exit(0)


def test_other_commands_name_what_there_is():
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    setup = (REPOSITORY / "setup.cfg").read_text(encoding="utf-8")
    for snippet in ALL:
        if snippet.language != "sh" or snippet.reason:
            continue
        for words in snippet.commands():
            program = words[1] if words[0] == ".venv/bin/python" else words[0]
            if program == "make":
                assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), snippet.where
            elif program == "pip":
                for extra in re.findall(r"^\.\[(\w+)\]$", words[-1]):
                    assert re.search(rf"^{extra} =", setup, re.MULTILINE), snippet.where
            else:
                assert re.fullmatch(r"tools/\w+\.py", program), (
                    f"{snippet.where}: {program} is neither run nor marked"
                )
                assert (REPOSITORY / program).is_file(), snippet.where


def test_settings_are_yaml_and_all_blocks_are_of_a_known_kind():
    for snippet in ALL:
        assert snippet.language in ("python", "sh", "yaml", "kotlin", "text"), snippet.where
        if snippet.language == "yaml":
            yaml.safe_load(snippet.code)
    counts = Counter(
        f"{s.language}, {'not run: ' + s.reason if s.reason else 'tried'}" for s in ALL
    )
    print("\n" + "\n".join(f"{count:4} {what}" for what, count in sorted(counts.items())))
    assert not [s.where for s in ALL if s.language == "python" and not s.code.strip()]


def test_no_block_is_missed():
    """Each fence of each page begins or ends a block that was found, and a reason is one line."""
    for page in {snippet.page for snippet in ALL}:
        fences = re.findall(r"^```", (REPOSITORY / page).read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * sum(snippet.page == page for snippet in ALL), page
    assert all("\n" not in snippet.reason for snippet in ALL)
