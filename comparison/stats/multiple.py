"""Several comparisons at once: Holm, step-down max-T under joint sign flips, and groups that are not separated."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from comparison.stats.exact import TOLERANCE, sign_patterns

MOST_GROUPS = 60  # of systems that share a letter
MOST_AT_ONCE = 4_000_000  # statistics of patterns x comparisons held at once: 32 MB


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values in the order given; right for any dependence (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(values.size, 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, stepped)
    return list(map(float, adjusted))


def step_down_max_t(differences: np.ndarray, seed: int = 0) -> list[float]:
    """Return adjusted p-values of comparisons from joint sign flips of units.

    Westfall and Young 1993, Romano and Wolf 2005. The statistic of a comparison is |sum d| / sqrt(sum d²), whose denominator
    flips do not change; every flip has the same sign for a unit in all comparisons, which keeps their dependence.

    Args:
        differences: ``(comparisons, units)``; 0 where a comparison lacks a unit.
        seed: of the random patterns beyond `exact.ENUMERATED` units.
    """
    values = np.asarray(differences, dtype=np.float64)
    sizes = np.sqrt((values**2).sum(axis=1))
    scaled = np.divide(values, sizes[:, None], out=np.zeros_like(values), where=sizes[:, None] > 0)
    patterns = sign_patterns(values.shape[1], seed)
    observed = np.abs(patterns[:1] @ scaled.T)[0]  # of the identity
    order = np.argsort(-observed, kind="stable")
    counts = np.zeros(len(values), dtype=np.int64)
    rows = max(1, MOST_AT_ONCE // max(1, len(values)))
    for start in range(0, len(patterns), rows):  # in blocks: memory stays small for thousands of comparisons
        flipped = np.abs(patterns[start : start + rows] @ scaled[order[::-1]].T)  # (patterns, comparisons), the least first
        np.maximum.accumulate(flipped, axis=1, out=flipped)  # over this comparison and those below it
        counts += (flipped[:, ::-1] >= observed[order] - TOLERANCE).sum(axis=0)
    adjusted = np.empty(len(values))
    adjusted[order] = np.maximum.accumulate(counts / len(patterns))
    return list(map(float, adjusted))


def reachable(floors: Collection[float], alpha: float) -> int:
    """Return C, the tests that an adjustment over several must count (Tarone 1990): those whose floor reaches alpha / C."""
    smallest = np.asarray(list(floors), dtype=np.float64)
    for count in range(1, smallest.size + 1):
        if np.count_nonzero(smallest <= alpha / count) <= count:
            return count
    return smallest.size


def letters(names: Sequence[str], separated: Collection[frozenset[str]]) -> dict[str, str] | None:
    """Return a compact letter display: two names share a letter unless they are separated (Piepho 2004).

    It begins with one group of all names. Every separated pair splits the groups that hold both of its names into two,
    each without one of them; a group inside another one is dropped. What is left gets a letter each.

    Args:
        names: in the order in which letters are given out, best first.
        separated: pairs of names.

    Returns:
        None above `MOST_GROUPS` groups, which nobody reads; their number can grow exponentially with that of the names.

    >>> letters(["best", "middle", "worst"], [frozenset(("best", "worst"))])
    {'best': 'a', 'middle': 'ab', 'worst': 'b'}
    """
    groups: list[set[str]] = [set(names)]
    for pair in separated:
        groups = _split(groups, pair)
        if len(groups) > MOST_GROUPS:
            return None
    places = {name: number for number, name in enumerate(names)}
    groups.sort(key=lambda group: sorted(places[name] for name in group))
    shown = dict.fromkeys(names, "")
    for number, group in enumerate(groups):
        for name in group:
            shown[name] += _letter(number)
    return shown


def _split(groups: list[set[str]], pair: frozenset[str]) -> list[set[str]]:
    """Return groups of which none holds both names of a pair, and none lies inside another one."""
    first, second = sorted(pair)
    for group in list(groups):
        if not pair <= group:
            continue
        groups.remove(group)
        for part in (group - {first}, group - {second}):
            if not any(part <= other for other in groups):
                groups = [other for other in groups if not other < part] + [part]
    return groups


def _letter(number: int) -> str:
    if number < 26:
        return chr(ord("a") + number)
    return f"({number + 1})"
