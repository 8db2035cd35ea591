"""Read the map of tasks: their categories, and families of related ones.

A user's file changes (`changed`) the hand-made `families.yaml`, which goes before `families_mteb.yaml`. That one is
generated from mteb's metadata (`evaluation/tasks/related.py`). Relations of a task that stands in none of them are unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.printable import one_line
from common.yaml_files import read_yaml
from comparison.errors import ComparisonError

DEFAULT = Path(__file__).resolve().parents[1] / "families.yaml"
OF_MTEB = DEFAULT.with_name("families_mteb.yaml")


@dataclass(frozen=True)
class Families:
    """A map of tasks.

    Attributes:
        category: of each named task.
        family: of each named task: its family's first member.
        unrelated: whether the user declares that a task that is not named is related to no other.
    """

    category: Mapping[str, str] = field(default_factory=dict)
    family: Mapping[str, str] = field(default_factory=dict)
    unrelated: bool = False

    def category_of(self, task: str) -> str | None:
        """Return the category of a task or of the task that it is a version of; None if it is not named."""
        return self.category.get(task) or self.category.get(root(task))

    def knows(self, task: str) -> bool:
        """Return whether the task, or the task that it is a version of, is named."""
        return self.category_of(task) is not None

    def unknown(self, tasks: Iterable[str]) -> list[str]:
        """Return the tasks of which nobody says to which others they are related."""
        if self.unrelated:
            return []
        return [task for task in tasks if not self.knows(task)]

    def worst(self, tasks: Iterable[str]) -> Families:
        """Return the map in which those of `tasks` whose relations are unknown are one family."""
        unknown = self.unknown(tasks)
        if not unknown:
            return self
        together = dict.fromkeys(map(root, unknown), unknown[0]) | dict.fromkeys(unknown, unknown[0])
        return replace(self, family={**self.family, **together})

    def group(self, tasks: Iterable[str]) -> list[list[str]]:
        """Return the families among `tasks`, both in the order in which they occur."""
        groups: dict[str, list[str]] = {}
        for task in tasks:
            groups.setdefault(self.family_of(task), []).append(task)
        return list(groups.values())

    def family_of(self, task: str) -> str:
        """Return the name of a task's family: that of the task that it is a version of where it is not named itself."""
        return self.family.get(task) or self.family.get(root(task)) or root(task)


def root(task: str) -> str:
    """Return a task's name without its version: RedditClustering for RedditClustering.v2, FEVER for FEVERHardNegatives."""
    return re.sub(r"(HardNegatives)?(\.v\d+)?$", "", task)


def read_families(path: Path | None = None, unrelated: bool = False) -> Families:
    """Return the map of `families.yaml` above `families_mteb.yaml`, changed by the file at `path` where one is given.

    >>> read_families().group(["NQ", "FEVER", "NanoNQRetrieval", "ClimateFEVER"])
    [['NQ', 'NanoNQRetrieval'], ['FEVER', 'ClimateFEVER']]

    Args:
        path: of the user's file.
        unrelated: whether the user declares that a task that stands nowhere is related to no other.

    Raises:
        ComparisonError: the file cannot be read, or is no mapping of categories to lists of tasks.
    """
    hand_made, of_mteb = _own(DEFAULT), _own(OF_MTEB)
    category = {**hand_made.category, **of_mteb.category, **hand_made.category}  # the hand-made map's categories come first
    ours = Families(category, {**of_mteb.family, **hand_made.family}, unrelated)
    if path is None:
        return ours
    return changed(ours, parse_families(_read(path), str(path)))


def changed(lower: Families, higher: Families) -> Families:
    """Return a map changed by a higher one: tasks that it names are grouped as it says, and their relatives follow them.

    A task that the higher map does not name, of a family of which it names some, follows

    1. the named one whose name is in its own, the longest such: FEVERHardNegatives and NanoFEVERRetrieval follow FEVER;
    2. else the family's first task, if that is named;
    3. else a named one that is joined with tasks of other families.

    Else it stays where it was. So a map that joins families joins all of both, and one that takes a family apart names all of
    it. The versions of a named task follow it to its category, too.

    >>> lower = parse_families({"Retrieval": [["NQ", "NanoNQRetrieval"], "HotpotQA"]})
    >>> higher = parse_families({"Retrieval": [["HotpotQA", "NQ"]]})
    >>> changed(lower, higher).group(["NQ", "NanoNQRetrieval", "HotpotQA"])
    [['NQ', 'NanoNQRetrieval', 'HotpotQA']]
    """
    named: dict[str, list[str]] = {}  # family of the lower map -> its tasks that the higher map names
    sources: dict[str, set[str]] = {}  # family of the higher map -> families of the lower map that it takes tasks from
    for task, family in higher.family.items():
        source = lower.family_of(task)
        named.setdefault(source, []).append(task)
        sources.setdefault(family, set()).add(source)
    families, categories = dict(higher.family), dict(higher.category)
    for task, source in lower.family.items():
        if task in families:
            continue
        leader = _leader(task, source, named.get(source, []), lambda one: len(sources[higher.family[one]]) > 1)
        families[task] = higher.family[leader] if leader is not None else source
    for task, category in lower.category.items():
        categories.setdefault(task, higher.category.get(root(task), category))
    return Families(categories, families, lower.unrelated)


def _leader(task: str, first: str, named: Sequence[str], joined: Callable[[str], bool]) -> str | None:
    """Return which of the named tasks of its family a task follows; None for none of them."""
    within = [one for one in named if one.casefold() in task.casefold()]
    if within:
        return max(within, key=len)
    if first in named:
        return first
    return next(filter(joined, named), None)


@cache
def _own(path: Path) -> Families:
    """Return a map of ours, read once."""
    return parse_families(_read(path), str(path))


def parse_families(content: Any, source: str = "the families") -> Families:
    """Make the map from the content of a file: category -> list of tasks and of lists of tasks.

    Raises:
        ComparisonError: another shape, or a task that stands there twice.

    >>> families = parse_families({"STS": [["STS12", "STS13"], "BIOSSES"]})
    >>> families.group(["BIOSSES", "STS13", "STS12"])
    [['BIOSSES'], ['STS13', 'STS12']]
    """
    expected = f"{source}: expected categories, each with a list of tasks and of lists of tasks, as in {DEFAULT}"
    if not isinstance(content, dict):
        raise ComparisonError(expected)
    category: dict[str, str] = {}
    family: dict[str, str] = {}
    for name, entries in content.items():
        if not isinstance(entries, list):
            raise ComparisonError(expected)
        for entry in entries:
            tasks = [entry]
            if isinstance(entry, list):
                tasks = entry
            if not tasks or not all(isinstance(task, str) for task in tasks):
                raise ComparisonError(f"{expected}; {entry!r} is neither")
            for task in map(one_line, tasks):
                if task in category:
                    raise ComparisonError(f"{source}: {task} stands there twice")
                category[task], family[task] = str(name), one_line(tasks[0])
    return Families(category, family)


def _read(path: Path) -> Any:
    try:
        return read_yaml(path, "--families")
    except UserError as error:
        raise ComparisonError(str(error)) from error
