import gzip
import hashlib
import json
import re

import numpy as np
import pytest
from exported_models import CONFIG, make_examples, make_model

from tf_prune_ofa.blocks.cost import CostTable
from tf_prune_ofa.conversion import calibrate, convert, int8, variants
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.models.bert import dense_kernels
from tf_prune_ofa.runtime.interpreter import Interpreter
from tf_prune_ofa.tflite.graph import Graph
from tf_prune_ofa.tflite.packed_files import associated_files

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + [f"w{i}" for i in range(4, CONFIG.vocab_size)]
PRUNED = ["encoder_00/ffn/intermediate", "encoder_01/ffn/output"]


@pytest.fixture(scope="module")
def written(model, ranges, tmp_path_factory):
    folder = tmp_path_factory.mktemp("variants")
    seen = []
    manifest = variants.write_variants(
        model,
        ranges,
        folder,
        vocab=VOCAB,
        labels=["rotten", "fresh"],
        pruned_layers=PRUNED,
        on_file=seen.append,
    )
    assert seen == [entry["file"] for entry in manifest["files"]]
    return folder, manifest


def test_files_and_manifest(written):
    folder, manifest = written
    names = [f"{v}_s8.tflite" for v in ("float32", "dynamic_int8", "dense_int8", "sparse_int8")]
    assert [entry["file"] for entry in manifest["files"]] == names
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "manifest.json"])
    assert json.loads((folder / "manifest.json").read_text()) == manifest
    assert manifest["sequence_length"] == 8
    assert manifest["inputs"] == ["input_word_ids", "input_mask", "input_type_ids"]
    assert manifest["outputs"] == ["logits"]
    assert manifest["float_layers"] == {}


def test_sizes_and_digests_are_those_of_the_files(written):
    folder, manifest = written
    for entry in manifest["files"]:
        content = (folder / entry["file"]).read_bytes()
        assert entry["size_bytes"] == len(content)
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["gzip_bytes"] < entry["size_bytes"]
        # Another level of compression changes the size by a few per cent, no more.
        assert entry["gzip_bytes"] == pytest.approx(len(gzip.compress(content)), rel=0.05)


def test_bytes_of_the_pruned_layers(written):
    sizes = {entry["variant"]: entry for entry in written[1]["files"]}
    weights = 2 * 32 * 512
    assert sizes["float32"]["pruned_bytes"] == 4 * weights
    assert sizes["dense_int8"]["pruned_bytes"] == weights
    assert sizes["dynamic_int8"]["pruned_bytes"] == weights
    # 90 % zeros: two bytes for each of the others, and where each place starts.
    assert sizes["sparse_int8"]["pruned_bytes"] < weights / 4
    assert sizes["sparse_int8"]["layers"][PRUNED[0]] < sizes["dense_int8"]["layers"][PRUNED[0]]
    assert set(PRUNED) <= set(sizes["sparse_int8"]["sparse_layers"])
    assert sizes["dense_int8"]["sparse_layers"] == []


def test_every_file_runs_and_names_its_classes(written):
    folder, manifest = written
    example = next(make_examples(1))
    logits = {}
    for entry in manifest["files"]:
        path = folder / entry["file"]
        assert associated_files(path.read_bytes())["labels.txt"] == "rotten\nfresh\n"
        logits[entry["variant"]] = Interpreter(path).run(*example.values())["logits"]
    np.testing.assert_array_equal(logits["sparse_int8"], logits["dense_int8"])
    # Logits are near 1; eight bits in fourteen layers cost a few per cent.
    np.testing.assert_allclose(logits["dynamic_int8"], logits["float32"], atol=0.2)


@pytest.fixture
def converted(float32_file, monkeypatch):
    """Conversion takes seconds, and its result is at hand."""
    monkeypatch.setattr(variants.convert, "to_float32", lambda model: float32_file)


def test_without_ranges_only_what_needs_none(model, tmp_path, converted):
    manifest = variants.write_variants(
        model, None, tmp_path, ["float32", "dynamic_int8"], vocab=VOCAB
    )
    assert [entry["variant"] for entry in manifest["files"]] == ["float32", "dynamic_int8"]
    with pytest.raises(UserError, match="sparse_int8 need activation ranges"):
        variants.write_variants(model, None, tmp_path, ["sparse_int8"], vocab=VOCAB)


def test_layers_that_stay_float_are_reported(model, ranges, tmp_path, converted):
    some = {name: value for name, value in ranges.items() if not name.startswith("pooler")}
    manifest = variants.write_variants(model, some, tmp_path, ["dense_int8"], vocab=VOCAB)
    assert manifest["float_layers"] == {"pooler": "no range for pooler/input and pooler"}
    layers = int8.int8_layers((tmp_path / "dense_int8_s8.tflite").read_bytes())
    assert "pooler" not in layers


def test_an_unknown_variant(model, ranges, tmp_path):
    with pytest.raises(UserError, match="int4 is no variant; choose from float32, dynamic_int8"):
        variants.write_variants(model, ranges, tmp_path, ["int4"], vocab=VOCAB)
    assert list(tmp_path.iterdir()) == []


def test_masks_of_another_model(model, ranges, tmp_path):
    with pytest.raises(UserError, match="does not have: encoder_07/ffn/output"):
        variants.write_variants(
            model, ranges, tmp_path, vocab=VOCAB, pruned_layers=["encoder_07/ffn/output"]
        )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to(model, ranges, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="Cannot write"):
        variants.write_variants(model, ranges, tmp_path / "file" / "out", vocab=VOCAB)


# Blocks

DEAD_HEAD, DEAD_NEURONS = 1, 300
# Of a machine where only products cost anything: on a real one blocks pay in larger models only.
PRODUCTS = CostTable(operator_us=1e-6, copy_ns=1e-6, transpose_ns=1e-6)


@pytest.fixture(scope="module")
def in_blocks(tmp_path_factory):
    """A model with a dead head and dead neurons in layer 0, and blocks of zeros in layer 1."""
    model = make_model()
    rng = np.random.default_rng(5)
    kernels = {name: kernel.numpy() for name, kernel in dense_kernels(model).items()}
    size = CONFIG.hidden_size // CONFIG.num_heads
    head = slice(DEAD_HEAD * size, (DEAD_HEAD + 1) * size)
    for name in ("query", "key", "value"):
        kernels[f"encoder_00/attention/{name}"][:, head] = 0
    kernels["encoder_00/attention/output"][head] = 0
    dead = rng.permutation(CONFIG.intermediate_size)[:DEAD_NEURONS]
    kernels["encoder_00/ffn/output"] = rng.normal(0, 0.1, [512, 32])
    kernels["encoder_00/ffn/output"][dead] = 0
    # Keras's order is [in, out]: every neuron reads all, and is read by one half of the outputs.
    second = rng.normal(0, 0.1, [16, 32, 2, 16])
    second[np.arange(16), :, np.arange(16) % 2] = 0
    kernels["encoder_01/ffn/output"] = second.reshape(512, 32)
    kernels["encoder_01/ffn/intermediate"] = rng.normal(0, 0.3, [32, 512])
    for name, kernel in dense_kernels(model).items():
        kernel.assign(kernels[name])
    folder = tmp_path_factory.mktemp("blocks")
    ranges = calibrate.measure_ranges(convert.to_float32(model), make_examples(4))
    manifest = variants.write_variants(
        model,
        ranges,
        folder,
        ["dense_int8", "block_sparse_int8"],
        vocab=VOCAB,
        pruned_layers=PRUNED,
        costs=PRODUCTS,
    )
    return folder, {entry["variant"]: entry for entry in manifest["files"]}


def test_blocks_compute_what_the_dense_file_does(in_blocks):
    folder, entries = in_blocks
    dense, blocks = (
        Interpreter(folder / entries[variant]["file"])
        for variant in ("dense_int8", "block_sparse_int8")
    )
    for example in make_examples(12, seed=3):
        expected, found = (file.run(*example.values())["logits"] for file in (dense, blocks))
        np.testing.assert_array_equal(found, expected)


def test_dead_heads_and_neurons_are_not_in_the_file(in_blocks):
    folder, entries = in_blocks
    graph = Graph((folder / entries["block_sparse_int8"]["file"]).read_bytes())
    shapes = {graph.name(t): graph.shape(t) for t in range(len(graph.tensors))}
    assert shapes["encoder_00/attention/query/kernel"] == [16, 32]
    assert shapes["encoder_00/attention/output/kernel"] == [32, 16]
    # 212 neurons, filled up to a multiple of 16: kernels would compute on padding otherwise.
    rows = re.compile("encoder_00/ffn/intermediate/kernel(/rows_[0-9]+)?")
    assert sum(shape[0] for name, shape in shapes.items() if rows.fullmatch(name)) == 224
    assert entries["block_sparse_int8"]["pruned_bytes"] < entries["dense_int8"]["pruned_bytes"]


def test_the_manifest_says_what_became_of_each_layer(in_blocks):
    blocks = in_blocks[1]["block_sparse_int8"]["blocks"]
    assert len(blocks) == 14
    assert blocks["encoder_01/ffn/output"] == {"block": "16x32", "live": 0.5}
    assert blocks["classifier"] == {"reason": "2x32 weights do not divide into blocks"}


def test_without_blocks_zeros_are_stored_compactly(model, ranges, tmp_path, converted):
    names = ["sparse_int8", "block_sparse_int8"]
    manifest = variants.write_variants(model, ranges, tmp_path, names, vocab=VOCAB)
    sparse, blocks = manifest["files"]
    assert blocks["sparse_layers"] == sparse["sparse_layers"] != []
    assert {entry["reason"] for entry in blocks["blocks"].values()} >= {
        "blocks would not be faster"
    }


def test_the_manifest_says_what_the_size_is_made_of(written):
    manifest = written[1]
    for entry in manifest["files"]:
        parts = entry["parts"]
        assert sum(parts.values()) == entry["size_bytes"] and min(parts.values()) > 0
        # The encoder's kernels, with their zeros' places, and biases.
        kernels = sum(size for name, size in entry["layers"].items() if name.startswith("encoder"))
        assert parts["encoder"] > kernels
