"""What is compared: systems (models, designs, baselines), their training runs, and the scores of each run by task."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from comparison.errors import ComparisonError
from comparison.reading.study_data import StudyData


@dataclass(frozen=True)
class Score:
    """A result file of one task.

    Attributes:
        task: mteb's name of it.
        entries: main score by (split, subset); NaN where the file says so or says nothing.
        category: type of task as the file's origin or its metrics show it.
        dataset_revision: which data; None if not stated.
        mteb_version: None if not stated.
        file: the result file.
        items: the file with scores item by item; None if there is none.
        external: whether the model's authors reported it themselves.
    """

    task: str
    entries: Mapping[tuple[str, str], float]
    category: str
    dataset_revision: str | None
    mteb_version: str | None
    file: Path
    items: Path | None = None
    external: bool = False


@dataclass(frozen=True)
class Run:
    """One training run (checkpoint) of a system: its scores by task, and the reasons of the tasks that failed."""

    label: str
    scores: Mapping[str, Score]
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class System:
    """A model, design or baseline with its runs; `source` is the directory that was given."""

    name: str
    source: Path
    runs: tuple[Run, ...]

    @property
    def tasks(self) -> list[str]:
        """Tasks that any run has a score of."""
        return list(dict.fromkeys(task for run in self.runs for task in run.scores))

    @property
    def why_no_scores(self) -> str:
        """Why no run has a score; empty where one has."""
        if self.tasks:
            return ""
        return next((reason for run in self.runs for reason in run.failed.values()), "no reason was kept")


@dataclass(frozen=True)
class Study:
    """What a study knows beside its scores; nothing of it enters a test.

    Attributes:
        data: of its `study.json`.
        source: the directory that was given.
        names: a system's name in the study -> its name in the comparison.
    """

    data: StudyData
    source: Path
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Reading:
    """Everything that was read, and what was left out or needs saying, as sentences; of the notes, damaged ones are errors."""

    systems: list[System] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    studies: list[Study] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def merge(readings: Sequence[Reading]) -> Reading:
    """Put what several directories hold together under names that are unique.

    A name `<organisation>/<model>` is cut to the model where that is still unique. Where two directories hold the same name
    (two studies with the same designs), the directory's name is added.

    Raises:
        ComparisonError: the same results twice, or fewer than two systems.
    """
    systems = [system for reading in readings for system in reading.systems]
    notes = [note for reading in readings for note in reading.notes]
    _refuse_twins(systems)
    for short in (lambda name: re.sub(r"^[\w.-]+/(?=[\w.@-]+$)", "", name), lambda name: name):
        names = [short(system.name) for system in systems]
        if len(set(names)) == len(names):
            break
    else:
        names = [
            f"{system.name} ({_apart(system, systems)})" if names.count(system.name) > 1 else system.name for system in systems
        ]
    made = [replace(system, name=name) for system, name in zip(systems, names, strict=True)]
    if len(made) < 2:
        found = f"only one: {made[0].name}" if made else "none"
        raise ComparisonError(f"a comparison needs two systems, found {found}; give one more results folder")
    studies = [
        replace(study, names={old.name: new for old, new in zip(systems, names, strict=True) if old.source == study.source})
        for reading in readings
        for study in reading.studies
    ]
    return Reading(made, notes, studies, [one for reading in readings for one in reading.damaged])


def only(reading: Reading, names: Sequence[str]) -> Reading:
    """Return the systems of these names, in this order.

    Raises:
        ComparisonError: fewer than two.
    """
    if len(names) < 2:
        raise ComparisonError(f"a comparison needs two systems, --systems names one: {names[0]}")
    by_name = {system.name: system for system in reading.systems}
    return replace(reading, systems=[by_name[name] for name in names])


def choose_baseline(reading: Reading, asked: str | None) -> str:
    """Return the system that the others are compared with: the one that is asked for, else the first that has scores.

    A first one without scores is passed over, which is noted in the reading.

    Raises:
        ComparisonError: the one that is asked for has no scores.
    """
    scored = [system.name for system in reading.systems if system.tasks]
    if not scored:  # nothing can be compared with anybody, which is told with the reasons
        return asked or reading.systems[0].name
    for system in reading.systems:
        if system.name == asked and not system.tasks:
            raise ComparisonError(
                f"{asked} is to be the baseline and has no scores ({system.why_no_scores}): train it again, or choose one "
                f"that has with --baseline: {', '.join(scored)}"
            )
    if asked is not None:
        return asked
    chosen = scored[0]
    for system in reading.systems[: [one.name for one in reading.systems].index(chosen)]:
        reading.notes.append(
            f"{system.name} stands before {chosen} and has no scores ({system.why_no_scores}): the baseline is {chosen}"
        )
    return chosen


def _refuse_twins(systems: Sequence[System]) -> None:
    for number, one in enumerate(systems):
        for other in systems[:number]:
            if one.name == other.name and _values(one) == _values(other):
                places = f"in {other.source} and in {one.source}" if other.source != one.source else f"under {one.source}"
                raise ComparisonError(f"the same results of {one.name} twice, {places}; give them once")


def _values(system: System) -> list[object]:
    runs = (sorted(run.scores.items()) for run in system.runs)
    return [[(task, sorted((key, str(value)) for key, value in score.entries.items())) for task, score in run] for run in runs]


def _apart(system: System, systems: Sequence[System]) -> str:
    """Return the shortest end of the system's directory that no other system of its name has."""
    others = [other.source.parts for other in systems if other.name == system.name and other.source != system.source]
    parts = system.source.parts
    for count in range(1, len(parts) + 1):
        if all(other[-count:] != parts[-count:] for other in others):
            return "/".join(parts[-count:])
    return str(system.source)


def finite(value: object) -> float:
    """Return a JSON value as a float, NaN where it is no number."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) else math.nan  # type: ignore[arg-type]
