"""What a model folder says of its tokenizer: read, or refused where it is not BERT's.

transformers gives a folder's text other ids as soon as one of these files says something that is
not followed here. So everything in them that changes ids is either read or refused by name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tf_prune_ofa.errors import UserError
from tf_prune_ofa.json_files import read_json_object
from tf_prune_ofa.text.added_tokens import SPECIAL_TOKENS, read_added_tokens
from tf_prune_ofa.text.json_tokenizer import KINDS, kind_of
from tf_prune_ofa.text.vocabulary import (
    TOKENIZER_JSON,
    find_vocab,
    is_uncased,
    read_pieces,
    table_of,
)

TOKENIZER_CONFIG = "tokenizer_config.json"
_ADDED, _SPECIAL_MAP = "added_tokens.json", "special_tokens_map.json"

# Classes of transformers whose ids are BERT's, all made of the same vocabulary and settings.
_CLASSES = {
    f"{name}Tokenizer{fast}"
    for name in ("Bert", "DistilBert", "Electra", "MobileBert")
    for fast in ("", "Fast")
}
# Classes that are what tokenizer.json says, whatever that is.
_GENERIC_CLASSES = {"PreTrainedTokenizerFast", "TokenizersBackend"}
_SPECIAL_KEYS = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
# Settings of slow tokenizers that split words in other ways.
_REQUIRED = {"do_basic_tokenize": True, "never_split": [], "auto_map": {}}


def tokenizer_files(folder: str | os.PathLike[str]) -> list[Path]:
    """The files of a folder that its token ids depend on."""
    folder = Path(folder)
    names = (TOKENIZER_CONFIG, TOKENIZER_JSON, _ADDED, _SPECIAL_MAP)
    more = [folder / name for name in names if (folder / name).is_file()]
    return list(dict.fromkeys([find_vocab(folder), *more]))


def tokenizer_settings(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Keyword arguments for `WordPiece` that a model folder states.

    Read from tokenizer_config.json, then from tokenizer.json (of `tokenizers`, or of a keras-nlp
    preset). Where neither tells the case, the vocabulary does: an uncased one has no capitals.

    Returns:
        lower_case, strip_accents and split_chinese; clean_up and added_tokens if there are any.
        None of a tokenizer.json of another kind, which says everything itself.

    Raises:
        UserError: no vocabulary in the folder, a file that is not JSON, or a tokenizer that is not
            BERT's.
    """
    folder = Path(folder)
    vocab = find_vocab(folder)
    if vocab.suffix == ".json" and kind_of(read_json_object(vocab)) in KINDS:
        return _settings_of_json(folder)
    pieces = read_pieces(vocab)
    config, state, legacy, special_map = (
        read_json_object(folder / name, missing={})
        for name in (TOKENIZER_CONFIG, TOKENIZER_JSON, _ADDED, _SPECIAL_MAP)
    )
    preset = _section(state, "config", folder)
    if "model" in state:
        _check_state(state, pieces, folder)
    elif not preset and state:
        raise UserError(f"{folder / TOKENIZER_JSON} describes no tokenizer; get the file again")
    _check_config(config, "model" in state, folder)
    for source, name in ((config, TOKENIZER_CONFIG), (special_map, _SPECIAL_MAP)):
        _check_special_tokens(source, folder / name)

    normalizer = _section(state, "normalizer", folder)
    lower_case = _first_stated(
        folder,
        do_lower_case=config.get("do_lower_case"),
        normalizer=normalizer.get("lowercase"),
        preset=preset.get("lowercase"),
    )
    if lower_case is None:
        lower_case = is_uncased(pieces)
    # A keras-nlp preset's strip_accents is left out: False is only that library's default there,
    # and not what its checkpoints were trained with.
    settings: dict[str, Any] = {
        "lower_case": lower_case,
        "strip_accents": _first_stated(
            folder,
            strip_accents=config.get("strip_accents"),
            normalizer=normalizer.get("strip_accents"),
        ),
        "split_chinese": _first_stated(
            folder,
            tokenize_chinese_chars=config.get("tokenize_chinese_chars"),
            normalizer=normalizer.get("handle_chinese_chars"),
            default=True,
        ),
    }
    if config.get("clean_up") is not None:
        settings["clean_up"] = config["clean_up"]
    added = read_added_tokens(
        pieces, where=folder, config=config, state=state, legacy=legacy, special_map=special_map
    )
    return settings | ({"added_tokens": added} if added else {})


def _settings_of_json(folder: Path) -> dict[str, Any]:
    """Check what stands beside a tokenizer.json of another kind; it says everything itself."""
    config = read_json_object(folder / TOKENIZER_CONFIG, missing={})
    state = read_json_object(folder / TOKENIZER_JSON)
    _require(folder / TOKENIZER_CONFIG, "auto_map", config.get("auto_map") or {}, {})
    known = {token.get("content") for token in _section_list(state, "added_tokens")}
    for token in (config.get("added_tokens_decoder") or {}).values():
        content = token.get("content") if isinstance(token, dict) else token
        if content not in known:
            raise UserError(
                f"{folder / TOKENIZER_CONFIG}: the added token {content!r} is not in "
                f"{TOKENIZER_JSON}, which says what this tokenizer does; save the tokenizer again"
            )
    return {}


# Refusing


def _check_state(state: Mapping[str, Any], pieces: list[str], folder: Path) -> None:
    """Refuse a tokenizer.json that is not BERT's, or not of the vocabulary beside it."""
    path = folder / TOKENIZER_JSON
    model = _section(state, "model", folder)
    table = table_of(model, path)
    if table != {piece: index for index, piece in enumerate(pieces) if piece}:
        raise UserError(
            f"{path} has other word pieces ({len(table)}) than the vocabulary beside it "
            f"({len(pieces)}); transformers takes those of {TOKENIZER_JSON}: remove the file that "
            "does not belong to the checkpoint"
        )
    wanted = {
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
    }
    for key, value in wanted.items():
        _require(path, f"model.{key}", model.get(key, value), value)
    normalizer = _section(state, "normalizer", folder)
    _require(path, "normalizer", normalizer.get("type"), "BertNormalizer")
    _require(path, "normalizer.clean_text", normalizer.get("clean_text", True), True)
    splitter = _section(state, "pre_tokenizer", folder)
    _require(path, "pre_tokenizer", splitter.get("type"), "BertPreTokenizer")
    frame = _section(state, "post_processor", folder)
    if frame.get("type") == "TemplateProcessing":
        for key, wanted_frame in (
            ("single", "[CLS]0 A0 [SEP]0"),
            ("pair", "[CLS]0 A0 [SEP]0 B1 [SEP]1"),
        ):
            _require(path, f"post_processor.{key}", _template(frame.get(key)), wanted_frame)
    elif frame:
        _require(path, "post_processor", frame.get("type"), "BertProcessing")


def _check_config(config: Mapping[str, Any], has_state: bool, folder: Path) -> None:
    path = folder / TOKENIZER_CONFIG
    name = config.get("tokenizer_class")
    if name in _GENERIC_CLASSES and has_state:
        name = None
    if name is not None and name not in _CLASSES:
        raise UserError(
            f"{path}: tokenizer_class is {name!r}; this package has BERT's tokenizer "
            "(BertTokenizer, DistilBertTokenizer). Choose another checkpoint, or correct the file "
            "if that is what the vocabulary belongs to"
        )
    for key, value in _REQUIRED.items():
        _require(path, key, config.get(key) or value, value)
    if config.get("do_basic_tokenize") is False:
        _require(path, "do_basic_tokenize", False, True)


def _check_special_tokens(source: Mapping[str, Any], path: Path) -> None:
    for key, wanted in zip(_SPECIAL_KEYS, SPECIAL_TOKENS, strict=True):
        token = source.get(key)
        _require(path, key, token.get("content") if isinstance(token, dict) else token, wanted)


def _require(path: Path, key: str, value: Any, wanted: Any) -> None:
    if value is not None and value != wanted or (value is None and key in _NEEDED):
        raise UserError(
            f"{path}: {key} is {value!r}; BERT's tokenizer, the only one that this package has, "
            f"has {wanted!r}. Choose another checkpoint"
        )


# Without them a tokenizer.json does not clean up or does not split words.
_NEEDED = ("normalizer", "pre_tokenizer")


def _template(parts: Any) -> str:
    """Return a template of tokenizer.json in short: [CLS]0 A0 [SEP]0."""
    said = []
    for part in parts if isinstance(parts, list) else ():
        for inner in part.values() if isinstance(part, dict) else ():
            if isinstance(inner, dict):
                said.append(f"{inner.get('id')}{inner.get('type_id')}")
    return " ".join(said)


# Reading


def _section_list(state: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    return [one for one in state.get(key) or () if isinstance(one, dict)]


def _section(state: Mapping[str, Any], key: str, folder: Path) -> Mapping[str, Any]:
    value = state.get(key) or {}
    if not isinstance(value, dict):
        raise UserError(f"{folder / TOKENIZER_JSON}: {key} is no description; get the file again")
    return value


def _first_stated(folder: Path, *, default: bool | None = None, **values: Any) -> bool | None:
    for key, value in values.items():
        if isinstance(value, bool):
            return value
        if value is not None:
            raise UserError(f"{folder}: the tokenizer's {key} is {value!r}, not true or false")
    return default
