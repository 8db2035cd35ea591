"""The parts that two systems do not share: failed runs, absent tasks, other data; and the comparison with losses for them."""

from __future__ import annotations

from dataclasses import dataclass

from comparison.stats.effects import ALPHA


@dataclass(frozen=True)
class Sensitivity:
    """The comparison with failed runs and absent tasks counted as losses.

    Each loss is as large as the comparison's largest difference, at least the margin. Absent is a task that the other one has.

    Attributes:
        failed_a: runs of a that failed or are absent, summed over tasks.
        failed_b: the same of b.
        mean: mean difference over tasks then.
        mean_families: the same over families.
        p: step-down max-T by family then.
        shares: of a's runs and of b's that failed or are absent, over tasks.
        absent: those of both that are absent without a failure.
    """

    failed_a: int
    failed_b: int
    mean: float
    mean_families: float
    p: float
    shares: tuple[float, float]
    absent: int = 0

    @property
    def failed(self) -> bool:
        """True where a run failed, not only tasks are absent."""
        return self.failed_a + self.failed_b > self.absent

    def carries(self, difference: float) -> bool:
        """Return whether a difference a - b stands: the same one is better, and less than half of its runs failed."""
        return self.p <= ALPHA and self.mean_families * difference > 0 and self.shares[difference < 0] < 0.5


@dataclass(frozen=True)
class Failure:
    """What a system lacks in one category: runs that diverged, tasks out of memory, scores that are no number or absent.

    Attributes:
        runs: of the system.
        lost: those without a score on any task.
        cells: failed runs, summed over tasks.
        tasks: with a failed run.
        of: tasks of the category.
        everywhere: whether no score is left.
        absent: tasks without a score or a failure.
    """

    runs: int
    lost: int
    cells: int
    tasks: int
    of: int
    everywhere: bool
    absent: int = 0


@dataclass(frozen=True)
class SharedData:
    """How far the results of two systems are of the same tasks, data and items.

    Attributes:
        of: tasks of the category, of any system.
        unlike_revisions: common tasks whose results state different revisions of the data.
        unlike_items: common tasks with items of both, of which no comparison can be made.
    """

    of: int
    unlike_revisions: list[str]
    unlike_items: list[str]
