"""One flag: its type as a dataclass field declares it, and the conversion of what a command line or a YAML file gives."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from common.errors import UserError

Kind = Literal["bool", "int", "float", "str", "list", "json", "records"]

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")
_EXPECTED = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "a text",
             "records": "a path, or a list of entries"}  # fmt: skip


@dataclass(frozen=True)
class Flag:
    """One flag, read from a dataclass field.

    Attributes:
        name: the field's name; the flag is ``--name``.
        kind: what its value is converted to; ``list`` collapses to a text when it has one element, ``records``
            is a path or a list of mappings.
        default: the field's default.
        help: the help text.
        choices: the valid values, or none.
        optional: whether ``none`` (YAML: ``null``) is a value.
    """

    name: str
    kind: Kind
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    optional: bool = False

    def convert(self, value: Any, where: str) -> Any:
        """Return ``value`` in the flag's type.

        Args:
            value: a text or a list of texts from the command line, or whatever YAML made of it.
            where: how an error names the place: ``--name``, or ``file:line: name``.

        Raises:
            UserError: it is not of that type, or none of the choices.
        """
        if value is None or (
            self.optional and self.kind in ("bool", "int", "float") and str(value).lower() in ("none", "null")
        ):
            if not self.optional:
                raise UserError(f"{where} needs a value")
            return None
        if self.kind == "records" and not isinstance(value, Mapping):
            return value if isinstance(value, list) else str(value)
        if self.kind == "json":
            return value if isinstance(value, Mapping) else str(value)
        if self.kind == "list":
            texts = [str(part) for part in value] if isinstance(value, list) else [str(value)]
            return texts[0] if len(texts) == 1 else texts
        if isinstance(value, list | Mapping):
            raise UserError(f"{where}: expected {_EXPECTED[self.kind]}, got {value!r}")
        converted = self._scalar(value, where)
        if self.choices and converted not in self.choices:
            raise UserError(f"{where}: {value!r} is none of {', '.join(self.choices)}")
        return converted

    def _scalar(self, value: Any, where: str) -> Any:
        text = str(value).strip()
        try:
            if self.kind == "bool":
                return (_TRUE + _FALSE).index(text.lower()) < len(_TRUE)
            if self.kind == "int":
                return int(text)
            if self.kind == "float":
                return float(text)
        except ValueError:
            raise UserError(f"{where}: expected {_EXPECTED[self.kind]}, got {value!r}") from None
        return str(value)


def flags_of(arguments: type, names: Iterable[str] | None = None) -> dict[str, Flag]:
    """Return the flags of a dataclass, in its order.

    Args:
        arguments: a dataclass, ours or ``transformers.TrainingArguments``.
        names: only these fields; all that ``__init__`` takes when None.
    """
    hints = typing.get_type_hints(arguments)
    flags = {}
    for item in dataclasses.fields(arguments):
        if not item.init or (names is not None and item.name not in names):
            continue
        kind, choices, optional = _kind(hints[item.name])
        default = item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default
        choices = tuple(item.metadata.get("choices", ())) or choices
        flags[item.name] = Flag(item.name, kind, default, str(item.metadata.get("help", "")), choices, optional)
    return flags


def _kind(hint: Any) -> tuple[Kind, tuple[str, ...], bool]:
    """Return the kind, the choices and whether None is allowed, for a type hint such as ``int | None``."""
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    members = typing.get_args(hint) if is_union else (hint,)
    optional = types.NoneType in members
    members = tuple(member for member in members if member is not types.NoneType)
    for member in members:
        if typing.get_origin(member) is Literal and all(isinstance(value, str) for value in typing.get_args(member)):
            return "str", typing.get_args(member), optional
        if isinstance(member, type) and issubclass(member, enum.Enum):
            return "str", tuple(str(value.value) for value in member), optional
    if any(member is dict or typing.get_origin(member) is dict for member in members):
        return "json", (), optional
    if any(typing.get_origin(member) is list and typing.get_origin(typing.get_args(member)[0]) is dict for member in members):
        return "records", (), optional
    # list[DebugOption] and the like take their members as one text, which is in the union as well.
    if any(typing.get_origin(member) is list and typing.get_args(member) == (str,) for member in members):
        return "list", (), optional
    scalars: tuple[tuple[type, Kind], ...] = ((str, "str"), (bool, "bool"), (float, "float"), (int, "int"))
    for scalar, kind in scalars:
        if scalar in members:
            return kind, (), optional
    return "str", (), optional


@dataclass(frozen=True)
class Given:
    """A flag that was given: its raw value, and how an error names the place (``--name`` or ``file:line: name``)."""

    value: Any
    where: str
