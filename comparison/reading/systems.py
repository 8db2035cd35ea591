"""Systems that are compared (models, designs, baselines), their training runs, and the scores of each run by task."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from common.printable import one_line
from comparison.errors import ComparisonError
from comparison.reading.declared_plan import Declaration
from comparison.reading.study_data import UNFINISHED, CellData, StudyData


@dataclass(frozen=True)
class Score:
    """A result file of one task.

    Attributes:
        task: mteb's name of it, printable.
        entries: main score by (split, subset); NaN where the file says so or says nothing.
        category: type of task as the file's origin or its metrics show it.
        dataset_revision: of the task's data; None if not stated.
        mteb_version: None if not stated.
        file: the result file.
        items: the file with scores item by item; None if there is none.
        external: whether the model's authors reported it themselves.
        equal: metrics that equal the main score, by (split, subset); empty where the file does not say.
        metrics: values of the metrics that are recomputed from items, by (split, subset).
    """

    task: str
    entries: Mapping[tuple[str, str], float]
    category: str
    dataset_revision: str | None
    mteb_version: str | None
    file: Path
    items: Path | None = None
    external: bool = False
    equal: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    metrics: Mapping[tuple[str, str], Mapping[str, float]] = field(default_factory=dict)

    def measures(self, cells: Sequence[tuple[str, str]]) -> frozenset[str]:
        """Return the metrics that are the main score in all of these cells; empty where the file does not say."""
        stated = [self.equal.get(cell, frozenset[str]()) for cell in cells]
        return frozenset.intersection(*stated) if stated else frozenset()

    @property
    def splits(self) -> set[str]:
        """Splits that the file has."""
        return {split for split, _ in self.entries}

    def subsets(self, split: str | None = None) -> set[str]:
        """Return the subsets that the file has of a split, or of any."""
        return {subset for other, subset in self.entries if split in (other, None)}


@dataclass(frozen=True)
class SystemRun:
    """One training run (checkpoint) of a system: its scores by task, and the reasons of the tasks that failed."""

    label: str
    scores: Mapping[str, Score]
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class System:
    """A model, design or baseline.

    Attributes:
        name: after `merge` unique, printable and in one line.
        source: the directory that was given.
        runs: its training runs.
        raw_name: the name as the results spell it, set by `merge`.
    """

    name: str
    source: Path
    runs: tuple[SystemRun, ...]
    raw_name: str = ""

    @property
    def tasks(self) -> list[str]:
        """Tasks that any run has a score of."""
        tasks: dict[str, None] = {}
        for run in self.runs:
            tasks |= dict.fromkeys(run.scores)
        return list(tasks)

    def results(self, task: str) -> list[Score]:
        """Return the result of each run that has a score on a task."""
        return [run.scores[task] for run in self.runs if task in run.scores]

    @property
    def why_no_scores(self) -> str:
        """The reason for having no score; empty where a run has one."""
        if self.tasks:
            return ""
        for run in self.runs:
            for reason in run.failed.values():
                return reason
        return "no reason was kept"


@dataclass(frozen=True)
class StudyResults:
    """The facts of a study beside its scores; nothing of it enters a test.

    Attributes:
        data: of its `study.json`.
        source: the directory that was given.
        names: a system's name in the study -> its name in the comparison.
        declarations: what its file declared, with hash and date, the oldest first.
    """

    data: StudyData
    source: Path
    names: Mapping[str, str] = field(default_factory=dict)
    declarations: Sequence[Declaration] = ()


@dataclass
class Reading:
    """Everything that was read.

    Attributes:
        systems: with their scores.
        notes: sentences on what was left out, and on what a reader should know.
        studies: facts beside the scores.
        damaged: those of the notes that are errors.
    """

    systems: list[System] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    studies: list[StudyResults] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Names of the systems."""
        return [system.name for system in self.systems]

    @property
    def factors(self) -> dict[str, tuple[str, str]]:
        """Attention and pooling of each design, as a study says them."""
        factors: dict[str, tuple[str, str]] = {}
        for study in self.studies:
            for cell in grid_cells(study.data.cells):
                system = study.names.get(cell.compared_as, cell.compared_as)
                factors[system] = (one_line(cell.attention), one_line(cell.pooling))
        return factors

    @property
    def as_they_are(self) -> frozenset[str]:
        """Systems that a study takes as they are: baselines without a seed, which nobody trains again."""
        names = set[str]()
        for study in self.studies:
            for cell in study.data.cells:
                if cell.kind == "baseline" and cell.seed is None:
                    names.add(study.names.get(cell.compared_as, cell.compared_as))
        return frozenset(names)


def grid_cells(cells: Sequence[CellData]) -> list[CellData]:
    """Return the cells of designs that make a grid of attention and pooling.

    Each design stands in it once: with the settings that it chose for itself, where all such runs have ended, else with the
    study's own.
    """
    designs = [cell for cell in cells if cell.kind == "design" and cell.attention and cell.pooling]
    tuned = [cell for cell in designs if cell.setting]
    if any(cell.status == UNFINISHED for cell in tuned):
        tuned = []
    own = {(cell.design, cell.base_model) for cell in tuned}
    chosen = [cell for cell in designs if bool(cell.setting) == ((cell.design, cell.base_model) in own)]
    places = {name: place for place, name in reversed(list(enumerate(cell.design for cell in designs)))}  # the first of each
    return sorted(chosen, key=lambda cell: places[cell.design])


def merge(readings: Sequence[Reading]) -> Reading:
    """Put what several directories hold together under names that are unique.

    A name `<organisation>/<model>` is cut to the model where that is still unique. Where two directories hold the same name
    (two studies with the same designs), the directory's name is added.

    Raises:
        ComparisonError: the same results twice, or fewer than two systems.
    """
    systems: list[System] = []
    notes: list[str] = []
    damaged: list[str] = []
    for reading in readings:
        systems += reading.systems
        notes += reading.notes
        damaged += reading.damaged
    _refuse_twins(systems)
    names = _unique_names(systems)
    if len(names) < 2:
        count = f"only one: {names[0]}" if names else "none"
        raise ComparisonError(f"a comparison needs two systems, found {count}; give one more results folder")
    merged = []
    for system, name in zip(systems, names, strict=True):
        merged.append(replace(system, name=name, raw_name=system.name))
    studies = []
    for reading in readings:
        for study in reading.studies:
            names_of_study = {system.raw_name: system.name for system in merged if system.source == study.source}
            studies.append(replace(study, names=names_of_study))
    return Reading(merged, notes, studies, damaged)


def _unique_names(systems: Sequence[System]) -> list[str]:
    """Return a printable name of each system: the model's, else with the organisation, else with the directory."""
    whole = [one_line(system.name) for system in systems]
    short = [re.sub(r"^[\w.-]+/(?=[\w.@-]+$)", "", name) for name in whole]
    if len(set(short)) == len(systems):
        return short
    names: list[str] = []
    for system, name in zip(systems, whole, strict=True):
        if whole.count(name) > 1:
            name = f"{name} ({one_line(_apart(system, systems))})"
        number = names.count(name) + 1
        if number > 1:  # two names that differ in characters that cannot be shown
            name = f"{name} ({number})"
        names.append(name)
    return names


def only(reading: Reading, names: Sequence[str]) -> Reading:
    """Return the systems of these names, in this order.

    Raises:
        ComparisonError: fewer than two.
    """
    if len(names) < 2:
        raise ComparisonError(f"a comparison needs two systems, --systems names one: {names[0]}")
    by_name = {system.name: system for system in reading.systems}
    return replace(reading, systems=list(map(by_name.__getitem__, names)))


def choose_baseline(reading: Reading, wish: str | None) -> str:
    """Return the system that the others are compared with: the one that the user names, else the first that has scores.

    A first one without scores is passed over, which is noted in the reading.

    Raises:
        ComparisonError: the system that the user names has no scores.
    """
    scored = [system.name for system in reading.systems if system.tasks]
    if not scored:  # nothing can be compared with anybody, which is reported with the reasons
        return wish or reading.systems[0].name
    if wish is None:
        _note_passed_over(reading, scored[0])
        return scored[0]
    for system in reading.systems:
        if system.name == wish and not system.tasks:
            raise ComparisonError(
                f"{wish} is to be the baseline and has no scores ({system.why_no_scores}): train it again, or choose one "
                f"that has with --baseline: {', '.join(scored)}"
            )
    return wish


def _note_passed_over(reading: Reading, baseline: str) -> None:
    for system in reading.systems:
        if system.name == baseline:
            return
        reading.notes.append(
            f"{system.name} stands before {baseline} and has no scores ({system.why_no_scores}): the baseline is {baseline}"
        )


def _refuse_twins(systems: Sequence[System]) -> None:
    for number, system in enumerate(systems):
        for twin in systems[:number]:
            if system.name != twin.name or _values(system) != _values(twin):
                continue
            places = f"under {system.source}"
            if twin.source != system.source:
                places = f"in {twin.source} and in {system.source}"
            raise ComparisonError(f"the same results of {system.name} twice, {places}; give them once")


def _values(system: System) -> list[object]:
    """Return all scores of a system, to see whether another one has the same."""
    values: list[object] = []
    for run in system.runs:
        for task, score in sorted(run.scores.items()):
            entries = sorted((cell, str(value)) for cell, value in score.entries.items())
            values.append((task, entries))
        values.append("end of run")
    return values


def _apart(system: System, systems: Sequence[System]) -> str:
    """Return the shortest end of the system's directory that no other system of its name has."""
    others = [other.source.parts for other in systems if other.name == system.name and other.source != system.source]
    parts = system.source.parts
    for count in range(1, len(parts) + 1):
        if all(other[-count:] != parts[-count:] for other in others):
            return "/".join(parts[-count:])
    return str(system.source)
