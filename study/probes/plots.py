"""One plot a probe: a part for each panel, a colour for each model, a band for the interval."""

from __future__ import annotations

import math
from collections.abc import Mapping

from comparison import findings
from comparison.report.plots.drawing import series_of
from comparison.report.plots.lines import UNTRAINED, draw_panels
from study.probes.result import Curve, ProbeResult


def draw(results: Mapping[str, ProbeResult]) -> tuple[str, bytes]:
    """Draw a probe of several models; returns SVG and PNG."""
    trained = list(dict.fromkeys(model.removesuffix(UNTRAINED) for model in results))
    return draw_panels(panels_of(results), series_of(trained))


def panels_of(results: Mapping[str, ProbeResult]) -> list[findings.Panel]:
    """Return the panels of all models, those of one title together; estimates that are not finite are left out."""
    panels: dict[str, findings.Panel] = {}
    for model, result in results.items():
        for panel in result.panels:
            empty = findings.Panel(panel.title, panel.x_name, panel.y_name, [], panel.logarithmic)
            together = panels.setdefault(panel.title, empty)
            together.curves.extend(curve_of(model, curve) for curve in panel.curves)
    return list(panels.values())


def curve_of(model: str, curve: Curve) -> findings.Curve:
    """Return a model's line."""
    places, estimates = [], []
    for x, estimate in zip(curve.x, curve.estimates, strict=True):
        numbers = [estimate.value, estimate.low, estimate.high]
        if all(map(math.isfinite, numbers)):
            places.append(x)
            estimates.append(numbers)
    return findings.Curve(model, places, estimates, curve.name)
