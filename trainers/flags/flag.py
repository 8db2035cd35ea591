"""One flag: its type, read from a dataclass field, and the conversion of values from the command line or a YAML file."""

from __future__ import annotations

import dataclasses
import enum
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from common.errors import UserError

Kind = Literal["bool", "int", "float", "str", "list", "json", "records"]

TRUE = ("true", "yes", "on", "1")
FALSE = ("false", "no", "off", "0")
EXPECTED: dict[Kind, str] = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a finite number",
    "str": "a text",
    "records": "a path, or a list of entries",
}
SCALARS: dict[type, Kind] = {str: "str", bool: "bool", float: "float", int: "int"}  # the first of a union's members counts


@dataclass(frozen=True)
class FlagValue:
    """A value before conversion, and its place as an error names it (``--name`` or ``file:line: name``)."""

    value: Any
    where: str


@dataclass(frozen=True)
class FlagType:
    """The type of a flag.

    Attributes:
        kind: what a value is converted to; ``list`` collapses to a text when it has one element, ``records``
            is a path or a list of mappings.
        choices: the valid values; empty for any.
        optional: whether ``none`` (YAML: ``null``) is a value.
        words: texts that are values too, beside those of the kind.
        element: the kind of a list's elements; a list of numbers never collapses.
    """

    kind: Kind
    choices: tuple[str, ...] = ()
    optional: bool = False
    words: tuple[str, ...] = ()
    element: Kind = "str"


@dataclass(frozen=True)
class Flag:
    """One flag, read from a dataclass field.

    Attributes:
        name: the field's name; the flag is ``--name``.
        type: of its values.
        default: the field's default.
        help: the help text.
    """

    name: str
    type: FlagType
    default: Any
    help: str

    @property
    def kind(self) -> Kind:
        """The kind of its values."""
        return self.type.kind

    @property
    def choices(self) -> tuple[str, ...]:
        """The valid values; empty for any."""
        return self.type.choices

    def convert(self, value: object, where: str) -> Any:
        """Return ``value`` in the flag's type.

        Args:
            value: a text or a list of texts from the command line, or a value of a YAML file.
            where: the place as an error names it: ``--name``, or ``file:line: name``.

        Raises:
            UserError: it is not of that type, or none of the choices.
        """
        if value is None or self._spells_none(value):
            if not self.type.optional:
                raise UserError(f"{where} needs a value")
            return None
        if str(value) in self.type.words:
            return str(value)
        if self.kind == "records" and not isinstance(value, Mapping):
            return value if isinstance(value, list) else str(value)
        if self.kind == "json":
            return value if isinstance(value, Mapping) else str(value)
        if self.kind == "list" and self.type.element != "str":
            given = value if isinstance(value, list) else [value]
            words = " ".join(str(part) for part in given).replace(",", " ").split()
            return [self._scalar(word, where, self.type.element) for word in words]
        if self.kind == "list":
            texts = [str(part) for part in value] if isinstance(value, list) else [str(value)]
            return texts[0] if len(texts) == 1 else texts
        if isinstance(value, list | Mapping):
            raise UserError(f"{where}: expected {EXPECTED[self.kind]}, got {value!r}")
        converted = self._scalar(value, where, self.kind)
        if self.choices and converted not in self.choices:
            raise UserError(f"{where}: {value!r} is none of {', '.join(self.choices)}")
        return converted

    def _spells_none(self, value: object) -> bool:
        """Whether a text means None; for a flag that takes texts it is a text like any other."""
        return self.type.optional and self.kind in ("bool", "int", "float") and str(value).lower() in ("none", "null")

    def _scalar(self, value: object, where: str, kind: Kind) -> Any:
        text = str(value).strip()
        try:
            if kind == "bool":
                return (TRUE + FALSE).index(text.lower()) < len(TRUE)
            if kind == "int":
                return int(text)
            if kind == "float":
                number = float(text)
                if not math.isfinite(number):
                    raise ValueError
                return number
        except ValueError:
            raise UserError(f"{where}: expected {EXPECTED[kind]}, got {value!r}") from None
        return str(value)


def option(default: object, text: str) -> Any:
    """Return a dataclass field for one flag, with its default and its help text."""
    return dataclasses.field(default=default, metadata={"help": text})


def flags_of(*groups: type) -> dict[str, Flag]:
    """Return the flags of dataclasses by name, in their order: every field that ``__init__`` takes."""
    flags = {}
    for group in groups:
        hints = typing.get_type_hints(group)
        for field in dataclasses.fields(group):
            if not field.init:
                continue
            kind = _type_of(hints[field.name])
            if field.metadata.get("choices"):
                kind = dataclasses.replace(kind, choices=tuple(field.metadata["choices"]))
            default = field.default
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            flags[field.name] = Flag(field.name, kind, default, str(field.metadata.get("help", "")))
    return flags


def _type_of(hint: object) -> FlagType:
    """Return the flag type of a type hint such as ``int | None``."""
    members = (hint,)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = typing.get_args(hint)
    optional = types.NoneType in members
    origins = {typing.get_origin(member) or member for member in members}
    for member in members:
        if choices := _choices(member):
            if typing.get_origin(member) is Literal and int in members:
                return FlagType("int", (), optional, choices)
            return FlagType("str", choices, optional)
    if dict in origins:
        return FlagType("json", optional=optional)
    for member in members:
        if typing.get_origin(member) is not list:
            continue
        (element,) = typing.get_args(member)
        if typing.get_origin(element) is dict:
            return FlagType("records", optional=optional)
        # list[DebugOption] and the like take their members as one text, which is in the union as well.
        if element in (str, int, float):
            return FlagType("list", optional=optional, element=SCALARS[element])
    for scalar, kind in SCALARS.items():
        if scalar in members:
            return FlagType(kind, optional=optional)
    return FlagType("str", optional=optional)


def _choices(hint: object) -> tuple[str, ...]:
    """Return the values of a Literal of texts or of an enum; empty for any other type."""
    if typing.get_origin(hint) is Literal:
        values = typing.get_args(hint)
        return values if all(isinstance(value, str) for value in values) else ()
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return tuple(str(member.value) for member in hint)
    return ()
