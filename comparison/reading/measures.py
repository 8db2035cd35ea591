"""Compare a measure with the same measure: find the metric that is the main score in everybody's file, and leave out the rest.

A main score is a number without a name. mteb's files have it beside the metrics, of which one equals it; which one may change
between versions of mteb.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from common.number_check import finite
from comparison.reading.systems import Score

OF_ITEMS = ("cosine_spearman", "cosine_ap", "accuracy", "v_measure")  # statistics that are recomputed from items
OLD_NAMES = (("cos_sim_", "cosine_"),)  # before mteb 1.13


def named(metric: str) -> str:
    """Return a metric's present name."""
    for old, new in OLD_NAMES:
        if metric.startswith(old):
            return new + metric.removeprefix(old)
    return metric


def equal_to_main(row: Mapping[str, object]) -> frozenset[str]:
    """Return the metrics of a row of a result file that equal its main score."""
    main = finite(row.get("main_score"))
    if math.isnan(main):
        return frozenset()
    equal = {named(name) for name, value in row.items() if name != "main_score" and value == main}
    return frozenset(equal - {"hf_subset", "languages"})


def metrics_of_items(row: Mapping[str, object]) -> dict[str, float]:
    """Return a row's values of the metrics that items give."""
    values = {}
    for name, value in row.items():
        if named(name) in OF_ITEMS and isinstance(value, int | float):
            values[named(name)] = finite(value)
    return values


def common_measure(results: Iterable[Score], cells: Iterable[tuple[str, str]]) -> str | None:
    """Return the metric that the most results have as their main score; None where all agree on one, or none says.

    Of metrics that equally many have, the first by name.
    """
    compared = list(cells)
    stated = [measures for measures in (score.measures(compared) for score in results) if measures]
    if not stated or frozenset.intersection(*stated):
        return None
    counts: Counter[str] = Counter()
    for measures in stated:
        counts.update(measures)
    return min(counts, key=lambda name: (-counts[name], name))


def other_measure(score: Score, cells: Iterable[tuple[str, str]], measure: str | None) -> str:
    """Return why a result is not compared: that its main score is another metric; empty where it is not."""
    measures = score.measures(list(cells))
    if measure is None or not measures or measure in measures:
        return ""
    return f"its main score is {' = '.join(sorted(measures)[:3])}; compared is {measure}"


def unstated(results: Sequence[Score], cells: Iterable[tuple[str, str]]) -> int:
    """Return how many results do not say which metric their main score is."""
    compared = list(cells)
    return sum(not score.measures(compared) for score in results)
