"""The result of a probe: figures and curves with intervals, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval over texts; not finite where it cannot be said."""

    value: float
    low: float
    high: float

    def shown(self, digits: int = 3) -> str:
        """Return it as text.

        >>> Estimate(0.5, 0.41, 0.6).shown()
        '0.500 [0.410, 0.600]'
        """
        if not math.isfinite(self.value):
            return "–"
        return f"{self.value:.{digits}f} [{end(self.low, digits)}, {end(self.high, digits)}]"

    def to_json(self) -> list[float | None]:
        """Return value, low and high; null for what is not finite."""
        numbers: list[float | None] = []
        for number in (self.value, self.low, self.high):
            numbers.append(round(number, 6) if math.isfinite(number) else None)
        return numbers


def end(number: float, digits: int) -> str:
    """Return an end of an interval as text.

    >>> end(0.25, 2), end(math.inf, 2), end(math.nan, 2)
    ('0.25', '∞', '–')
    """
    if math.isnan(number):
        return "–"
    return f"{number:.{digits}f}" if math.isfinite(number) else "∞"


UNKNOWN = Estimate(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Figure:
    """A number of a probe.

    Attributes:
        name: in tables.
        estimate: the number.
        note: stands behind it, such as ``not reached``; empty for none.
    """

    name: str
    estimate: Estimate
    note: str = ""

    def shown(self) -> str:
        """Return it as text."""
        if not math.isfinite(self.estimate.value):
            return self.note or "–"
        return f"{self.estimate.shown()} {self.note}".rstrip()


@dataclass(frozen=True)
class Curve:
    """A line of a plot: an estimate at each place of the horizontal axis."""

    name: str
    x: tuple[float, ...]
    estimates: tuple[Estimate, ...]


@dataclass(frozen=True)
class Panel:
    """A part of a plot.

    Attributes:
        title: above it.
        x_name: of the horizontal axis.
        y_name: of the vertical one.
        curves: of one model.
        logarithmic: whether the horizontal axis is.
    """

    title: str
    x_name: str
    y_name: str
    curves: tuple[Curve, ...]
    logarithmic: bool = False


@dataclass
class Cost:
    """Texts and tokens that were encoded, the tokens of the longest text, and the seconds that it took."""

    texts: int = 0
    tokens: int = 0
    longest: int = 0
    seconds: float = 0.0

    def shown(self) -> str:
        """Return it as text."""
        rate = self.texts / max(self.seconds, 1e-9)
        return f"{self.texts:,} texts, {self.tokens:,} tokens, {self.seconds:.1f} s ({rate:,.1f} texts/s)"


@dataclass(frozen=True)
class ProbeResult:
    """What a probe says of a model.

    Attributes:
        texts: over how many texts the intervals are.
        figures: for the table.
        panels: for the plot.
        notes: what was left out, and why.
        matrices: tables of numbers for the file alone, by name.
    """

    texts: int
    figures: Sequence[Figure]
    panels: Sequence[Panel]
    notes: Sequence[str] = ()
    matrices: dict[str, list[list[float]]] = field(default_factory=dict)

    def to_json(self, cost: Cost) -> dict[str, Any]:
        """Return it as the file has it: estimates are ``[value, low, high]``."""
        figures = []
        for figure in self.figures:
            figures.append({"name": figure.name, "estimate": figure.estimate.to_json(), "note": figure.note})
        return {
            "texts": self.texts,
            "figures": figures,
            "panels": [panel_as_json(panel) for panel in self.panels],
            "notes": list(self.notes),
            "matrices": self.matrices,
            "cost": asdict(cost) | {"seconds": round(cost.seconds, 2)},
        }


@dataclass(frozen=True)
class Outcome:
    """The result of one probe on one model."""

    model: str
    probe: str
    result: ProbeResult | None
    failure: str
    cost: Cost


def panel_as_json(panel: Panel) -> dict[str, Any]:
    """Return a panel as the file has it."""
    curves = []
    for curve in panel.curves:
        estimates = [estimate.to_json() for estimate in curve.estimates]
        curves.append({"name": curve.name, "x": list(curve.x), "estimates": estimates})
    return {"title": panel.title, "x": panel.x_name, "y": panel.y_name, "curves": curves}
