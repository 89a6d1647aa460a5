"""Run all variants of one sparse model in several runtimes, and compare.

    runtime_matrix.py --cache FOLDER [--json OUT] [--sparsity 0.9] [--sequence_length 128]
        [--delegate]

The encoder has MiniLM-L6's sizes and random weights. Each runtime is installed into a virtual
environment of its own in the cache folder (once; needs the network). The comparison is between the
INT8 results of every layer of dense_int8 and sparse_int8, in the same runtime; with --delegate also
between files without and with the sparse INT8 delegate.
"""

import tempfile
from pathlib import Path

import numpy as np
from absl import flags
from tqdm import tqdm

from tf_prune_ofa.conversion import calibrate, convert, watch
from tf_prune_ofa.conversion.variants import write_variants
from tf_prune_ofa.json_files import write_json
from tf_prune_ofa.models.bert import Classification, EncoderConfig, build_model, dense_kernels
from tf_prune_ofa.runtime import delegate
from tf_prune_ofa.runtime.matrix import RUNTIMES, describe, run_matrix
from tf_prune_ofa.tools._main import run

_CACHE = flags.DEFINE_string("cache", None, "folder for the runtimes' environments", required=True)
_JSON = flags.DEFINE_string("json", None, "also write the results to this file")
_SPARSITY = flags.DEFINE_float("sparsity", 0.9, "share of zeros in the encoder's kernels", 0, 1)
_LENGTH = flags.DEFINE_integer("sequence_length", 128, "tokens of an input", 3)
_LAYERS = flags.DEFINE_integer("layers", 6, "layers of the encoder", 1)
_EXAMPLES = flags.DEFINE_integer("examples", 16, "inputs to compare on", 1)
_DELEGATE = flags.DEFINE_boolean("delegate", False, "also compare with the sparse INT8 delegate")
_SEED = flags.DEFINE_integer("seed", 0, "of weights and inputs")

_VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + [f"word{i}" for i in range(4, 30522)]


def main(argv: list[str]) -> None:
    """Prints the matrix."""
    del argv
    random = np.random.default_rng(_SEED.value)
    model, pruned = _sparse_model(random)
    examples = _examples(random, _EXAMPLES.value)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one_by_one = [
            dict(zip(examples, row, strict=True)) for row in zip(*examples.values(), strict=True)
        ]
        ranges = calibrate.measure_ranges(convert.to_float32(model), one_by_one)
        manifest = write_variants(
            model, ranges, folder, vocab=_VOCAB, labels=["no", "yes"], pruned_layers=pruned
        )
        files = {entry["variant"]: folder / entry["file"] for entry in manifest["files"]}
        watched = []
        for variant in ("dense_int8", "sparse_int8"):
            watched.append(folder / f"{variant}_watched.tflite")
            watched[-1].write_bytes(watch.watch_int8_layers(files[variant].read_bytes()))
        progress = tqdm(total=len(RUNTIMES), unit="runtime", leave=False, disable=None)

        def show(label: str) -> None:
            progress.set_description(label)
            progress.update()

        dense, sparse = watched
        pairs = {"sparse_int8 and dense_int8": ((dense, None), (sparse, None))}
        if _DELEGATE.value:
            library = delegate.require()
            pairs |= {
                f"{name}, delegate": ((path, None), (path, library))
                for name, path in (
                    ("dense_int8", dense),
                    ("sparse_int8", sparse),
                    ("dynamic_int8", files["dynamic_int8"]),
                )
            }
        rows = run_matrix(files, pairs, examples, _CACHE.value, show)
        progress.close()
    print(describe(rows))
    if _JSON.value:
        write_json(_JSON.value, {"runtimes": rows, "files": manifest["files"]})
        print(f"\nWritten to {_JSON.value}")


def _sparse_model(random: np.random.Generator):  # noqa: ANN202
    config = EncoderConfig("bert", len(_VOCAB), 384, _LAYERS.value, 12, 1536).without_dropout()
    model = build_model(
        config, Classification(2), sequence_length=_LENGTH.value, batch_size=1, seed=_SEED.value
    )
    pruned = []
    for name, kernel in dense_kernels(model).items():
        # Of a size that keeps activations near 1 through all layers.
        value = random.normal(0, kernel.shape[0] ** -0.5, kernel.shape)
        if name.startswith("encoder"):
            value[np.abs(value) < np.quantile(np.abs(value), _SPARSITY.value)] = 0
            pruned.append(name)
        kernel.assign(value)
    return model, pruned


def _examples(random: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    lengths = random.integers(3, _LENGTH.value + 1, [count, 1])
    mask = (np.arange(_LENGTH.value) < lengths).astype(np.int32)
    ids = random.integers(0, len(_VOCAB), mask.shape, dtype=np.int32) * mask
    return {"input_word_ids": ids, "input_mask": mask, "input_type_ids": np.zeros_like(mask)}


if __name__ == "__main__":
    run(main)
