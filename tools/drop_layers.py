"""Leave layers of a model out: a smaller dense model, to be trained and compared with a pruned one.

    drop_layers.py --model=FOLDER --layers=1,2,4,6 --output=FOLDER

What stays are the weights of the layers that are named, 1 is the first, with the model's head and
vocabulary. Without training such a model is poor: configs/fewer_layers_minilm_reviews.yaml has it
learn from the whole one.
"""

from pathlib import Path

from absl import flags

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.tools._main import run

_MODEL = flags.DEFINE_string("model", None, "Hugging Face folder of a task model", required=True)
_LAYERS = flags.DEFINE_list("layers", None, "layers that stay, ascending", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "folder to write", required=True)


def main(argv: list[str]) -> None:
    """Writes the folder."""
    if len(argv) > 1:
        raise UserError(f"unexpected arguments {argv[1:]}; name files by flags")
    if not all(layer.isdecimal() for layer in _LAYERS.value):
        raise UserError(f"--layers={','.join(_LAYERS.value)} must be whole numbers")

    from tf_prune_ofa.models import huggingface
    from tf_prune_ofa.models.fewer_layers import write_with_layers
    from tf_prune_ofa.models.hf_config import read_problem_type
    from tf_prune_ofa.tasks import kind_in

    folder, out = Path(_MODEL.value), Path(_OUTPUT.value)
    found = kind_in(huggingface.read_weights(folder), read_problem_type(folder))
    layers = [int(layer) for layer in _LAYERS.value]
    write_with_layers(folder, layers, out, head=found[1] if found else None)
    print(f"{len(layers)} layers of {folder} written to {out}")


if __name__ == "__main__":
    run(main)
