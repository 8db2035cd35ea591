"""Read the map of tasks: their categories, and families of related ones, from `families.yaml` and a user's file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.printable import one_line
from common.yaml_files import read_yaml
from comparison.errors import ComparisonError

DEFAULT = Path(__file__).resolve().parents[1] / "families.yaml"


@dataclass(frozen=True)
class Families:
    """A map of tasks.

    Attributes:
        category: of each named task.
        family: of each named task: its family's first member.
    """

    category: Mapping[str, str] = field(default_factory=dict)
    family: Mapping[str, str] = field(default_factory=dict)

    def category_of(self, task: str) -> str | None:
        """Return the category of a task or of the task that it is a version of; None if it is not named."""
        return self.category.get(task) or self.category.get(root(task))

    def knows(self, task: str) -> bool:
        """Return whether the task, or the task that it is a version of, is named."""
        return self.category_of(task) is not None

    def group(self, tasks: Iterable[str]) -> list[list[str]]:
        """Return the families among `tasks`, both in the order in which they occur."""
        groups: dict[str, list[str]] = {}
        for task in tasks:
            key = self.family.get(task) or self.family.get(root(task)) or root(task)
            groups.setdefault(key, []).append(task)
        return list(groups.values())


def root(task: str) -> str:
    """Return a task's name without its version: RedditClustering for RedditClustering.v2, FEVER for FEVERHardNegatives."""
    return re.sub(r"(HardNegatives)?(\.v\d+)?$", "", task)


def read_families(path: Path | None = None) -> Families:
    """Return the map of `families.yaml`, changed by the file at `path` where one is given.

    >>> read_families().group(["NQ", "FEVER", "ClimateFEVER"])
    [['NQ'], ['FEVER', 'ClimateFEVER']]

    Raises:
        ComparisonError: the file cannot be read, or is no mapping of categories to lists of tasks.
    """
    default = parse_families(_read(DEFAULT), str(DEFAULT))
    if path is None:
        return default
    changes = parse_families(_read(path), str(path))
    return Families({**default.category, **changes.category}, {**default.family, **changes.family})


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
