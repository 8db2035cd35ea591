"""What a study measured beside scores, as plain data: sentences, lines to plot, a table. Nothing of it enters a test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain


@dataclass(frozen=True)
class Curve:
    """A line of a plot.

    Attributes:
        system: whose it is; its colour is the same in all plots.
        name: which line of the system; empty where it has one.
        x: places on the horizontal axis.
        estimates: at each place a value, or a value with both ends of its interval.
        marked: number of a place that is marked, such as the chosen one; None for none.
    """

    system: str
    x: list[float]
    estimates: list[list[float]]
    name: str = ""
    marked: int | None = None

    def __post_init__(self) -> None:
        """Check the lengths.

        Raises:
            ValueError: as many places as estimates are needed, and one or three numbers an estimate, all finite, low first.
        """
        if len(self.x) != len(self.estimates):
            raise ValueError(f"x has {len(self.x)} places, estimates has {len(self.estimates)}")
        for number, estimate in enumerate(self.estimates):
            if len(estimate) not in (1, 3):
                raise ValueError(f"estimates[{number}]: expected [value] or [value, low, high], found {len(estimate)} numbers")
            if len(estimate) == 3 and estimate[1] > estimate[2]:
                raise ValueError(f"estimates[{number}]: low {estimate[1]} is above high {estimate[2]}")
        if not all(map(math.isfinite, chain(self.x, *self.estimates))):
            raise ValueError("x and estimates must be finite: leave the others out")
        if self.marked is not None and not 0 <= self.marked < len(self.x):
            raise ValueError(f"marked: there is no place {self.marked}")


@dataclass(frozen=True)
class Panel:
    """A part of a plot.

    Attributes:
        title: above it; may be empty.
        x_name: of the horizontal axis.
        y_name: of the vertical axis.
        curves: of all systems.
        logarithmic: whether the horizontal axis is, to the base of 2.
        ticks: names of the places 0, 1, … of the horizontal axis; empty where it is a number.
    """

    title: str
    x_name: str
    y_name: str
    curves: list[Curve]
    logarithmic: bool = False
    ticks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check the places of an axis that is logarithmic or named.

        Raises:
            ValueError: one is not positive, or has no name.
        """
        places = list(chain.from_iterable(curve.x for curve in self.curves))
        if self.logarithmic and min(places, default=1.0) <= 0:
            raise ValueError("logarithmic: all x must be positive")
        if self.ticks and not 0 <= min(places, default=0) <= max(places, default=0) <= len(self.ticks) - 1:
            raise ValueError(f"ticks: x must be within 0 and {len(self.ticks) - 1}, the places that have names")


@dataclass(frozen=True)
class Finding:
    """Something that was measured.

    Attributes:
        title: a heading's length.
        sentences: what it says and how it was measured.
        caption: of the plot.
        panels: of the plot, side by side; none for no plot.
        head: columns of the numbers.
        rows: the numbers, as texts.
    """

    title: str
    sentences: list[str] = field(default_factory=list)
    caption: str = ""
    panels: list[Panel] = field(default_factory=list)
    head: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check the table.

        Raises:
            ValueError: a row has more or fewer texts than there are columns.
        """
        check_rows(self.head, self.rows)


def check_rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Raise a ValueError where a row of a table has more or fewer texts than there are columns."""
    for number, row in enumerate(rows):
        if len(row) != len(head):
            raise ValueError(f"rows[{number}]: {len(row)} texts for {len(head)} columns")
