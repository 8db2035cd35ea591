"""Text that `--list` shows: local folders, the paper's lists, benchmarks, and mteb's tasks that fit a pattern."""

from __future__ import annotations

import fnmatch
import textwrap
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from evaluation.paper_tasks import LISTS
from evaluation.tasks.availability import in_cache
from evaluation.tasks.find import TaskSpec, find_tasks
from evaluation.tasks.mteb_tasks import benchmark_names, main_score, of_texts, official_names, official_type

WIDTH = 100
SHOWN_FAULT = 40  # characters of the reason why a folder is no task
USE = "Each of these names is one for --tasks; put those with spaces or brackets in quotes."


@dataclass(frozen=True)
class Filter:
    """The names and types to show.

    Attributes:
        pattern: part of a name or of a type, or a shell pattern (`STS*`), in any case; empty for all.
        types: mteb's names of the types; None for all.
    """

    pattern: str = ""
    types: Collection[str] | None = None

    def fits(self, *names: str) -> bool:
        """Return whether one of the names has the pattern."""
        shell = self.pattern.lower()
        if not set(shell) & set("*?"):
            shell = f"*{shell}*"
        return bool(fnmatch.filter(map(str.lower, names), shell))

    def fits_task(self, name: str, task_type: str) -> bool:
        """Return whether a task is of these types, and its name or type has the pattern."""
        return (self.types is None or task_type in self.types) and self.fits(name, task_type)

    @property
    def of_types(self) -> str:
        """` of type STS` for messages, empty for all types."""
        if not self.types:
            return ""
        return f" of type {' or '.join(sorted(self.types))}"


def listing(pattern: str = "", data_dir: str | Path | None = None, types: Collection[str] | None = None) -> str:
    """Return what there is to score, at most `WIDTH` columns wide but for long names.

    Args:
        pattern: part of a name or of a type, or a shell pattern (`STS*`), in any case; empty for all but mteb's single tasks.
        data_dir: folder of task folders.
        types: mteb's names of the types to show; None for all.

    Raises:
        UserError: `data_dir` does not exist or holds no task, or nothing fits.
    """
    wanted = Filter(pattern, types)
    local: list[TaskSpec] = []
    if data_dir is not None:
        local = find_tasks((), data_dir)
    folders = [spec for spec in local if wanted.fits_task(spec.name, spec.type)]
    lists = [name for name in LISTS if wanted.fits(name)]
    benchmarks, left_out = _benchmarks(wanted)
    tasks = _mteb_tasks(wanted) if pattern else []
    if not (folders or lists or benchmarks or tasks):
        raise UserError(f"nothing fits {pattern!r}{left_out}: --list without a pattern shows folders, lists and benchmarks")
    parts = []
    if folders:
        parts.append(_title(f"Folders of {data_dir}") + _rows(map(_folder, folders)))
    if lists:
        parts.append(_title("Lists of the paper") + "\n".join(map(_list, lists)))
    if benchmarks:
        parts.append(_title("Benchmarks of mteb") + _wrapped(benchmarks, "; ") + left_out.replace(" ", "\n", 1))
    if tasks:
        local_names = _names(local, types)
        rows = [(name, str(official_type(name)), main_score(name), _where(name, local_names)) for name in tasks]
        parts.append(_title("Tasks of mteb") + _rows(rows))
    else:
        count = sum(map(of_texts, official_names()))
        parts.append(f"mteb has {count} tasks of texts: --list PATTERN shows those that fit.")
    return "\n\n".join([*parts, USE])


def _names(specs: Iterable[TaskSpec], types: Collection[str] | None) -> set[str]:
    return {spec.name for spec in specs if types is None or spec.type in types}


def _benchmarks(wanted: Filter) -> tuple[list[str], str]:
    """Return the benchmarks that fit, sorted, and what is said of those that have no task to score."""
    scored, others = [], 0
    for name, has_task in benchmark_names(wanted.types).items():
        if not wanted.fits(name):
            continue
        if has_task:
            scored.append(name)
        else:
            others += 1
    left_out = ""
    if others:
        left_out = f" ({others} benchmarks without a task of texts{wanted.of_types} are left out)"
    return sorted(scored, key=str.lower), left_out


def _mteb_tasks(wanted: Filter) -> list[str]:
    """Return the names of mteb's tasks of texts that fit, sorted."""
    names = [name for name in official_names() if of_texts(name)]
    return sorted(name for name in names if wanted.fits_task(name, str(official_type(name))))


def _title(text: str) -> str:
    return f"{text}\n{'-' * len(text)}\n"


def _rows(rows: Iterable[Sequence[str]]) -> str:
    """Return rows as lines with aligned columns."""
    table = list(rows)
    widths = [0] * len(table[0])
    for row in table:
        widths = list(map(max, widths, map(len, row)))
    lines = []
    for row in table:
        cells = map(str.ljust, row, widths)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _wrapped(names: Iterable[str], between: str) -> str:
    # A name is not broken: its spaces are others until the lines are made.
    words = between.join(name.replace(" ", "\0") for name in names)
    return textwrap.fill(words, WIDTH, break_long_words=False, break_on_hyphens=False).replace("\0", " ")


def _list(name: str) -> str:
    tasks = LISTS[name]
    examples = ", ".join(tasks[:2])
    if len(tasks) > 2:
        examples += ", …"
    return f"{name:<24}{len(tasks):>3}  {examples}"


def _folder(spec: TaskSpec) -> tuple[str, ...]:
    assert spec.local is not None
    official = official_type(spec.name) == spec.type
    if spec.fault:
        score = f"(no task: {spec.fault})"[:SHOWN_FAULT]
    elif official:
        score = main_score(spec.name)
    else:
        score = spec.local.settings.main_score or spec.local.schema.main_score
    return spec.name, spec.type, score, _size(spec.size), "as mteb's" if official else ""


def _size(size: float) -> str:
    for unit in ("B", "KB", "MB"):
        if size < 999.5:
            return f"{size:.0f} {unit}".rjust(6)
        size /= 1000
    return f"{size:.0f} GB".rjust(6)


def _where(name: str, folders: Collection[str]) -> str:
    if name in folders:
        return "a folder"
    if in_cache(name):
        return "cached"
    return "on the hub"
