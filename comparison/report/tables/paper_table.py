"""The table as papers print it: the baseline's scores, and signed differences a kind of task, with marks that hold.

Differences are means over tasks, so that they add up with the baseline's scores. A star speaks of the mean over families of
related tasks; where that is another number, it stands beside the star.

Where all pairs are compared there is no baseline: scores with the letters of groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comparison.claims.outcome import ALPHA, Category, Comparison, Contrast
from comparison.report.tables.columns import Column, records
from comparison.report.words.marks import any_decidable, beside_all_tasks, fragile
from comparison.report.words.wording import DASH


@dataclass(frozen=True)
class PaperCell:
    """One cell of the table.

    Attributes:
        value: score or difference, in score units; None where there is none.
        mark: ``**``, ``*``, ``o`` or nothing; letters where all pairs are compared.
        checkpoint: whether the mark speaks of two trained files.
        decidable: whether a claim about other tasks could be made at all.
        tasks: how many it is over.
        published: whether the uncorrected test of papers would put a star.
        signed: whether it is a difference.
        by_family: the difference as mean over families.
        with_items: on how many tasks there are scores item by item.
        carried: whether a star stands with failed runs counted as losses.
    """

    value: float | None
    mark: str = ""
    checkpoint: bool = False
    decidable: bool = True
    tasks: int = 0
    published: bool = False
    signed: bool = False
    by_family: float | None = None
    with_items: int = 0
    carried: bool = True

    @property
    def number(self) -> str:
        """The value as papers print it: ``.8302``, ``+.0129``."""
        return self._print(self.value)

    @property
    def family(self) -> str:
        """The mean over families that a star speaks of, where that is printed as another number than the value."""
        number = self._print(self.by_family)
        if self.by_family is None or "*" not in self.mark or number == self.number:
            return ""
        return number

    @property
    def marked_checkpoint(self) -> bool:
        """Whether there is a mark, and it speaks of two trained files."""
        return bool(self.mark and self.checkpoint)

    def _print(self, value: float | None) -> str:
        if value is None:
            return DASH
        number = f"{value:.4f}"
        if self.signed:
            number = f"{value:+.4f}"
        return number.replace("0.", ".", 1)


@dataclass(frozen=True)
class PaperRow:
    """A system and its cell for each kind of task; the baseline's holds scores."""

    system: str
    baseline: bool
    cells: list[PaperCell]


@dataclass(frozen=True)
class PaperTable:
    """The table.

    Attributes:
        kinds: of tasks, the columns.
        sizes: tasks and families of each.
        rows: the baseline first.
        baseline: its name; None for all pairs.
        counted: kinds of tasks that a claim over the whole table counts.
        checkpoint: whether any mark, or any letter, speaks of two trained files.
        unlettered: kinds of tasks without letters although all pairs are compared: some pairs have too few common tasks.
    """

    kinds: list[str]
    sizes: list[tuple[int, int]]
    rows: list[PaperRow]
    baseline: str | None
    counted: int
    checkpoint: bool
    unlettered: list[str]

    @property
    def cells(self) -> list[PaperCell]:
        """All cells, row by row."""
        every = []
        for row in self.rows:
            every += row.cells
        return every


def make_table(comparison: Comparison) -> PaperTable:
    """Make the table of a comparison."""
    baseline = comparison.baseline
    order = list(comparison.systems)
    if baseline is not None:
        order.remove(baseline)
        order.insert(0, baseline)
    rows = []
    for system in order:
        cells = [_cell(category, system, baseline) for category in comparison.categories]
        rows.append(PaperRow(system, system == baseline, cells))
    kinds, sizes, unlettered, checkpoint = [], [], [], False
    for category in comparison.categories:
        kinds.append(category.name)
        sizes.append((len(category.tasks), len(category.families)))
        checkpoint |= any(contrast.checkpoint and contrast.mark for contrast in category.contrasts)
        if baseline is None and category.groups is None and any_decidable(category.contrasts):
            unlettered.append(category.name)
    return PaperTable(kinds, sizes, rows, baseline, comparison.counted, checkpoint, unlettered)


def _cell(category: Category, system: str, baseline: str | None) -> PaperCell:
    if baseline is None:
        letters = (category.groups or {}).get(system, "")
        return _score(category, system, letters, any_decidable(category.contrasts))
    if system == baseline:
        return _score(category, system, "", True)
    for contrast in category.contrasts:
        if contrast.a == system:
            return _difference(contrast)
    return PaperCell(None)


def _score(category: Category, system: str, letters: str, decidable: bool) -> PaperCell:
    scores = list(category.scores.get(system, {}).values())
    value = None
    if scores:
        value = float(np.mean(scores))
    return PaperCell(value, letters, decidable=decidable, tasks=len(scores))


def _difference(contrast: Contrast) -> PaperCell:
    with_items = 0
    if contrast.these_tasks:
        with_items = len(contrast.these_tasks.tasks)
    return PaperCell(
        value=contrast.by_task.mean,
        mark=beside_all_tasks(contrast),
        checkpoint=contrast.checkpoint,
        decidable=contrast.other_tasks.decidable,
        tasks=contrast.by_task.units,
        published=contrast.as_published.p <= ALPHA,
        signed=True,
        by_family=contrast.by_family.mean,
        with_items=with_items,
        carried=not fragile(contrast),
    )


@dataclass(frozen=True)
class PlacedCell:
    """A cell with its row and column."""

    row: PaperRow
    kind: str
    size: tuple[int, int]
    cell: PaperCell


COLUMNS: Sequence[Column[PlacedCell]] = [
    Column("system", lambda place: place.row.system),
    Column("baseline", lambda place: place.row.baseline),
    Column("kind", lambda place: place.kind),
    Column("value", lambda place: place.cell.value),
    Column("by_family", lambda place: place.cell.by_family),
    Column("difference", lambda place: place.cell.signed),
    Column("mark", lambda place: place.cell.mark),
    Column("checkpoint", lambda place: place.cell.marked_checkpoint),
    Column("stands_with_failures", lambda place: place.cell.carried),
    Column("decidable", lambda place: place.cell.decidable),
    Column("tasks", lambda place: place.cell.tasks),
    Column("of_tasks", lambda place: place.size[0]),
    Column("families", lambda place: place.size[1]),
    Column("tasks_with_items", lambda place: place.cell.with_items),
    Column("star_as_published", lambda place: place.cell.published),
]


def as_rows(table: PaperTable) -> list[dict[str, object]]:
    """Return the table for a CSV file: a row a system and kind of task, numbers in score units."""
    places = []
    for row in table.rows:
        for kind, size, cell in zip(table.kinds, table.sizes, row.cells, strict=True):
            places.append(PlacedCell(row, kind, size, cell))
    return records(COLUMNS, places)
