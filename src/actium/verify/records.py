"""Frozen records from their JSON form, checked against their annotations.

Stage: JSON → [records] → certificate. In: what `to_json` wrote, by this process or another. Out: equal records, where
non-finite floats come back from "nan", "inf" and "-inf", or a `RecordError` that names the place.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from actium.errors import RecordError

T = TypeVar("T")
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def read(cls: type[T], value: Any, place: str = "", derived: frozenset[str] = frozenset()) -> T:
    """A record of a dataclass.

    Args:
        cls: The dataclass.
        value: The JSON object.
        place: Where it stands, for messages.
        derived: Keys that the JSON form has besides the fields.

    Returns:
        The record.

    Raises:
        RecordError: If a field is missing, unknown, or of another type than its annotation.
    """
    if not isinstance(value, Mapping):
        raise _wrong(place, f"an object ({cls.__name__})", value)
    known = {f.name: f for f in fields(cls) if f.init}  # type: ignore[arg-type]
    for name in value:
        if name not in known and name not in derived:
            raise RecordError(f"{_within(place, str(name))}: unknown field of {cls.__name__}")
    types = _types(cls)
    given = {n: _value(types[n], value[n], _within(place, n)) for n in known if n in value}
    for name, field in known.items():
        if name not in given and _is_required(field):
            raise RecordError(f"{_within(place, name)}: missing field of {cls.__name__}")
    return cls(**given)


@functools.cache
def _types(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _value(annotation: Any, value: Any, place: str) -> Any:
    """A value of an annotated type: what the certificate's fields need of Python's types, and no more."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return value
    if origin in (Union, UnionType):
        return _choice(arguments, value, place)
    if origin is Literal:
        if value not in arguments:
            raise _wrong(place, " or ".join(map(repr, arguments)), value)
        return value
    if origin is tuple:
        return _tuple(arguments, value, place)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise _wrong(place, "an object", value)
        return {str(k): _value(arguments[1], v, _within(place, str(k))) for k, v in value.items()}
    if is_dataclass(annotation) and isinstance(annotation, type):
        return read(annotation, value, place)
    return _scalar(annotation, value, place)


def _choice(arguments: tuple[Any, ...], value: Any, place: str) -> Any:
    """The first of several types that fits; a record's own complaint is kept if it is the only one besides None."""
    if value is None and NoneType in arguments:
        return None
    others = [a for a in arguments if a is not NoneType]
    for annotation in others[:-1]:
        try:
            return _value(annotation, value, place)
        except RecordError:
            continue
    return _value(others[-1], value, place)


def _tuple(arguments: tuple[Any, ...], value: Any, place: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(place, "a list", value)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        raise _wrong(place, f"{len(arguments)} values", value)
    return tuple(_value(a, v, f"{place}[{i}]") for i, (a, v) in enumerate(zip(arguments, value, strict=True)))


def _scalar(annotation: Any, value: Any, place: str) -> Any:
    if annotation is float:
        if isinstance(value, str) and value in _NOT_FINITE:
            return _NOT_FINITE[value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif isinstance(value, annotation) and not (annotation is int and isinstance(value, bool)):
        return value
    raise _wrong(place, annotation.__name__, value)


def _within(place: str, name: str) -> str:
    return f"{place}.{name[:80]}" if place else name[:80]


def _wrong(place: str, expected: str, value: Any) -> RecordError:
    return RecordError(f"{place or 'certificate'}: expected {expected}, got {repr(value)[:80]}")
