"""Pack a sparse encoder into a small file, or unpack one into a Hugging Face folder.

    pack_encoder.py --encoder=FOLDER --output=my_encoder.npz [--base=minilm_l6] [--about=about.json]
                    [--push_to_hub=user/name [--create_pr]]
    pack_encoder.py --unpack=my_encoder.npz --output=FOLDER [--base=minilm_l6]

The file holds what pruning changed: the kept weights in 16 bits and a bit mask; the rest, the word
table above all, is the base encoder's. An unpacked encoder packs to the same content again.
"""

import json
from pathlib import Path
from typing import Any

from absl import flags

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.files import write_text
from tf_prune_ofa.paths import CARD
from tf_prune_ofa.tools._hub import is_asked, push_files
from tf_prune_ofa.tools._main import refuse_idle, run

_ENCODER = flags.DEFINE_string("encoder", None, "folder of the sparse encoder")
_UNPACK = flags.DEFINE_string("unpack", None, "packed file, or the name of one in this package")
_BASE = flags.DEFINE_string("base", "minilm_l6", "the dense encoder that it was made from")
_OUTPUT = flags.DEFINE_string("output", None, "file or folder to write", required=True)
_ABOUT = flags.DEFINE_string("about", None, "JSON file: version, licence, recipe, card, ...")
_DTYPE = flags.DEFINE_enum("dtype", "float16", ["float16", "bfloat16"], "of the kept weights")


def main(argv: list[str]) -> None:
    """Packs or unpacks, as the flags say."""
    if len(argv) > 1:
        raise UserError(f"unexpected arguments {argv[1:]}; name files by flags")
    if bool(_ENCODER.value) == bool(_UNPACK.value):
        raise UserError("give one of --encoder (to pack) and --unpack")
    if _UNPACK.value and is_asked():
        raise UserError("--push_to_hub is for the file that --encoder is packed into")

    if _UNPACK.value:
        refuse_idle("--encoder, which is packed", "about", "dtype")

    from tf_prune_ofa.encoders import shipped_encoders
    from tf_prune_ofa.models import packed, presets, shipped
    from tf_prune_ofa.models.packed_card import packed_card

    output = Path(_OUTPUT.value)
    base = presets.open_pretrained(_BASE.value)
    if _UNPACK.value:
        path = shipped_encoders().get(_UNPACK.value, Path(_UNPACK.value))
        if output.exists():
            raise UserError(f"{output} exists; name a new folder")
        shipped.unpack_folder(packed.read_packed(path), base.folder, output)
        print(f"unpacked {path} into {output}")
        return
    own = _read_about(Path(_ABOUT.value)) if _ABOUT.value else {}
    about = {"name": output.stem, "base": _BASE.value, **own}
    weights = presets.open_pretrained(_ENCODER.value).read_weights()
    found = packed.pack(weights, base.read_weights(), about, dtype=_DTYPE.value)
    packed.write_packed(output, found)
    card = output.with_suffix(".md")
    write_text(card, packed_card(found, output))
    size = output.stat().st_size / 1e6
    print(
        f"{output}: {size:.2f} MB, sparsity {packed.sparsity(found):.4f}, {found.about['digest']}"
    )
    print(f"model card: {card}")
    push_files({output.name: output, CARD: card}, "Add a sparse encoder")


def _read_about(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"--about={path} cannot be read as JSON: {error}") from error
    if not isinstance(about, dict):
        raise UserError(f"--about={path} must hold a JSON object, got {type(about).__name__}")
    return about


if __name__ == "__main__":
    run(main)
