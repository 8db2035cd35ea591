"""Sentences on the origin of compared results: failures, splits, subsets, revisions of the data, versions of mteb."""

from __future__ import annotations

from collections.abc import Collection

from comparison.reading.measures import unstated
from comparison.reading.systems import Score
from comparison.reading.table import Table

FAILED = "failed, with the number of runs"
SPLITS = "splits in the files that are not compared"
SUBSETS = "tasks with several subsets, of which these are compared"
REVISIONS = "results state different revisions of the data (--same_revision leaves such pairs out)"
MIXED = (
    "scores of one system are partly its own revision's and partly those that its authors reported (external), so that a "
    "difference may be one of revisions"
)
NAMELESS = "results that do not say which metric their main score is"
SILENT = "results that do not state the revision of their data"
VERSIONS = "results are of different versions of mteb"
EXTERNAL = "results as the models' authors reported them (revision external), not audited"


def origins(table: Table) -> list[str]:
    """Return sentences on what the results do not have in common."""
    splits, versions = set[str](), set[str]()
    several_subsets, unlike_revisions = [], []
    count = silent = external = nameless = 0
    for task in table.tasks:
        subsets, revisions = set[str](), set[str | None]()
        for score in table.results(task):
            count += 1
            silent += score.dataset_revision is None
            external += score.external
            splits |= score.splits
            subsets |= score.subsets()
            revisions.add(score.dataset_revision)
            versions.add(score.mteb_version or "not stated")
        nameless += unstated(table.results(task), table.cells[task])
        revisions.discard(None)
        if len(subsets) > 1:
            compared = sorted(subset for _, subset in table.cells[task])
            several_subsets.append(f"{task} ({', '.join(compared)})")
        if len(revisions) > 1:
            unlike_revisions.append(f"{task} ({len(revisions)})")
    if len(versions) < 2:
        versions.clear()
    notes: dict[str, Collection[str]] = {
        FAILED: _failures(table),
        SPLITS: sorted(splits - _compared_splits(table)),
        SUBSETS: several_subsets,
        REVISIONS: unlike_revisions,
        MIXED: _mixed_revisions(table),
        NAMELESS: _share(nameless, count),
        SILENT: _share(silent, count),
        VERSIONS: sorted(versions),
        EXTERNAL: _share(external, count),
    }
    return [f"{title}: {', '.join(items)}" for title, items in notes.items() if items]


def _share(count: int, total: int) -> list[str]:
    if not count:
        return []
    return [f"{count} of {total}"]


def _failures(table: Table) -> list[str]:
    return [f"{system} on {task} ({count})" for (system, task), count in table.failed.items() if count]


def _compared_splits(table: Table) -> set[str]:
    splits = set()
    for cells in table.cells.values():
        for split, _ in cells:
            splits.add(split)
    return splits


def _mixed_revisions(table: Table) -> list[str]:
    """Return the systems that mix, within a category, scores of their own revision with those that their authors reported."""
    items = []
    for category, tasks in table.categories.items():
        for system in table.systems:
            results: list[Score] = []
            for task in tasks:
                results += table.results(task, [system])
            external = sum(score.external for score in results)
            if 0 < external < len(results):
                items.append(f"{system} in {category} ({external} of {len(results)} external)")
    return items
