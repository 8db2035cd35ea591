"""Warnings to the reader: leakage, cut texts, runs that diverged or failed, missing tasks, settings that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from comparison.claims.outcome import Category, Comparison, Contrast, Sensitivity
from comparison.reading.study_data import DIVERGED, FAILED, UNFINISHED, CellData, LeakedTexts, Truncation
from comparison.reading.systems import StudyResults
from comparison.report.words.names import listed, name
from comparison.report.words.wording import chance, points, when

LARGE_CUT = 0.01  # a smaller share of cut texts stands in the table only
SERIOUS_CUT = 0.1
MOST_EXAMPLES = 3
LONG = 300  # characters
STOPPED = {
    DIVERGED: "diverged; it is not dropped, and where it has no scores its tasks count as failed",
    FAILED: "failed; its tasks count as failed",
    UNFINISHED: "is not finished and left out",
}


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


def cautions(comparison: Comparison, studies: Sequence[StudyResults], notes: Sequence[str]) -> list[Caution]:
    """Return all warnings, serious ones first."""
    leaks: list[Caution] = []
    settings: list[Caution] = []
    cuts: list[Caution] = []
    cells: list[CellData] = []
    for study in studies:
        cells += study.data.cells
        leaks += map(_leak, filter(_leaks, study.data.leakage or []))
        settings += [Caution("settings", name(warning), serious=True) for warning in study.data.warnings]
        cuts += map(_cut, filter(_much_is_cut, study.data.truncation))
    every = [
        *leaks,
        *map(_stopped, filter(_has_stopped, cells)),
        *_unfinished(cells),
        *_failures(comparison),
        *settings,
        *cuts,
        *_missing(comparison),
        *_devices(cells),
        *map(_note, notes),
    ]
    return sorted(every, key=lambda caution: not caution.serious)


def quiet(studies: Sequence[StudyResults]) -> list[str]:
    """Return what was looked for and not found, and what nobody looked for."""
    searched, leaks, truncation = False, False, False
    for study in studies:
        searched |= study.data.leakage is not None
        leaks |= any(map(_leaks, study.data.leakage or []))
        truncation |= bool(study.data.truncation)
    sentences = []
    if searched and not leaks:
        sentences.append("Training texts were looked for in the test texts; none was found.")
    if not searched:
        sentences.append("Not known: whether training texts stand in the tests; the field leakage of study.json would say it.")
    if not truncation:
        sentences.append("Not known: how many texts were cut; the field truncation of study.json would say it.")
    return sentences


def _note(note: str) -> Caution:
    """Return a sentence of the comparison; a long one is cut, and stands whole below it."""
    whole = name(note)
    if len(whole) <= LONG:
        return Caution("results", whole)
    return Caution("results", f"{whole[: LONG - 60]} …", [whole])


def _leaks(leakage: LeakedTexts) -> bool:
    return leakage.count > 0


def _leak(leakage: LeakedTexts) -> Caution:
    data, task = name(leakage.training_file), name(leakage.task)
    if leakage.unit == "source":
        text = f"By their names, the training data {data} and {task} are of one source: its scores may show more than skill."
        return Caution("leakage", text, [], serious=True)
    share = ""
    if leakage.total:
        share = f" of {leakage.total:,} ({_percent(leakage.count / leakage.total)})"
    examples = [name(example)[:LONG] for example in leakage.examples[:MOST_EXAMPLES]]
    if leakage.unit == "parts":
        text = (
            f"{leakage.count:,}{share} test texts of {task} share at least half of their 13-word sequences with one text of "
            f"the training data {data}: its scores may show memory as well as skill."
        )
        return Caution("leakage", text, examples, serious=True)
    text = (
        f"{leakage.count:,}{share} test {leakage.unit} of {task} stand in the training data {data}: its scores may show memory "
        "as well as skill."
    )
    return Caution("leakage", text, examples, serious=True)


def _percent(share: float) -> str:
    """Return a share with one digit behind the point; one that is not zero is not shown as zero."""
    return f"{share:.1%}" if share >= 0.0005 or share == 0 else "under 0.1%"


def _has_stopped(cell: CellData) -> bool:
    return cell.status in STOPPED and not _is_unfinished(cell)


def _is_unfinished(cell: CellData) -> bool:
    """Return whether a cell was not run to its end, for no known reason."""
    return cell.status == UNFINISHED and not cell.reason


def _stopped(cell: CellData) -> Caution:
    details = []
    if cell.reason:
        details = [name(cell.reason)]
    return Caution(cell.status, f"{name(cell.name)} {STOPPED[cell.status]}.", details, serious=True)


def _unfinished(cells: Sequence[CellData]) -> list[Caution]:
    """Return one warning for all cells that were not run to their end, for no known reason."""
    names = [cell.name for cell in cells if _is_unfinished(cell)]
    if not names:
        return []
    if len(names) == 1:
        return [Caution(UNFINISHED, f"{name(names[0])} {STOPPED[UNFINISHED]}.", serious=True)]
    every = ", ".join(map(name, names))
    return [Caution(UNFINISHED, f"{len(names)} cells are not finished and left out.", [every], serious=True)]


def _failures(comparison: Comparison) -> list[Caution]:
    """Return one warning a comparison that failures could change, with what they would change in each kind of task."""
    changes: dict[tuple[str, str], list[str]] = {}
    for category in comparison.categories:
        for contrast in category.contrasts:
            if contrast.sensitivity:
                change = _change(category, contrast, contrast.sensitivity)
                changes.setdefault((contrast.a, contrast.b), []).append(change)
    warnings = []
    for (a, b), kinds in changes.items():
        text = f"{name(a)} − {name(b)} with failed and absent tasks counted as losses, each as large as the largest difference:"
        warnings.append(Caution("lost tasks", text, kinds, serious=True))
    return warnings


def _change(category: Category, contrast: Contrast, failures: Sensitivity) -> str:
    return (
        f"{name(category.name)}: {failures.failed_a} and {failures.failed_b} failed or are absent; "
        f"mean over families {points(failures.mean_families)} instead of {points(contrast.by_family.mean)}, "
        f"p for other tasks {chance(failures.p)} instead of {chance(contrast.other_tasks.p)}"
    )


def _much_is_cut(truncation: Truncation) -> bool:
    return truncation.texts > 0 and truncation.cut >= LARGE_CUT * truncation.texts


def _cut(truncation: Truncation) -> Caution:
    length = when(truncation.max_length, f" to {truncation.max_length} tokens")
    side = "" if truncation.side == "text" else f"{name(truncation.side)} "
    text = (
        f"{truncation.cut / truncation.texts:.1%} of the {truncation.texts:,} {side}texts of "
        f"{name(truncation.task)} were cut{length}."
    )
    return Caution("cut texts", text, serious=truncation.cut > SERIOUS_CUT * truncation.texts)


def _missing(comparison: Comparison) -> list[Caution]:
    """Return one warning for each system and kind of task in which it lacks tasks."""
    warnings = []
    for category in comparison.categories:
        for system in comparison.systems:
            scores = category.scores.get(system, {})
            missing = [task for task in category.tasks if task not in scores]
            if missing:
                every = len(category.tasks)
                follows = "its comparisons use the common ones, and its mean is not comparable."
                if len(missing) == every:
                    follows = "it is compared with nobody there."
                has = f"{name(system)} has {every - len(missing)} of {every} tasks of {name(category.name)}"
                text = f"{has}; {follows}"
                warnings.append(Caution("missing tasks", text, [f"missing: {listed(missing)}"]))
    return warnings


def _devices(cells: Sequence[CellData]) -> list[Caution]:
    devices = list(dict.fromkeys(cell.device for cell in cells if cell.device))
    if len(devices) < 2:
        return []
    return [Caution("machines", f"Cells ran on different machines, so times do not compare: {listed(devices)}.")]
