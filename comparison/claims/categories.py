"""Make a category: its scores, its contrasts with the three claims, its failures, ranks and variances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from scipy import stats

from comparison.claims.item_evidence import compare_items
from comparison.claims.outcome import ALPHA, Category, Contrast, Failure, Ranks, Sensitivity, SharedData
from comparison.claims.pairs import Pair, mean_score
from comparison.claims.relations import withhold
from comparison.claims.runs import difference_parts, trained_runs
from comparison.claims.three_claims import another_run, as_published, other_tasks, these_tasks
from comparison.disagreements.items import furthest
from comparison.reading.families import Families
from comparison.reading.table import Table
from comparison.stats.effects import describe_all
from comparison.stats.second_opinions import SecondOpinion, second_opinion
from comparison.stats.seeds import Variances, variance_parts

MOST_OPINIONS = 500  # comparisons of a category


@dataclass(frozen=True)
class CategoryMaker:
    """Makes the categories of a table; marks and p-values over the whole table are set later.

    Attributes:
        table: the scores.
        families: the map of tasks.
        margin: differences within it count as none.
        seed: of everything random.
        notes: gets sentences on items that were not used.
    """

    table: Table
    families: Families
    margin: float
    seed: int
    notes: list[str]

    def make(self, name: str, every: Sequence[Pair], losses: Sequence[Sensitivity | None]) -> Category:
        """Compare the pairs of a category that have common tasks.

        Args:
            name: of the category.
            every: pair of systems.
            losses: the result of each pair with failed runs counted as losses.
        """
        tasks = self.table.categories[name]
        pairs, losses_of_pairs, skipped = [], [], []
        for pair, loss in zip(every, losses, strict=True):
            if pair.differences:
                pairs.append(pair)
                losses_of_pairs.append(loss)
            else:
                skipped.append((pair.a, pair.b))
        scores = _mean_scores(self.table, tasks)
        complete: dict[str, dict[str, float]] = {}
        means: dict[str, float | None] = dict.fromkeys(scores)
        for system, by_task in scores.items():
            if len(by_task) == len(tasks):
                complete[system] = by_task
                means[system] = float(np.mean(list(by_task.values())))
        return Category(
            name=name,
            tasks=list(tasks),
            families=self.families.group(tasks),
            scores=scores,
            means=means,
            contrasts=self._contrasts(tasks, pairs, losses_of_pairs),
            skipped=skipped,
            failures=_failures(self.table, tasks),
            groups=None,
            ranks=rank_systems(complete),
            variances=_variances(self.table, tasks),
        )

    def _contrasts(self, tasks: Sequence[str], pairs: Sequence[Pair], losses: Sequence[Sensitivity | None]) -> list[Contrast]:
        """Make the contrasts of a category, which are one family of tests."""
        if not pairs:
            return []
        others = other_tasks(pairs, self.families.group(tasks), self.margin, self.seed)
        others = withhold(others, pairs, self.families, tasks, self.seed)
        runs = another_run(self.table, pairs, others, self.margin)
        evidence = compare_items(self.table, pairs, self.seed, self.notes)
        these = these_tasks([of_pair.within for of_pair in evidence], [run.noisy_runs for run in runs])
        by_task, by_family = describe_all([pair.values for pair in pairs]), describe_all([pair.of_families for pair in pairs])
        published = as_published(pairs, by_task, tasks, self.seed)
        seconds = self._second_opinions(pairs)
        contrasts = []
        for number, pair in enumerate(pairs):
            contrast = Contrast(
                a=pair.a,
                b=pair.b,
                differences=pair.differences,
                missing=pair.missing,
                families=pair.families,
                by_task=by_task[number],
                by_family=by_family[number],
                these_tasks=these[number],
                other_tasks=others[number],
                another_run=runs[number],
                as_published=published[number],
                sensitivity=losses[number],
                mark="",
                checkpoint=runs[number].p is None and min(runs[number].runs) == 1,
                second=seconds[number],
                data=_shared_data(self.table, pair, tasks, evidence[number].unlike),
                apart=furthest(evidence[number].apart),
            )
            contrasts.append(contrast)
        return contrasts

    def _second_opinions(self, pairs: Sequence[Pair]) -> list[SecondOpinion | None]:
        """Return the second opinion on each comparison, with the noise of runs where that is known; none in a large table."""
        opinions: list[SecondOpinion | None] = [None] * len(pairs)
        if len(pairs) > MOST_OPINIONS:
            return opinions
        runs_of = cache(partial(trained_runs, self.table))
        for number, pair in enumerate(pairs):
            families = tuple(map(tuple, pair.families))
            runs = {system: runs_of(system, families) for system in pair.sides.systems}
            opinions[number] = second_opinion(pair.by_family, self.margin, difference_parts(pair.sides, runs))
        return opinions


def _shared_data(table: Table, pair: Pair, tasks: Sequence[str], unlike_items: Sequence[str]) -> SharedData:
    """Return how far a pair's results are of the same tasks, data and items."""
    unlike = []
    if table.files:
        unlike = [task for task in pair.differences if not table.one_revision(pair.sides.systems, task)]
    return SharedData(len(tasks), unlike, list(unlike_items))


def _mean_scores(table: Table, tasks: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return system -> task -> mean score over runs, where there is one."""
    scores: dict[str, dict[str, float]] = {}
    for system in table.systems:
        scores[system] = {}
        for task in tasks:
            if (system, task) in table.scores:
                scores[system][task] = mean_score(table, system, task)
    return scores


def rank_systems(scores: Mapping[str, Mapping[str, float]]) -> Ranks | None:
    """Return Friedman's test and mean ranks of systems with the same tasks.

    The critical difference is Nemenyi's, q sqrt(k (k + 1) / (6 n)) for k systems and n tasks, with q the quantile of the
    studentized range over sqrt(2) (Demsar 2006).

    Returns:
        None below three systems or two tasks, or where all systems are equal.
    """
    values = np.array([list(by_task.values()) for by_task in scores.values()])  # (systems, tasks)
    if len(scores) < 3 or values.shape[1] < 2 or (values == values[0]).all():
        return None
    count, tasks = values.shape
    mean_ranks = stats.rankdata(-values, axis=0).mean(axis=1)
    friedman = stats.friedmanchisquare(*values)
    quantile = stats.studentized_range.ppf(1 - ALPHA, count, np.inf) / np.sqrt(2)
    critical_difference = float(quantile * np.sqrt(count * (count + 1) / (6 * tasks)))
    ranks = dict(zip(scores, map(float, mean_ranks), strict=True))
    return Ranks(ranks, tasks, float(friedman.statistic), float(friedman.pvalue), critical_difference)


def _failures(table: Table, tasks: Sequence[str]) -> dict[str, Failure]:
    """Return what each system lacks that failed or has only some of the tasks."""
    failures = {}
    for system in table.systems:
        counts = [table.failed.get((system, task), 0) for task in tasks]
        absent = 0
        if any((system, task) in table.scores for task in tasks):
            absent = sum((system, task) not in table.scores and not table.failed.get((system, task), 0) for task in tasks)
        if not any(counts) and not absent:
            continue
        scores = [table.scores[system, task] for task in tasks if (system, task) in table.scores]  # each (runs,)
        lost = table.runs[system]
        if scores:
            lost = int(np.isnan(scores).all(axis=0).sum())
        failures[system] = Failure(
            runs=table.runs[system],
            lost=min(lost, *counts),
            cells=sum(counts),
            tasks=sum(map(bool, counts)),
            of=len(tasks),
            everywhere=not scores,
            absent=absent,
        )
    return failures


def _variances(table: Table, tasks: Sequence[str]) -> Variances | None:
    """Return where scores vary, over systems with the same number of runs, at least two, and all tasks."""
    by_runs: dict[int, list[np.ndarray]] = {}
    for system in table.systems:
        scores = table.stack(system, tasks)
        if scores is not None and table.runs[system] > 1 and np.isfinite(scores).all():
            by_runs.setdefault(table.runs[system], []).append(scores.T)  # (runs, tasks)
    if not by_runs:
        return None
    systems = by_runs[max(by_runs)]
    if len(systems) < 2:
        return None
    return variance_parts(np.array(systems))
