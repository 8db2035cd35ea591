"""The clock of the benchmarks, and ratios of two ways that run in turn."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

Run = Callable[[], object]


def clock() -> float:
    """Return seconds: of the processor with one thread, so that other programs do not count; else of the clock."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


@dataclass(frozen=True)
class Measured:
    """A ratio.

    Attributes:
        ratio: of the medians.
        error: standard error of the median of the rounds' ratios.
    """

    ratio: float
    error: float


def measure(sides: tuple[Run, Run], rounds: int) -> Measured:
    """Run both sides in turn, after one run of each that does not count."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for side, kept in zip(sides, seconds, strict=True):
            begin = clock()
            side()
            if number:
                kept.append(clock() - begin)
    return of_rounds(*seconds)


def of_rounds(others: Sequence[float], ours: Sequence[float]) -> Measured:
    """Return the ratio of the medians, with the error that the rounds' own ratios show."""
    ratios = [other / own for other, own in zip(others, ours, strict=True)]
    middle = statistics.median(ratios)
    scatter = 1.4826 * statistics.median(abs(ratio - middle) for ratio in ratios)  # a normal deviation from the median one
    return Measured(statistics.median(others) / statistics.median(ours), 1.2533 * scatter / math.sqrt(len(ratios)))
