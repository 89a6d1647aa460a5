"""Tokens that a checkpoint adds to its word pieces, such as "[DRUG]" or "covid19".

A tokenizer looks for them in the text before it splits words. Four files may name them, and which
ones do depends on the version of transformers that wrote the folder; they must agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_prune_ofa.errors import UserError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# How a token is looked for, with what transformers takes where a file does not say.
_FLAGS = {"special": False, "lstrip": False, "rstrip": False, "single_word": False}

Token = dict[str, Any]


def read_added_tokens(
    pieces: Sequence[str],
    *,
    where: Path,
    config: Mapping[str, Any],
    state: Mapping[str, Any],
    legacy: Mapping[str, Any],
    special_map: Mapping[str, Any],
) -> list[Token]:
    """Return the added tokens, each as a mapping: content, is_piece, and how it is looked for.

    Those that are no word pieces have the ids behind these, in their order. How a token is looked
    for is said by special, lstrip, rstrip, single_word and normalized, as `tokenizers` has them.

    Args:
        pieces: the vocabulary; the position is the id.
        where: the folder, for messages.
        config: tokenizer_config.json.
        state: tokenizer.json.
        legacy: added_tokens.json.
        special_map: special_tokens_map.json.

    Raises:
        UserError: files disagree, or ids do not follow the vocabulary's.
    """
    more_special = [
        _named(token, where)
        for source in (config, special_map)
        for key in ("additional_special_tokens", "extra_special_tokens")
        for token in _values(source.get(key))
    ]
    found: dict[str, tuple[Any, Token]] = {}
    listed = [(token.get("id"), token) for token in _dicts(state.get("added_tokens"), where)]
    decoder = config.get("added_tokens_decoder") or {}
    listed += zip(decoder, _dicts(decoder.values(), where), strict=True)
    for index, token in listed:
        _add(found, index, _complete(token, where), where)
    for content, index in legacy.items():
        is_special = content in more_special or content in SPECIAL_TOKENS
        # Only names and ids are in this file: the flags of another one stand.
        flags = found.get(content, (None, {"content": content, "special": is_special}))[1]
        _add(found, index, _complete(flags, where), where)
    behind = len(pieces) + sum(1 for content in found if content not in pieces)
    for content in more_special:
        if content not in found:
            is_piece = content in pieces
            index = pieces.index(content) if is_piece else behind
            behind += not is_piece
            _add(found, index, _complete({"content": content, "special": True}, where), where)
    return _in_order(found, pieces, where)


def is_added_token(value: Any) -> bool:
    """Whether a value is one of the mappings that `read_added_tokens` returns."""
    if not isinstance(value, dict) or set(value) != {"content", "normalized", "is_piece", *_FLAGS}:
        return False
    flags = [flag for key, flag in value.items() if key != "content"]
    return isinstance(value["content"], str) and all(isinstance(flag, bool) for flag in flags)


def _in_order(
    found: Mapping[str, tuple[int, Token]], pieces: Sequence[str], where: Path
) -> list[Token]:
    """Return the tokens by id, checked against the vocabulary; BERT's own five are left out."""
    known = {piece: index for index, piece in enumerate(pieces) if piece}
    new: list[Token] = []
    ordinary: list[Token] = []
    for content, (index, token) in sorted(found.items(), key=lambda item: item[1][0]):
        expected = known.get(content, len(pieces) + len(new))
        if index != expected:
            raise UserError(
                f"{where}: the added token {content!r} has the id {index}, the vocabulary gives "
                f"it {expected}; the files are not of one tokenizer: copy them again"
            )
        if content in SPECIAL_TOKENS:
            continue
        (ordinary if content in known else new).append({**token, "is_piece": content in known})
    if new and len(known) != len(pieces):
        raise UserError(
            f"{where}: the vocabulary lists a word piece twice, so the ids of the added tokens "
            f"({', '.join(token['content'] for token in new[:5])}) are not certain"
        )
    return ordinary + new


def _add(found: dict[str, tuple[int, Token]], index: Any, token: Token, where: Path) -> None:
    content = token["content"]
    try:
        index = int(index)
    except (TypeError, ValueError):
        raise UserError(f"{where}: the added token {content!r} has the id {index!r}") from None
    before = found.setdefault(content, (index, token))
    if before != (index, token):
        raise UserError(
            f"{where}: two files describe the added token {content!r} differently ({before[0]}, "
            f"{_said(before[1])}; {index}, {_said(token)}); correct one of them"
        )


def _said(token: Token) -> str:
    return " ".join(f"{key}={value}" for key, value in token.items() if key != "content")


def _complete(token: Mapping[str, Any], where: Path) -> Token:
    content = token.get("content")
    if not isinstance(content, str) or not content:
        raise UserError(f"{where}: an added token has the content {content!r}, not a text")
    flags = {key: bool(token.get(key, default)) for key, default in _FLAGS.items()}
    return {
        "content": content,
        **flags,
        "normalized": bool(token.get("normalized", not flags["special"])),
    }


def _dicts(tokens: Iterable[Any] | None, where: Path) -> list[Mapping[str, Any]]:
    tokens = list(tokens or ())
    for token in tokens:
        if not isinstance(token, dict):
            raise UserError(f"{where}: {token!r} is no description of an added token")
    return tokens


def _values(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _named(token: Any, where: Path) -> str:
    content = token.get("content") if isinstance(token, dict) else token
    if not isinstance(content, str):
        raise UserError(f"{where}: {token!r} is no special token")
    return content
