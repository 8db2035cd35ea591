"""Dataclasses from the content of JSON and YAML files, checked by the annotations of their fields."""

from __future__ import annotations

import functools
import types
import typing
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

from common.errors import UserError, nearest
from common.number_check import is_number
from common.printable import shown

Built = TypeVar("Built")
NAMES = {float: "a finite number", int: "a whole number", str: "a text", bool: "true or false", type(None): "nothing"}


def build(kind: type[Built], content: object, place: str) -> Built:
    """Build a dataclass from a JSON object or a YAML mapping, and the dataclasses in its fields.

    Fields may be ``str``, ``int``, ``float``, ``bool``, ``Any``, a ``Literal``, dataclasses, and lists, tuples of one type,
    dictionaries and unions of these. Whole numbers stand for floats, lists for tuples. A ``ValueError`` or `UserError` of the
    class's ``__post_init__`` says what is out of range.

    >>> from dataclasses import make_dataclass
    >>> Sizes = make_dataclass("Sizes", [("latents", int), ("heads", int, 8)])
    >>> build(Sizes, {"latents": 4}, "sizes.json")
    Sizes(latents=4, heads=8)

    Args:
        kind: the dataclass.
        content: what the file holds.
        place: the file, and where in it, for messages.

    Raises:
        UserError: a key is unknown or missing, or a value of another type; it names the file, the key and the nearest key.
    """
    if not isinstance(content, dict):
        raise UserError(f"{place}: expected an object for {kind.__name__}, found {shown(content)}")
    hints = _hints(kind)  # type: ignore[arg-type]
    for key in content:
        if key not in hints:
            raise UserError(f"{place}: unknown key {key!r}{nearest(str(key), hints)}; the keys are {', '.join(hints)}")
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name not in content and field.default is MISSING and field.default_factory is MISSING:
            raise UserError(f"{place}: the key {field.name!r} is missing")
    values = {key: _value(hints[key], value, f"{place}: {key}") for key, value in content.items()}
    try:
        return kind(**values)
    except (ValueError, UserError) as error:
        raise UserError(f"{place}: {error}") from error


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields by name."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _value(hint: Any, value: object, place: str) -> Any:
    """Return a value as its field wants it."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if is_dataclass(hint):
        return build(typing.cast(type, hint), value, place)
    if origin in (types.UnionType, typing.Union):
        return _one_of(parts, value, place)
    if origin in (list, tuple) and isinstance(value, list):
        items = [_value(parts[0], item, f"{place}[{number}]") for number, item in enumerate(value)]
        return tuple(items) if origin is tuple else items
    if origin is dict and isinstance(value, dict):
        return {key: _value(parts[1], item, f"{place}.{key}") for key, item in value.items()}
    if _fits(hint, value):
        return float(typing.cast(float, value)) if hint is float else value
    raise UserError(f"{place} is {shown(value)}, not {type_name(hint)}")


def _one_of(parts: tuple[Any, ...], value: object, place: str) -> Any:
    """Return a value as the first type of a union that takes it wants it."""
    if len(parts) == 2 and type(None) in parts and value is not None:
        (part,) = (part for part in parts if part is not type(None))
        return _value(part, value, place)  # its message says more
    for part in parts:
        try:
            return _value(part, value, place)
        except UserError:
            continue
    names = " or ".join(type_name(part) for part in parts)
    raise UserError(f"{place} is {shown(value)}, not {names}")


def _fits(hint: Any, value: object) -> bool:
    """Whether a value is of a type that has no parts; True is no number."""
    if typing.get_origin(hint) is typing.Literal:
        return value in typing.get_args(hint)
    if hint is float:
        return is_number(value)
    return type(value) is hint


def type_name(hint: Any) -> str:
    """Return the words for a type in a message."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return f"one of {', '.join(map(repr, parts))}"
    if origin in (list, tuple):
        return "a list"
    if origin is dict or is_dataclass(hint):
        return "an object"
    return NAMES.get(hint, str(hint))
