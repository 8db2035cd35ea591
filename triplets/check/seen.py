"""How often each row has been seen after some steps of a run: the plan of batches is a function, so it can be asked."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from common.errors import UserError
from triplets.batch_plan import BatchPlan
from triplets.dataset import TripletRows

_MOMENT = re.compile(r"(\d+(?:\.\d+)?) ?(epochs?|e|steps?|)")


def steps_of(moment: str, plan: BatchPlan, accumulation: int) -> int:
    """Return the optimizer steps that ``--seen_after`` means: ``500``, ``500steps``, ``2epochs``, ``0.5epochs``."""
    match = _MOMENT.fullmatch(moment.strip().lower())
    if match is None or (not match[2].startswith("e") and not match[1].isdigit()):
        raise UserError(f"--seen_after {moment}: expected a number of steps such as 500, or of epochs such as 2epochs")
    if not match[2].startswith("e"):
        return int(match[1])
    return math.ceil(float(match[1]) * steps_an_epoch(plan, accumulation))


def steps_an_epoch(plan: BatchPlan, accumulation: int) -> int:
    """Return the optimizer steps of an epoch; the last one may have fewer batches."""
    return -(-len(plan) // accumulation)


def seen(plan: BatchPlan, steps: int, accumulation: int) -> np.ndarray:
    """Return int64 ``(rows,)``: how often each row was in a batch of the first ``steps`` optimizer steps."""
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


def seen_by_data_set(counts: np.ndarray, rows: TripletRows) -> list[dict[str, Any]]:
    """Return of each data set how many queries it gave, its share of all, and how many rows were seen how often."""
    total, result = int(counts.sum()), []
    for number, part in enumerate(rows.parts):
        own = counts[rows.starts[number] : rows.starts[number + 1]]
        times, how_many = np.unique(own, return_counts=True)
        histogram = {str(time): int(count) for time, count in zip(times, how_many, strict=True)}
        result.append({"label": part.label, "queries": int(own.sum()), "share": int(own.sum()) / total if total else 0.0,
                       "rows seen so often": histogram})  # fmt: skip
    return result


def declared(data_sets: Sequence[Any], rows: TripletRows) -> list[float]:
    """Return the share of an epoch that each data set was declared to have, before it was rounded to whole rows."""
    if any(one.weight is not None for one in data_sets):
        parts = [float(one.weight) for one in data_sets]
    else:
        parts = [len(part) * float(one.repeat) for one, part in zip(data_sets, rows.parts, strict=True)]
    return [part / sum(parts) for part in parts]
