"""What a reader should beware of: leakage, cut texts, runs that diverged or failed, missing tasks, settings that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from comparison.claims.outcome import Comparison
from comparison.reading.study_data import DIVERGED, FAILED, UNFINISHED, CellData, LeakedTexts
from comparison.reading.systems import Study
from comparison.report.words.names import listed, name
from comparison.report.words.wording import chance, points

LARGE_CUT = 0.01  # a smaller share of cut texts stands in the table only
MOST_EXAMPLES = 3
LONG = 300  # characters


@dataclass(frozen=True)
class Caution:
    """One warning.

    Attributes:
        kind: what it is about, in a word or two.
        text: what it is.
        details: such as examples, as texts.
        serious: whether a result could be wrong by it.
    """

    kind: str
    text: str
    details: list[str] = field(default_factory=list)
    serious: bool = False


def cautions(found: Comparison, studies: Sequence[Study], notes: Sequence[str]) -> list[Caution]:
    """Return all warnings, serious ones first."""
    cells = [cell for study in studies for cell in study.data.cells]
    every = [
        *(_leak(one) for study in studies for one in study.data.leakage or [] if one.count),
        *_stopped(cells),
        *_failures(found),
        *(Caution("settings", printed, serious=True) for study in studies for printed in map(name, study.data.warnings)),
        *_cut(studies),
        *_missing(found),
        *_devices(cells),
        *(_note(note) for note in notes),
    ]
    return sorted(every, key=lambda one: not one.serious)


def quiet(studies: Sequence[Study]) -> list[str]:
    """Return what was looked for and not found, and what nobody looked for."""
    looked = [study for study in studies if study.data.leakage is not None]
    said = []
    if looked and not any(one.count for study in looked for one in study.data.leakage or []):
        said.append("Training texts were looked for in the test texts; none was found.")
    if not looked:
        said.append("Nobody looked whether training texts stand in the tests: the field leakage of study.json would say it.")
    if not any(study.data.truncation for study in studies):
        said.append("Not known: how many texts were cut; the field truncation of study.json would say it.")
    return said


def _note(note: str) -> Caution:
    """Return a sentence of the comparison; a long one is cut, and stands whole below it."""
    whole = name(note)
    return Caution("results", whole) if len(whole) <= LONG else Caution("results", f"{whole[: LONG - 60]} …", [whole])


def _leak(one: LeakedTexts) -> Caution:
    share = f" of {one.total:,} ({one.count / one.total:.0%})" if one.total else ""
    text = (
        f"{one.count:,}{share} test {one.unit} of {name(one.task)} stand in the training data {name(one.training_file)}: its "
        "scores show memory as well as skill."
    )
    return Caution("leakage", text, [name(example)[:300] for example in one.examples[:MOST_EXAMPLES]], serious=True)


def _stopped(cells: Sequence[CellData]) -> list[Caution]:
    said = {
        DIVERGED: ("diverged", "diverged; it is not dropped, and where it has no scores its tasks count as failed"),
        FAILED: ("failed", "failed; its tasks count as failed"),
        UNFINISHED: ("unfinished", "is not finished and left out"),
    }
    return [
        Caution(said[cell.status][0], f"{name(cell.name)} {said[cell.status][1]}.", [name(cell.reason)] if cell.reason else [],
                serious=True)
        for cell in cells
        if cell.status in said
    ]  # fmt: skip


def _failures(found: Comparison) -> list[Caution]:
    """Return one warning a comparison that failures could change, with what they would change in each kind of task."""
    changed: dict[tuple[str, str], list[str]] = {}
    for category in found.categories:
        for one in category.contrasts:
            if one.sensitivity:
                lost = one.sensitivity
                changed.setdefault((one.a, one.b), []).append(
                    f"{name(category.name)}: {lost.failed_a} and {lost.failed_b} failed; mean {points(lost.mean)} instead of "
                    f"{points(one.by_task.mean)}, p for other tasks {chance(lost.p)} instead of {chance(one.other_tasks.p)}"
                )
    said = "with failed tasks counted as losses, each as large as the largest difference:"
    return [Caution("failed tasks", f"{name(a)} − {name(b)} {said}", kinds, serious=True) for (a, b), kinds in changed.items()]


def _cut(studies: Sequence[Study]) -> list[Caution]:
    return [
        Caution(
            "cut texts",
            f"{one.cut / one.texts:.1%} of the {one.texts:,} {name(one.side)} texts of {name(one.task)} were cut"
            f"{f' to {one.max_length} tokens' if one.max_length else ''}.",
            serious=one.cut > 0.1 * one.texts,
        )
        for study in studies
        for one in study.data.truncation
        if one.texts and one.cut >= LARGE_CUT * one.texts
    ]


def _missing(found: Comparison) -> list[Caution]:
    said = []
    for category in found.categories:
        lacking = {
            system: [task for task in category.tasks if task not in category.scores.get(system, {})] for system in found.systems
        }
        for system, tasks in lacking.items():
            if tasks:
                said.append(
                    Caution(
                        "missing tasks",
                        f"{name(system)} has {len(category.tasks) - len(tasks)} of {len(category.tasks)} tasks of "
                        f"{name(category.name)}; its comparisons use the common ones, and its mean is not comparable.",
                        [f"missing: {listed(tasks)}"],
                    )
                )
    return said


def _devices(cells: Sequence[CellData]) -> list[Caution]:
    devices = list(dict.fromkeys(cell.device for cell in cells if cell.device))
    if len(devices) < 2:
        return []
    return [Caution("machines", f"Cells ran on different machines, so times do not compare: {listed(devices)}.")]
