"""Make a corpus for masked-language-model training: records of token ids, or a text file.

    prepare_corpus.py --output=data/wikipedia_en FILES...                        # records
    prepare_corpus.py --output=data/wikipedia_en FILES... -- --runner=FlinkRunner --parallelism=64
    prepare_corpus.py --output=data/wikipedia_en.txt [--megabytes=100] FILES...  # a document a line

FILES are what WikiExtractor writes, text files with a document on each line, or JSON Lines, each
plain or packed (.xz, .bz2, .gz); Parquet; folders of these; or tfds:NAME:SPLIT, a dataset that
TensorFlow Datasets has prepared. Apache Beam does the work where flags for it stand behind --.

A recipe names the folder of records in `corpus.records`, or the text file in `corpus.files`.
docs/howto/scale.md says more.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from absl import flags

from tf_prune_ofa.corpus import beam_run, build
from tf_prune_ofa.corpus.plan import FORMS, Plan, buckets_for
from tf_prune_ofa.corpus.sources import find_units
from tf_prune_ofa.data.wiki_text import write_corpus
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.models.finding import find_encoder
from tf_prune_ofa.text.tokenizer_files import tokenizer_settings
from tf_prune_ofa.text.vocabulary import find_vocab
from tf_prune_ofa.tools._main import refuse_idle, run

_OUTPUT = flags.DEFINE_string(
    "output", None, "folder of records to make, or text file (.txt) to write", required=True
)
_MIN = flags.DEFINE_integer("min_characters", 400, "leave shorter documents out", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "of the pairs, or of a text file's order of documents")
_MEGABYTES = flags.DEFINE_float(
    "megabytes", 0.0, "of a text file: its size at most; 0 for all text", lower_bound=0.0
)
_ENCODER = flags.DEFINE_string(
    "encoder", "minilm_l6", "whose vocabulary: as model.weights of a recipe, or a folder"
)
_FORM = flags.DEFINE_enum(
    "form", "pairs", FORMS, "pairs of segments (BERT), or packed sentences (DistilBERT)"
)
_LENGTH = flags.DEFINE_integer("length", 128, "tokens of an example at most")
_SHORT = flags.DEFINE_float(
    "short_rate", 0.1, "share of pairs of a random smaller size", lower_bound=0.0, upper_bound=1.0
)
_DEV = flags.DEFINE_float("dev_share", 0.05, "share of documents to hold out")
_SHARDS = flags.DEFINE_integer("shards", 1, "files of each split; they change no record")
_BUCKETS = flags.DEFINE_integer(
    "buckets", 0, "ranges of documents that are put together at a time; 0 for about 1 MB each"
)
_FIELD = flags.DEFINE_string("text_field", "text", "of JSON Lines, Parquet and datasets")
_TFDS = flags.DEFINE_string("tfds_dir", "", "folder of prepared datasets; empty for the usual one")
_PROCESSES = flags.DEFINE_integer(
    "processes", 0, "that work side by side without Beam; 0 for one a processor", lower_bound=0
)

_OF_RECORDS = (
    *("encoder", "form", "length", "short_rate", "dev_share", "shards", "buckets"),
    *("text_field", "tfds_dir", "processes"),
)


def main(argv: list[str]) -> None:
    """Reads the sources named in `argv` and writes the corpus."""
    names = [name for name in argv[1:] if not name.startswith("--")]
    for_beam = [name for name in argv[1:] if name.startswith("--")]
    if not names:
        raise UserError("name at least one file, folder or tfds:NAME")
    if _OUTPUT.value.endswith(".txt"):
        _write_text(names, for_beam)
        return
    if _MEGABYTES.value:
        raise UserError("--megabytes is of text files; for records, name fewer files")
    if _FORM.value != "pairs":
        refuse_idle("--form=pairs", "short_rate")
    if for_beam:
        refuse_idle("work without Beam", "processes")
    runner = beam_run.beam(for_beam) if for_beam else build.local(_PROCESSES.value or _processors())
    units = find_units(names, field=_FIELD.value, folder=_TFDS.value)
    size = sum(unit.size for unit in units)
    vocabulary, settings = _tokenizer()
    plan = Plan(
        form=_FORM.value,
        length=_LENGTH.value,
        vocabulary=str(vocabulary),
        tokenizer=json.dumps(settings, sort_keys=True),
        buckets=_BUCKETS.value or buckets_for(size),
        seed=_SEED.value,
        short_rate=_SHORT.value,
        dev_share=_DEV.value,
        min_characters=_MIN.value,
    )
    began = time.perf_counter()
    manifest = build.build(plan, units, Path(_OUTPUT.value), shards=_SHARDS.value, runner=runner)
    seconds = time.perf_counter() - began
    for split, counts in manifest["counts"].items():
        print(f"{split}: " + ", ".join(f"{value:,} {name}" for name, value in counts.items()))
    print(f"{size / 1e6:.1f} MB of text, {seconds:.1f} s, in {_OUTPUT.value}")


def _write_text(names: list[str], for_beam: list[str]) -> None:
    if for_beam:
        raise UserError("Beam makes records; give an --output without .txt, or leave its flags out")
    refuse_idle("records, an --output without .txt", *_OF_RECORDS)
    count, size = write_corpus(
        names,
        _OUTPUT.value,
        megabytes=_MEGABYTES.value,
        min_characters=_MIN.value,
        seed=_SEED.value,
    )
    print(f"{count:,} documents, {size / 1e6:.1f} MB, in {_OUTPUT.value}")


def _tokenizer() -> tuple[Path, dict[str, Any]]:
    folder = find_encoder(_ENCODER.value)
    return find_vocab(folder), tokenizer_settings(folder)


def _processors() -> int:
    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    run(main)
