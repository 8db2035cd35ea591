"""The best evaluation of a run, and the end of its patience: both read from the run's log, which each checkpoint holds.

Nothing else is kept, so a run that goes on from a checkpoint knows what it knew there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.errors import UserError, nearest

PREFIX = "eval_"
MEAN, LOSS, ACCURACY, SECONDS = "mean", "loss", "accuracy", "seconds"
OWN_NAMES = (MEAN, LOSS, ACCURACY, SECONDS)  # of the figures of an evaluation beside the tasks'
Log = Sequence[Mapping[str, Any]]  # `log_history` of transformers' TrainerState


@dataclass(frozen=True)
class Evaluated:
    """An evaluation: its step, and the figure that is chosen by."""

    step: int
    value: float


@dataclass(frozen=True)
class Selection:
    """The rule by which evaluations are compared.

    Attributes:
        metric: ``mean``, ``loss``, ``accuracy`` or the name of a task.
        tasks: names of the tasks that ``mean`` is the mean of.
        load_best: whether the best checkpoint becomes the run's adapter.
        patience: evaluations in a row without a better one that end the run; None for no end.
        threshold: by which a better one is better, for the patience.
    """

    metric: str
    tasks: tuple[str, ...] = ()
    load_best: bool = False
    patience: int | None = None
    threshold: float = 0.0

    def history(self, log: Log) -> list[Evaluated]:
        """Return the evaluations of trained weights that have the figure, in their order.

        An evaluation before the first step is none. The mean is taken anew from the tasks' scores, so that one over other
        tasks, which an earlier start of the run may have had, is never compared.
        """
        values: dict[int, float] = {}
        for line in log:
            value = self._value(line)
            if value is not None and line["step"] > 0:
                values[line["step"]] = value
        return [Evaluated(step, value) for step, value in values.items()]

    def _value(self, line: Mapping[str, Any]) -> float | None:
        """Return the figure of a line of the log, None where it has none that is a finite number."""
        if self.metric == MEAN:
            scores = [line.get(PREFIX + task) for task in self.tasks]
            known = [score for score in scores if score is not None]
            value = math.fsum(known) / len(known) if known and len(known) == len(scores) else None
        else:
            value = line.get(PREFIX + self.metric)
        return value if value is not None and math.isfinite(value) else None

    def gain(self, value: float, before: float) -> float:
        """Return by how much a value is better than another one; below 0 where it is worse."""
        return before - value if self.metric == LOSS else value - before

    def ranked(self, log: Log) -> list[Evaluated]:
        """Return the evaluations, the best first; of equal ones the earliest."""
        return sorted(self.history(log), key=lambda entry: (-self.gain(entry.value, 0.0), entry.step))

    def kept_step(self, log: Log) -> int | None:
        """Return the step whose checkpoint must stay, None for none."""
        ranked = self.ranked(log)
        return ranked[0].step if self.load_best and ranked else None

    def waited(self, log: Log) -> int:
        """Return the number of evaluations since the last one that was better by more than the threshold."""
        waited, best = 0, None
        for entry in self.history(log):
            if best is None or self.gain(entry.value, best) > self.threshold:
                best, waited = entry.value, 0
            else:
                waited += 1
        return waited

    def is_over(self, log: Log) -> bool:
        """Whether the patience has ended."""
        return self.patience is not None and self.waited(log) >= self.patience

    def __str__(self) -> str:
        parts = [f"by {PREFIX}{self.metric}"]
        if self.load_best:
            parts.append("the best checkpoint is the run's adapter")
        if self.patience is not None:
            parts.append(f"the run ends after {self.patience} evaluations without a better one")
        return ", ".join(parts)


def metric_named(name: str | None, tasks: Sequence[str], *, has_loss: bool) -> str:
    """Return the figure that a run is chosen by.

    Args:
        name: ``--metric_for_best_model``, with or without ``eval_`` before it; None for the default.
        tasks: names of the tasks that are scored.
        has_loss: whether a loss is evaluated.

    Raises:
        UserError: no evaluation of this run has it.
    """
    known = [*((MEAN,) if tasks else ()), *tasks, *((LOSS, ACCURACY) if has_loss else ())]
    if name is None:
        return known[0] if tasks else LOSS
    plain = name if name in known else name.removeprefix(PREFIX)
    if plain not in known:
        hint = nearest(plain, known)
        raise UserError(
            f"--metric_for_best_model {name}: the evaluations of this run have no such figure{hint}; they have "
            f"{', '.join(known)}"
        )
    return plain
