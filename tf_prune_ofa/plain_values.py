"""Settings to and from plain values (as in YAML and JSON), with every mistake named."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Callable
from typing import Any, Literal

from tf_prune_ofa.config import RuleSettings
from tf_prune_ofa.errors import UserError, did_you_mean
from tf_prune_ofa.limits import NEWER, Limit, check, limits_of
from tf_prune_ofa.schedules import Duration, parse_duration


def settings_of(cls: type, data: Any, where: str) -> Any:
    """Build a dataclass of settings from plain values, refusing what it does not know.

    Args:
        cls: frozen dataclass with the field types that recipes use.
        data: a mapping, as read from YAML.
        where: for messages, which place `data` is from.

    Raises:
        UserError: unknown key, wrong type, missing value.
    """
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise UserError(f"'{where}' must be a mapping of settings, got {shown(data)}")
    hints, limits = typing.get_type_hints(cls), limits_of(cls)
    values = {}
    for key, value in data.items():
        if key not in hints:
            raise UserError(f"unknown key '{where}.{key}'{did_you_mean(str(key), hints)}")
        values[key] = convert(value, hints[key], f"{where}.{key}", limits.get(key))
    for required in dataclasses.fields(cls):
        has_default = (required.default, required.default_factory) != (dataclasses.MISSING,) * 2
        if not has_default and required.name not in values:
            raise UserError(f"'{where}' needs '{required.name}', got {shown(data)}")
    return cls(**values)


def to_dict(
    settings: Any, *, is_told: Callable[[dataclasses.Field[Any], Any], bool] = lambda *_: True
) -> Any:
    """Return settings as plain JSON values.

    Args:
        settings: dataclasses, mappings, sequences and plain values in any nesting.
        is_told: says of a dataclass's field and its value whether it is in.
    """
    if dataclasses.is_dataclass(settings):
        values = [(f, getattr(settings, f.name)) for f in dataclasses.fields(settings)]
        return {f.name: to_dict(v, is_told=is_told) for f, v in values if is_told(f, v)}
    if isinstance(settings, dict):
        return {key: to_dict(value, is_told=is_told) for key, value in settings.items()}
    if isinstance(settings, tuple | list):
        return [to_dict(value, is_told=is_told) for value in settings]
    return settings


def _counts(field: dataclasses.Field[Any], value: Any) -> bool:
    if not field.metadata.get(NEWER):
        return True
    factory = field.default_factory
    return value != (field.default if factory is dataclasses.MISSING else factory())


def digest(value: Any) -> str:
    """Return a hash of settings or plain values; equal settings have equal digests.

    The order of mappings counts: of the rules of a pruning stage, the last match wins. A setting
    that came with a later version counts only where it is not at its default, so that what was
    done before is found again.
    """
    text = json.dumps(to_dict(value, is_told=_counts), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def convert(value: Any, hint: Any, where: str, limit: Limit | None = None) -> Any:
    """Return `value` as the type `hint`, its numbers in a limit; else a UserError names `where`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if hint == Duration:
        if _is_endless(value):
            raise UserError(f"{where} must be a duration, got {shown(value)}")
        try:
            parse_duration(value)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        return value
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return settings_of(hint, value, where)
    if origin is Literal:
        if value not in arguments:
            raise UserError(
                f"{where} must be one of {', '.join(map(repr, arguments))}, got {shown(value)}"
                f"{did_you_mean(str(value), arguments)}"
            )
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"{where} must be a list, got {shown(value)}")
        return tuple(convert(item, arguments[0], where, limit) for item in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise UserError(f"{where} must be a mapping, got {shown(value)}")
        keys = [_convert_type(key, str, f"a key of {where}") for key in value]
        if len(set(keys)) < len(keys):
            raise UserError(f"{where} has a key twice, as a number and as a text: {shown(keys)}")
        return {
            key: convert(one, arguments[1], f"{where}.{key}", limit)
            for key, one in zip(keys, value.values(), strict=True)
        }
    if hint == float | RuleSettings:
        return convert(value, RuleSettings if isinstance(value, dict) else float, where, limit)
    if origin in (types.UnionType, typing.Union):
        raise TypeError(f"config field {where} has an unsupported type {hint}")
    return _convert_scalar(value, hint, where, limit)


def _convert_scalar(value: Any, hint: type, where: str, limit: Limit | None) -> Any:
    value = _convert_type(value, hint, where)
    if hint in (int, float) and (allowed := check(value, limit)):
        raise UserError(f"{where} must be {allowed}, got {shown(value)}")
    return value


def shown(value: Any) -> str:
    """Return a value for a message, cut where it is long."""
    # An int of 10,000 digits has no text at all.
    text = "a number of that many digits" if _is_endless(value) else repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _is_endless(value: Any) -> bool:
    return isinstance(value, int) and value.bit_length() > 1_000


def _convert_type(value: Any, hint: type, where: str) -> Any:
    is_bool = isinstance(value, bool)
    if hint is float and not is_bool:
        # YAML reads 1e-4 (no dot) as text; every user writes it.
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError):
            pass
    elif hint is bool and is_bool or hint is int and isinstance(value, int) and not is_bool:
        return value
    elif hint is str and isinstance(value, str | int | float) and not is_bool:
        return _text(value, where)
    elif hint is str and value is None:
        return ""
    # YAML reads yes, no, on and off as truth values; as labels they would match nothing.
    advice = "; put it in quotes" if hint is str and is_bool else ""
    raise UserError(f"{where} must be of type {hint.__name__}, got {shown(value)}{advice}")


def _text(value: Any, where: str) -> str:
    """Return a text that files and paths can hold: Unicode without NUL."""
    text = shown(value) if _is_endless(value) else str(value)
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UserError(f"{where} holds a character that no text may have, got {shown(value)}")
    return text
