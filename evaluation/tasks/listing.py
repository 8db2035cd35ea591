"""What `--list` shows: local folders, the paper's lists, benchmarks, and mteb's tasks that fit a pattern."""

from __future__ import annotations

import fnmatch
import textwrap
from collections.abc import Collection, Iterable
from pathlib import Path

from common.errors import UserError
from evaluation.paper_tasks import LISTS
from evaluation.tasks.availability import in_cache
from evaluation.tasks.find import TaskSpec, find_tasks
from evaluation.tasks.local_files import read_settings
from evaluation.tasks.local_task import MAIN_SCORES
from evaluation.tasks.mteb_tasks import benchmark_names, main_score, of_texts, official_names, official_type

WIDTH = 100


def listing(pattern: str = "", data_dir: str | Path | None = None, types: Collection[str] | None = None) -> str:
    """Return what there is to score, at most `WIDTH` columns wide but for long names.

    Args:
        pattern: part of a name or of a type, or a shell pattern (`STS*`), in any case; empty for all but mteb's single tasks.
        data_dir: folder of task folders.
        types: mteb's names of the types to show; None for all.

    Raises:
        UserError: `data_dir` does not exist or holds no task, or nothing fits.
    """
    local = [spec for spec in (find_tasks((), data_dir) if data_dir is not None else []) if _wanted(spec.type, types)]
    here = {spec.name for spec in local}
    folders = [spec for spec in local if _fits(pattern, spec.name, spec.type)]
    lists = [name for name in LISTS if _fits(pattern, name)]
    fitting = {name: scored for name, scored in benchmark_names(types).items() if _fits(pattern, name)}
    known = sorted((name for name, scored in fitting.items() if scored), key=str.lower)
    others = f"{len(fitting) - len(known)} benchmarks without a task of texts{_of_types(types)} are left out"
    tasks = [name for name in official_names() if pattern and of_texts(name) and _fits(pattern, name, str(official_type(name)))]
    tasks = [name for name in tasks if _wanted(str(official_type(name)), types)]
    if not (folders or lists or known or tasks):
        why = f" ({others})" if fitting else ""
        raise UserError(f"nothing fits {pattern!r}{why}: --list without a pattern shows folders, lists and benchmarks")
    parts = []
    if folders:
        parts.append(_title(f"Folders of {data_dir}") + _rows(map(_folder, folders)))
    if lists:
        parts.append(_title("Lists of the paper") + "\n".join(_list(name) for name in lists))
    if known:
        left_out = f"\n({others})" if len(fitting) > len(known) else ""
        parts.append(_title("Benchmarks of mteb") + _wrapped(known, "; ") + left_out)
    if tasks:
        rows = ((name, str(official_type(name)), main_score(name), _where(name, here)) for name in sorted(tasks))
        parts.append(_title("Tasks of mteb") + _rows(rows))
    else:
        parts.append(f"mteb has {sum(map(of_texts, official_names()))} tasks of texts: --list PATTERN shows those that fit.")
    return "\n\n".join(parts) + "\n\nEach of these names is one for --tasks; put those with spaces or brackets in quotes."


def _fits(pattern: str, *names: str) -> bool:
    shell = pattern if set(pattern) & set("*?") else f"*{pattern}*"
    return any(fnmatch.fnmatchcase(name.lower(), shell.lower()) for name in names)


def _wanted(kind: str, types: Collection[str] | None) -> bool:
    return types is None or kind in types


def _of_types(types: Collection[str] | None) -> str:
    return f" of type {' or '.join(sorted(types))}" if types else ""


def _title(text: str) -> str:
    return f"{text}\n{'-' * len(text)}\n"


def _rows(rows: Iterable[tuple[str, ...]]) -> str:
    table = list(rows)
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table)


def _wrapped(names: Iterable[str], between: str) -> str:
    # A name is not broken: its spaces are others until the lines are made.
    words = between.join(name.replace(" ", "\0") for name in names)
    return textwrap.fill(words, WIDTH, break_long_words=False, break_on_hyphens=False).replace("\0", " ")


def _list(name: str) -> str:
    tasks = LISTS[name]
    examples = ", ".join(tasks[:2]) + (", …" if len(tasks) > 2 else "")
    return f"{name:<24}{len(tasks):>3}  {examples}"


def _folder(spec: TaskSpec) -> tuple[str, ...]:
    assert spec.folder is not None
    official = official_type(spec.name) == spec.type
    if spec.fault:
        score = f"(no task: {spec.fault})"[:40]
    elif official:
        score = main_score(spec.name)
    else:
        score = read_settings(spec.folder).get(
            "main_score", MAIN_SCORES[spec.type.lower().replace("pairclassification", "pair")]
        )
    return spec.name, spec.type, score, _size(spec.size), "as mteb's" if official else ""


def _size(size: int) -> str:
    for unit in ("B", "KB", "MB"):
        if size < 999.5:
            return f"{size:.0f} {unit}".rjust(6)
        size /= 1000  # type: ignore[assignment]
    return f"{size:.0f} GB".rjust(6)


def _where(name: str, folders: Collection[str]) -> str:
    return "a folder" if name in folders else "cached" if in_cache(name) else "on the hub"
