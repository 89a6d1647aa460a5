"""Small models of every kind of head with all their files, and what those must hold."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from exported_models import make_examples, make_model

from tf_prune_ofa.blocks.cost import CostTable
from tf_prune_ofa.conversion import calibrate, convert, shared_rows
from tf_prune_ofa.conversion.variants import write_variants
from tf_prune_ofa.models.bert import (
    Classification,
    EncoderConfig,
    SpanQA,
    dense_kernels,
    parameters,
)
from tf_prune_ofa.quant.activations import Activations
from tf_prune_ofa.quant.ranges import outlier_scales
from tf_prune_ofa.tflite.text_settings import TextSettings
from tf_prune_ofa.verification.expected import Expected, expect
from tf_prune_ofa.verification.shared_rows import SharedRows

LENGTH, VOCABULARY_SIZE = 16, 40
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY += [f"w{index}" for index in range(len(VOCABULARY), VOCABULARY_SIZE)]
VARIANTS = (
    "float32",
    "dynamic_int8",
    "dense_int4",
    "dense_int8",
    "sparse_int8",
    "block_sparse_int8",
)
SETTINGS = TextSettings(question_length=6, stride=4)
# Of a machine where only products cost anything: on a real one blocks pay in larger models only.
PRODUCTS = CostTable(operator_us=1e-6, copy_ns=1e-6, transpose_ns=1e-6)
INT4_WORDS = ("regression",)  # kinds whose files have them
SHARED_ROWS = ("span",)  # kinds whose files have every other word on the row of another
OUTLYING = "encoder_00/ffn/output"
# Heads of 12 numbers: the factor of queries is no power of two.
KINDS = {
    "classifier": ("bert", 32, 2, Classification(3), ["bad", "fine", "good"]),
    "regression": ("distilbert", 24, 2, Classification(1), ["score"]),
    "span": ("bert", 32, 4, SpanQA(), None),
}


@dataclass(frozen=True)
class Exported:
    """A model's files."""

    folder: Path
    manifest: dict
    expected: Expected

    def read(self, variant):
        """The bytes of a variant."""
        return (self.folder / f"{variant}_s{LENGTH}.tflite").read_bytes()


def export(kind, folder):
    """Write all variants of a model; parts of it are zero in whole blocks."""
    architecture, hidden, heads, head, labels = KINDS[kind]
    config = EncoderConfig(
        architecture,
        vocab_size=VOCABULARY_SIZE,
        hidden_size=hidden,
        num_layers=2,
        num_heads=heads,
        intermediate_size=256,
        max_positions=LENGTH + 4,
    ).without_dropout()
    model = make_model(config, head, length=LENGTH)
    _prune_blocks(model, hidden, hidden // heads)
    examples = [
        {name: value for name, value in example.items() if name in model.input_names}
        for example in make_examples(16, LENGTH, VOCABULARY_SIZE)
    ]
    measured = calibrate.measure(convert.to_float32(model), examples, scores=True)
    divisors = np.where(np.arange(hidden) == 3, 4, 1).astype(np.float32)
    scales = outlier_scales(measured.largest()) | {OUTLYING: divisors}
    activations = Activations(measured.ranges(scales), scales)
    own = np.arange(0, VOCABULARY_SIZE, 2)
    table = parameters(model)["embeddings/word/embeddings"].numpy()
    rows = shared_rows.nearest(table, own, own[:2]) if kind in SHARED_ROWS else None
    manifest = write_variants(
        model,
        activations.ranges,
        folder,
        VARIANTS,
        vocab=VOCABULARY,
        labels=labels,
        outlier_scales=scales,
        costs=PRODUCTS,
        text_settings=SETTINGS,
        words="int4" if kind in INT4_WORDS else "int8",
        shared=rows,
        pruned_layers=[name for name in dense_kernels(model) if name.startswith("encoder")],
    )
    expected = expect(
        model,
        activations.ranges,
        activations.outlier_scales,
        sequence_length=LENGTH,
        vocabulary=VOCABULARY,
        labels=labels,
        settings=asdict(SETTINGS.for_length(LENGTH)),
        int4_words=kind in INT4_WORDS,
        shared=None if rows is None else SharedRows(rows.own, rows.row_of),
    )
    return Exported(folder, manifest, expected)


def _prune_blocks(model, hidden, head_size):
    """A dead head and dead neurons in layer 0, dead blocks in layer 1, single zeros elsewhere."""
    kernels = dense_kernels(model)
    values = {name: kernel.numpy() for name, kernel in kernels.items()}
    for name in ("query", "key", "value"):
        values[f"encoder_00/attention/{name}"][:, :head_size] = 0
    values["encoder_00/attention/output"][:head_size] = 0
    values["encoder_00/ffn/output"][np.arange(256) % 3 > 0] = 0
    second = values["encoder_01/ffn/output"].reshape(8, 32, hidden)
    second[::2, :, : hidden // 2] = 0
    second[1::2, :, hidden // 2 :] = 0
    for name, kernel in kernels.items():
        kernel.assign(values[name])
