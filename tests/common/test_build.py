"""Dataclasses from files: what fits is built, what does not is named."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from common.build import build
from common.errors import UserError


@dataclass(frozen=True)
class Inner:
    size: int
    ratio: float = 1.0


@dataclass(frozen=True)
class Outer:
    name: str
    kind: Literal["a", "b"] = "a"
    inner: Inner | None = None
    ids: tuple[int, ...] = ()
    rows: list[list[float]] = field(default_factory=list)
    flags: dict[str, str | bool] = field(default_factory=dict)
    anything: Any = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name is empty")


def test_every_type_is_built() -> None:
    content = {
        "name": "x",
        "kind": "b",
        "inner": {"size": 3, "ratio": 2},
        "ids": [1, 2],
        "rows": [[1, 0.5]],
        "flags": {"a": True, "b": "yes"},
        "anything": [None],
    }
    expected = Outer("x", "b", Inner(3, 2.0), (1, 2), [[1.0, 0.5]], {"a": True, "b": "yes"}, [None])
    assert build(Outer, content, "file") == expected
    assert build(Outer, {"name": "x", "inner": None}, "file") == Outer("x")


DAMAGE: dict[str, tuple[Any, str]] = {
    "no object": ([1], "expected an object for Outer"),
    "unknown": ({"name": "x", "inn": 1}, "unknown key 'inn' .did you mean 'inner'.*the keys are name, kind"),
    "missing": ({"kind": "a"}, "'name' is missing"),
    "empty": ({"name": ""}, "name is empty"),
    "a number": ({"name": 3}, "name is 3, not a text"),
    "true": ({"name": "x", "inner": {"size": True}}, "inner: size is True, not a whole number"),
    "a fraction": ({"name": "x", "inner": {"size": 0.5}}, "size is 0.5, not a whole number"),
    "infinite": ({"name": "x", "inner": {"size": 1, "ratio": float("inf")}}, "ratio is inf, not a finite number"),
    "literal": ({"name": "x", "kind": "c"}, "kind is 'c', not one of 'a', 'b'"),
    "an item": ({"name": "x", "rows": [[1.0], ["z"]]}, r"rows\[1\]\[0\] is 'z'"),
    "a union": ({"name": "x", "flags": {"a": 3}}, r"flags.a is 3, not a text or true or false"),
    "no list": ({"name": "x", "ids": 7}, "ids is 7, not a list"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_misfit_is_named(case: str) -> None:
    content, message = DAMAGE[case]
    with pytest.raises(UserError, match=f"^file: .*{message}"):
        build(Outer, content, "file")
