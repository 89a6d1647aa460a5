"""Make a corpus for masked-language-model training of Wikipedia's text: a document a line.

    prepare_corpus.py --output=data/wikipedia_en.txt [--megabytes=100] FILES...

FILES are what WikiExtractor writes, plain or packed (.xz, .bz2, .gz). A recipe names the output in
`task.corpus`.
"""

from absl import flags

from tf_prune_ofa.data.wiki_text import write_corpus
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tools._main import run

_OUTPUT = flags.DEFINE_string("output", None, "text file to write", required=True)
_MEGABYTES = flags.DEFINE_float("megabytes", 0.0, "size of the output at most; 0 for all text")
_MIN = flags.DEFINE_integer("min_characters", 400, "leave shorter documents out", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "of the order of documents")


def main(argv: list[str]) -> None:
    """Reads the files named in `argv` and writes the corpus."""
    if len(argv) < 2:
        raise UserError("name at least one of WikiExtractor's files")
    count, size = write_corpus(
        argv[1:],
        _OUTPUT.value,
        megabytes=_MEGABYTES.value,
        min_characters=_MIN.value,
        seed=_SEED.value,
    )
    print(f"{count:,} documents, {size / 1e6:.1f} MB, in {_OUTPUT.value}")


if __name__ == "__main__":
    run(main)
