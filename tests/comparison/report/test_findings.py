"""What a study measured beside scores: lines and tables, systems under their names in the comparison."""

from __future__ import annotations

import pytest

from comparison.findings import Curve, Finding, Panel
from comparison.report.plots.drawing import SERIES, Series, style
from comparison.report.plots.lines import MOST_TOGETHER, draw_finding, looks_of, parted


def panel(*systems: str) -> Panel:
    return Panel(
        "margin", "fillers", "cosine", [Curve(system, [0.0, 1.0], [[0.5, 0.4, 0.6], [0.2, 0.1, 0.3]]) for system in systems]
    )


def test_a_system_has_its_colour_and_its_untrained_brother_the_same() -> None:
    looks = looks_of(["b", "b, untrained", "new"], {"a": Series(0), "b": Series(1)})
    assert looks["b"] == looks["b, untrained"] == Series(1)
    assert looks["new"] == Series(2)
    with style():
        plot = draw_finding(Finding("Dilution", panels=[panel("b", "b, untrained")]), "stem", {"a": Series(0), "b": Series(1)})
    assert plot is not None
    assert SERIES[1] in plot.svg and SERIES[0] not in plot.svg
    assert "stroke-dasharray" in plot.svg and "untrained" in plot.svg


def test_a_panel_with_too_many_lines_is_parted_by_their_names() -> None:
    """Fewer stay together; lines keep their values; names that would need more dashes than there are part all panels."""

    def of_names(systems: int, *names: str) -> Panel:
        curves = [Curve(f"s{number}", [0.0, 1.0], [[0.5], [0.1 * number]], name) for number in range(systems) for name in names]
        return Panel("States", "layer", "rank", curves)

    few = of_names(2, "mean", "last")
    assert parted([few]) == [few]
    many = of_names(MOST_TOGETHER, "mean", "last")
    mean, last = parted([many])
    assert (mean.title, last.title) == ("States: mean", "States: last")
    assert mean.curves == last.curves == [Curve(f"s{n}", [0.0, 1.0], [[0.5], [0.1 * n]]) for n in range(MOST_TOGETHER)]
    assert parted([of_names(MOST_TOGETHER + 1, "mean")]) == [of_names(MOST_TOGETHER + 1, "mean")]  # nothing to part by
    assert len(parted([few, of_names(1, "a", "b", "c")])) == 5  # five names, four dashes


def test_a_finding_without_lines_has_no_plot() -> None:
    assert draw_finding(Finding("A table", head=["system"], rows=[["a"]]), "stem", {}) is None
    assert draw_finding(Finding("Nothing", panels=[panel()]), "stem", {}) is None


@pytest.mark.parametrize(
    ("x", "estimates", "message"),
    [
        ([0.0], [], "1 places"),
        ([0.0], [[0.1, 0.2]], "found 2 numbers"),
        ([0.0], [[float("nan")]], "must be finite"),
    ],
)
def test_lines_that_cannot_be_drawn(x: list[float], estimates: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Curve("a", x, estimates)


def test_marks_and_places_that_are_not_there() -> None:
    with pytest.raises(ValueError, match="no place 2"):
        Curve("a", [0.0], [[0.5]], marked=2)
    with pytest.raises(ValueError, match="positive"):
        Panel("", "x", "y", [Curve("a", [0.0], [[0.5]])], logarithmic=True)
    with pytest.raises(ValueError, match="is above high"):
        Curve("a", [0.0], [[0.5, 0.9, 0.1]])
    with pytest.raises(ValueError, match="x must be within 0 and 1"):
        Panel("", "x", "y", [Curve("a", [2.0], [[0.5]])], ticks=["low", "high"])
    with pytest.raises(ValueError, match="1 texts for 2 columns"):
        Finding("A table", head=["a", "b"], rows=[["1"]])
