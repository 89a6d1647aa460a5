"""Settings to and from plain values (as in YAML and JSON), with every mistake named."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Callable
from typing import Any, Literal

from tf_prune_ofa.config import RuleSettings
from tf_prune_ofa.errors import UserError, did_you_mean
from tf_prune_ofa.schedules import Duration, parse_duration

# What the numbers may be, by the last part of their key.
_Limit = tuple[str, Callable[[float], bool]]
_SHARE: _Limit = ("in [0, 1)", lambda x: 0 <= x < 1)
_FROM_0: _Limit = ("0 or more", lambda x: 0 <= x < math.inf)
_FROM_1: _Limit = ("1 or more", lambda x: x >= 1)
_ABOVE_0: _Limit = ("above 0", lambda x: 0 < x < math.inf)
_LIMITS: dict[str, _Limit] = {
    **dict.fromkeys(("dropout", "range_momentum"), _SHARE),
    **dict.fromkeys(("seed", "train_limit", "dev_limit", "examples"), _FROM_0),
    **dict.fromkeys(("corpus_limit", "corpus_length"), _FROM_0),
    **dict.fromkeys(("hard", "soft", "hidden", "attention", "layerwise"), _FROM_0),
    **dict.fromkeys(("learning_rate", "weight_decay", "clip_norm", "damping"), _FROM_0),
    **dict.fromkeys(("rounds",), _FROM_1),
    **dict.fromkeys(("batch_size", "max_length", "calibration_batches"), _FROM_1),
    **dict.fromkeys(("sequence_length", "threads", "runs"), _FROM_1),
    **dict.fromkeys(("stride", "question_length", "answer_length", "n_best"), _FROM_1),
    **dict.fromkeys(("copies", "candidates", "teacher_layers"), _FROM_1),
    **dict.fromkeys(("temperature", "power", "dampening"), _ABOVE_0),
    **dict.fromkeys(("gradients", "block"), _FROM_1),
    **dict.fromkeys(("probability", "cycle_floor"), ("in [0, 1]", lambda x: 0 <= x <= 1)),
    "mlm_share": ("in (0, 1)", lambda x: 0 < x < 1),
}


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
        raise UserError(f"'{where}' must be a mapping of settings, got {data!r}")
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in data.items():
        if key not in hints:
            raise UserError(f"unknown key '{where}.{key}'{did_you_mean(str(key), hints)}")
        values[key] = convert(value, hints[key], f"{where}.{key}")
    for required in dataclasses.fields(cls):
        has_default = (required.default, required.default_factory) != (dataclasses.MISSING,) * 2
        if not has_default and required.name not in values:
            raise UserError(f"'{where}' needs '{required.name}', got {data!r}")
    return cls(**values)


def to_dict(settings: Any) -> Any:
    """Return settings as plain JSON values."""
    if dataclasses.is_dataclass(settings):
        return {f.name: to_dict(getattr(settings, f.name)) for f in dataclasses.fields(settings)}
    if isinstance(settings, dict):
        return {key: to_dict(value) for key, value in settings.items()}
    if isinstance(settings, tuple | list):
        return [to_dict(value) for value in settings]
    return settings


def digest(value: Any) -> str:
    """Return a hash of settings or plain values; equal settings have equal digests.

    The order of mappings counts: of the rules of a pruning stage, the last match wins.
    """
    text = json.dumps(to_dict(value), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def convert(value: Any, hint: Any, where: str) -> Any:
    """Return `value` as the type `hint`; raise a UserError that names `where`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if hint == Duration:
        try:
            parse_duration(value)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        return value
    if dataclasses.is_dataclass(hint):
        return settings_of(hint, value, where)
    if origin is Literal:
        if value not in arguments:
            raise UserError(
                f"{where} must be one of {', '.join(map(repr, arguments))}, got {value!r}"
                f"{did_you_mean(str(value), arguments)}"
            )
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"{where} must be a list, got {value!r}")
        return tuple(convert(item, arguments[0], where) for item in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise UserError(f"{where} must be a mapping, got {value!r}")
        return {str(k): convert(v, arguments[1], f"{where}.{k}") for k, v in value.items()}
    if hint == float | RuleSettings:
        return convert(value, RuleSettings if isinstance(value, dict) else float, where)
    if origin in (types.UnionType, typing.Union):
        raise TypeError(f"config field {where} has an unsupported type {hint}")
    return _convert_scalar(value, hint, where)


def _convert_scalar(value: Any, hint: type, where: str) -> Any:
    value = _convert_type(value, hint, where)
    allowed, is_allowed = _LIMITS.get(where.rpartition(".")[2], ("", None))
    if is_allowed is not None and hint is not bool and not is_allowed(value):
        raise UserError(f"{where} must be {allowed}, got {value!r}")
    return value


def _convert_type(value: Any, hint: type, where: str) -> Any:
    is_bool = isinstance(value, bool)
    if hint is float and not is_bool:
        # YAML reads 1e-4 (no dot) as text; every user writes it.
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    elif hint is bool and is_bool or hint is int and isinstance(value, int) and not is_bool:
        return value
    elif hint is str and isinstance(value, str | int | float) and not is_bool:
        return str(value)
    elif hint is str and value is None:
        return ""
    # YAML reads yes, no, on and off as truth values; as labels they would match nothing.
    advice = "; put it in quotes" if hint is str and is_bool else ""
    raise UserError(f"{where} must be of type {hint.__name__}, got {value!r}{advice}")
