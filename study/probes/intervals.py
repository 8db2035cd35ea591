"""95 % intervals over texts: a bootstrap for means of texts, a jackknife for figures of all pairs of texts.

A bootstrap draws texts twice. For a figure of pairs, such as uniformity, a text and its copy are a pair without distance, which
no corpus holds, so those figures have a jackknife over groups of texts instead (Efron and Tibshirani 1993, chapters 11, 13).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import stats

from study.probes.result import UNKNOWN, Estimate

DRAWS = 2000
GROUPS = 20  # of texts, one of which is left out at a time
LEVEL = 0.95
FEWEST = 10  # texts below which nothing is said
Statistic = Callable[[np.ndarray], float]


def bootstrap(values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], seed: int) -> list[Estimate]:
    """Return estimates with percentile intervals.

    Args:
        values: ``(texts, …)``; texts are drawn.
        statistic: of means over texts: takes ``(…)``, returns an array ``(figures,)``.
        seed: of the draws.

    Returns:
        One estimate a figure.
    """
    texts = len(values)
    whole = np.atleast_1d(statistic(values.mean(axis=0)))
    if texts < FEWEST:
        return [UNKNOWN] * len(whole)
    weights = np.random.default_rng(seed).multinomial(texts, np.full(texts, 1 / texts), size=DRAWS) / texts  # (draws, texts)
    means = np.tensordot(weights, values, axes=1)
    drawn = np.stack([np.atleast_1d(statistic(mean)) for mean in means])  # (draws, figures)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0, method="inverted_cdf")  # a figure may be infinite
    estimates = []
    for number, value in enumerate(whole):
        estimates.append(Estimate(float(value), float(low[number]), float(high[number])))
    return estimates


def means(values: np.ndarray, seed: int) -> list[Estimate]:
    """Return the mean over texts of each column of ``(texts, columns)``; all columns have the same draws."""
    return bootstrap(values, lambda mean: mean, seed)


def mean(values: np.ndarray, seed: int) -> Estimate:
    """Return the mean over texts of ``(texts,)``."""
    return means(values[:, None], seed)[0]


def share(values: np.ndarray) -> Estimate:
    """Return the mean of ``(texts,)`` numbers between 0 and 1 with Wilson's interval, which has a width at 0 and 1 too.

    >>> share(np.zeros(80)).shown()
    '0.000 [0.000, 0.046]'
    """
    texts = len(values)
    if texts < FEWEST:
        return UNKNOWN
    value = float(values.mean())
    quantile = float(stats.norm.ppf((1 + LEVEL) / 2))
    scale = 1 + quantile**2 / texts
    middle = (value + quantile**2 / (2 * texts)) / scale
    half = quantile * math.sqrt(value * (1 - value) / texts + quantile**2 / (4 * texts**2)) / scale
    return Estimate(value, min(max(middle - half, 0.0), value), max(min(middle + half, 1.0), value))


def of_best_column(values: np.ndarray, seed: int) -> tuple[Estimate, list[int]]:
    """Return the mean of the best of several columns, where each half of the texts chooses the column for the other half.

    The largest mean of many columns is too large, since some of it is luck of the texts that chose it.

    Args:
        values: ``(texts, columns)``.
        seed: of the halves and of the interval.

    Returns:
        The estimate, and the columns that were chosen, one or two.
    """
    texts = len(values)
    half = np.random.default_rng(seed).permutation(texts) % 2
    chosen = [int(np.argmax(values[half == side].mean(axis=0))) for side in (0, 1)]
    elsewhere = np.where(half == 0, chosen[1], chosen[0])
    return mean(values[np.arange(texts), elsewhere], seed), sorted(set(chosen))


def jackknife(statistic: Statistic, texts: int, seed: int) -> Estimate:
    """Return a figure of all texts with the interval of the grouped jackknife, Student's t over the groups.

    Args:
        statistic: takes the numbers of the texts that are in, returns the figure.
        texts: how many there are.
        seed: of the groups.
    """
    if texts < FEWEST:
        return UNKNOWN
    groups = min(GROUPS, texts)
    group = np.random.default_rng(seed).permutation(np.arange(texts) % groups)
    whole = statistic(np.arange(texts))
    pseudo = np.empty(groups)
    for number in range(groups):
        pseudo[number] = groups * whole - (groups - 1) * statistic(np.flatnonzero(group != number))
    error = float(pseudo.std(ddof=1)) / np.sqrt(groups)
    half = float(stats.t.ppf((1 + LEVEL) / 2, groups - 1)) * error
    return Estimate(whole, whole - half, whole + half)
