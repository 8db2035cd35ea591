"""Exposure of the training rows: how often each was in a batch after some steps, computed from the plan of batches."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from common.errors import UserError
from triplets.batch_plan import BatchPlan
from triplets.data_sets import DataSet
from triplets.dataset import TripletRows

_MOMENT = re.compile(r"(\d+(?:\.\d+)?) ?(epochs?|e|steps?|)")


def steps_of(moment: str, plan: BatchPlan, accumulation: int) -> int:
    """Return the optimizer steps of ``--seen_after``: ``500``, ``500steps``, ``2epochs``, ``0.5epochs``."""
    match = _MOMENT.fullmatch(moment.strip().lower())
    if match is None or (not match[2].startswith("e") and not match[1].isdigit()):
        raise UserError(f"--seen_after {moment}: expected a number of steps such as 500, or of epochs such as 2epochs")
    if not match[2].startswith("e"):
        return int(match[1])
    return math.ceil(float(match[1]) * steps_an_epoch(plan, accumulation))


def steps_an_epoch(plan: BatchPlan, accumulation: int) -> int:
    """Return the optimizer steps of an epoch; the last one may have fewer batches."""
    return -(-len(plan) // accumulation)


def times_seen(plan: BatchPlan, steps: int, accumulation: int) -> np.ndarray:
    """Return int64 ``(rows,)``: number of batches with each row in the first ``steps`` optimizer steps."""
    counts = np.zeros(sum(share.rows for share in plan.shares), dtype=np.int64)
    epochs, rest = divmod(steps, steps_an_epoch(plan, accumulation))
    for epoch in range(epochs):
        counts += np.bincount(plan.order(epoch).rows, minlength=len(counts))
    if rest:
        order = plan.order(epochs)
        batches = min(rest * accumulation, len(plan))
        for start, end in zip(order.starts[:batches], order.ends[:batches], strict=True):
            np.add.at(counts, order.rows[start:end], 1)
    return counts


# The key of the histogram is part of the JSON report: number of times, and rows that were seen that often.
DataSetExposure = TypedDict(
    "DataSetExposure", {"label": str, "queries": int, "share": float, "rows seen so often": dict[str, int]}
)


def times_seen_by_data_set(counts: np.ndarray, rows: TripletRows) -> list[DataSetExposure]:
    """Return for each data set its queries, their share of all, and the histogram of how often its rows were seen."""
    total, result = int(counts.sum()), []
    for number, part in enumerate(rows.parts):
        own = counts[rows.starts[number] : rows.starts[number + 1]]
        queries = int(own.sum())
        times, row_counts = np.unique(own, return_counts=True)
        histogram = {str(time): int(count) for time, count in zip(times, row_counts, strict=True)}
        exposure: DataSetExposure = {
            "label": part.label,
            "queries": queries,
            "share": queries / max(1, total),
            "rows seen so often": histogram,
        }
        result.append(exposure)
    return result


def declared_shares(data_sets: Sequence[DataSet], rows: TripletRows) -> list[float]:
    """Return the share of an epoch that each data set was declared to have, before it was rounded to whole rows."""
    sizes = []
    for data_set, part in zip(data_sets, rows.parts, strict=True):
        if data_set.weight is not None:  # then every data set has one
            sizes.append(float(data_set.weight))
        else:
            sizes.append(len(part) * float(data_set.repeat or 1.0))
    return [size / sum(sizes) for size in sizes]
