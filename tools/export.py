"""Export a task model (a Hugging Face folder) as `.tflite` files, one for each variant.

    export.py --model=FOLDER --out=DIR
              [--ranges=ranges.json | --calibration_texts=FILE --attention=int8]
              [--calibration_pairs]
              [--masks=masks.npz] [--sequence_length=64]
              [--variants=float32,dynamic_int8,dense_int8,sparse_int8]
              [--push_to_hub=user/name [--create_pr]]
              [--words=int4] [--vocabulary_texts=FILE,... --vocabulary_size=N]

The static variants need activation ranges: those of a quantize stage, or ranges measured on texts,
one a line (post-training quantization, docs/pipeline.md): then the static file is run beside the
float file, and nothing is written where they differ too much. Ranges of an older run are in two
files: its channel_factors.json has to lie beside its ranges.json, or be named by --outlier_scales.

The table of words is most of a small file. --words=int4 halves it; --vocabulary_texts keeps the
word pieces that these texts use (a text a line), and what any other text needs to be spelt.
"""

from pathlib import Path

from absl import flags

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import read_lines
from tf_prune_ofa.text_table import megabytes, text_table
from tf_prune_ofa.tools._hub import push_export
from tf_prune_ofa.tools._main import refuse_idle, run
from tf_prune_ofa.variants import USUAL_VARIANTS

_MODEL = flags.DEFINE_string("model", None, "Hugging Face folder of the task model", required=True)
_OUT = flags.DEFINE_string("out", None, "folder for the files", required=True)
_RANGES = flags.DEFINE_string("ranges", None, "ranges.json of a quantize stage")
_OUTLIER_SCALES = flags.DEFINE_string(
    "outlier_scales", None, "channel_factors.json of an older run's ranges"
)
flags.DEFINE_alias("factors", "outlier_scales")  # as it was called
_TEXTS = flags.DEFINE_string(
    "calibration_texts", None, "measure ranges on this file, a text a line"
)
_PAIRS = flags.DEFINE_bool(
    "calibration_pairs",
    False,
    "a line of that file is two texts with a tab between: a pair, or a question and its text",
)
_ATTENTION = flags.DEFINE_enum(
    "attention", "int8", ["int8", "float"], "products inside attention, with --calibration_texts"
)
_MASKS = flags.DEFINE_string(
    "masks", None, "masks.npz of a prune stage; checked, and its layers' bytes shown"
)
_LENGTH = flags.DEFINE_integer("sequence_length", 64, "fixed number of tokens of every file")
_VARIANTS = flags.DEFINE_list(
    "variants",
    [*USUAL_VARIANTS],
    "which files to write; block_sparse_int8 is another, for weights with large blocks of zeros",
)
_WORDS = flags.DEFINE_enum("words", "int8", ["int8", "int4"], "bits of the table of words")
_VOCABULARY = flags.DEFINE_list(
    "vocabulary_texts",
    None,
    "only the word pieces that these files use have rows, a text a line",
)
_OTHERS = flags.DEFINE_enum(
    "other_pieces", "split", ["split", "nearest"],
    "other word pieces: split into shorter ones, or on the row of the nearest that stays"
)  # fmt: skip
_AT_LEAST = flags.DEFINE_integer("at_least", 1, "times that a piece must be used to stay", 1)
_SIZE = flags.DEFINE_integer("vocabulary_size", 0, "pieces in all, the most used; 0: no limit", 0)
_MEDIAPIPE = flags.DEFINE_enum(
    "mediapipe", "warn", ["warn", "same"],
    "where MediaPipe makes other tokens of a text: say so, or refuse to export"
)  # fmt: skip


def main(argv: list[str]) -> None:
    """Exports the model named by the flags."""
    if len(argv) > 1:
        raise UserError(f"unexpected arguments {argv[1:]}; write --model=FOLDER --out=DIR")
    # TensorFlow is slow to load: a wrong flag, or --help, should answer at once.
    from tf_prune_ofa.pruning.lock import load_masks
    from tf_prune_ofa.quant.activations import load_activations
    from tf_prune_ofa.report.card import require_own_card, write_card
    from tf_prune_ofa.report.collect import Run, Stage
    from tf_prune_ofa.stages.export import export_folder

    if _OUTLIER_SCALES.value and not _RANGES.value:
        raise UserError("--outlier_scales are of no use without the --ranges they were made with")
    if _PAIRS.value and not _TEXTS.value:
        raise UserError("--calibration_pairs says how --calibration_texts=FILE is read; name it")
    if _RANGES.value and _TEXTS.value:
        raise UserError("give --ranges or --calibration_texts, not both")
    is_choice = _AT_LEAST.value != 1 or _SIZE.value or _OTHERS.value != "split"
    if not _VOCABULARY.value and is_choice:
        raise UserError(
            "--at_least, --vocabulary_size and --other_pieces are for --vocabulary_texts; add them"
        )
    if not _TEXTS.value:
        refuse_idle("ranges that --calibration_texts=FILE measures", "attention")
    if not set(_VARIANTS.value) - {"float32"}:
        refuse_idle("INT8 files, and --variants names none", "words", "other_pieces")
    require_own_card(Path(_OUT.value))
    used = [line for path in _VOCABULARY.value or () for line in read_lines(path)]
    activations = load_activations(_RANGES.value, _OUTLIER_SCALES.value) if _RANGES.value else None
    manifest = export_folder(
        Path(_MODEL.value),
        Path(_OUT.value),
        sequence_length=_LENGTH.value,
        variants=_VARIANTS.value,
        activations=activations,
        calibration_texts=_read_texts() if _TEXTS.value else (),
        int8_attention=_ATTENTION.value == "int8",
        masks=load_masks(_MASKS.value) if _MASKS.value else None,
        mediapipe=_MEDIAPIPE.value,
        vocabulary_texts=used if _VOCABULARY.value else None,
        others=_OTHERS.value,
        at_least=_AT_LEAST.value,
        size=_SIZE.value,
        words=_WORDS.value,
    )
    stage = Stage("export", "export", details={"manifest": manifest})
    card = write_card(Run(Path(_MODEL.value).resolve().name, {}, (stage,)), Path(_OUT.value))
    rows = [
        [entry["file"], megabytes(entry["size_bytes"]), megabytes(entry["gzip_bytes"])]
        for entry in manifest["files"]
    ]
    print(text_table(["file", "MB", "MB gzipped"], rows))
    print(f"model card: {card}")
    push_export(Path(_OUT.value))


def _read_texts() -> list[str] | list[tuple[str, str]]:
    lines = read_lines(_TEXTS.value)
    if not _PAIRS.value:
        return lines
    pairs = []
    for number, line in enumerate(lines, 1):
        first, tab, second = line.partition("\t")
        if not tab or "\t" in second or not first.strip() or not second.strip():
            raise UserError(
                f"{_TEXTS.value}: text {number} is no pair ({line[:60]!r}); with "
                "--calibration_pairs each line is two texts with one tab between"
            )
        pairs.append((first, second))
    return pairs


if __name__ == "__main__":
    run(main)
