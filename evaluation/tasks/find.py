"""What there is to score: tasks by name, of benchmarks, of the paper's lists, and of folders. No rows are read yet."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mteb.abstasks import AbsTask

from common.errors import UserError, nearest
from common.files import listing
from evaluation.paper_tasks import LISTS
from evaluation.tasks.id_order import order_by_id
from evaluation.tasks.local_files import MTEB_TYPES, data_files, name_fault, read_settings, task_type
from evaluation.tasks.local_task import fill, local_task
from evaluation.tasks.mteb_tasks import (
    Part,
    benchmarks,
    official_names,
    official_prompt,
    official_task,
    official_type,
    parts_of,
)

UNKNOWN = "unknown"  # the type of a folder whose files make no task
CLOSE = 3  # names that are suggested for one that is unknown
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TaskSpec:
    """A task to score, not loaded yet.

    Attributes:
        name: name of the task, and of its result files.
        type: mteb's name of the type, such as `Retrieval`.
        folder: where its rows are; None for a task whose rows mteb gets from the hub or its cache.
        size: bytes of its data files, 0 where not known; for estimates of time.
        subsets: those that a benchmark takes; empty for the English ones, of a folder for all.
        splits: those that a benchmark takes; empty for `test`, where there is one.
        missing: why its rows cannot be had, where that is known already (`evaluation/tasks/availability.py`).
        fault: why it is no task that can be scored; it stays in the list and fails with this.
    """

    name: str
    type: str
    folder: Path | None = None
    size: int = 0
    subsets: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    missing: str = ""
    fault: str = ""

    @property
    def prompt(self) -> str | Mapping[str, str] | None:
        """Mteb's prompt of the task, None where it has none."""
        return official_prompt(self.name)

    def task(self) -> AbsTask:
        """Return the mteb task without its data.

        Raises:
            UserError: the folder's files make no task, or it is a task of images or sounds.
        """
        if self.fault:
            raise UserError(self.fault)
        if self.folder is not None:
            return local_task(self.folder, self.name, task_type(self.folder), self.subsets, self.splits)
        task = official_task(self.name, self.subsets, self.splits)
        if task is None:
            raise UserError(f"mteb has no task {self.name!r}{nearest(self.name, official_names())}")
        if list(task.metadata.modalities) != ["text"]:
            raise UserError(
                f"{self.name} is a task of {', '.join(task.metadata.modalities)}; an embedder of texts has no score"
            )
        return task

    def load(self, task: AbsTask) -> None:
        """Read the rows of a task, from its folder or as mteb does, searched documents in the order of their ids.

        Raises:
            UserError: the rows are missing or malformed. Of mteb's own tasks whatever the hub's libraries raise comes through.
        """
        if self.folder is not None:
            fill(task, self.folder, task_type(self.folder))
        elif self.missing:
            raise UserError(self.missing)
        else:
            task.load_data()
        order_by_id(task)


def find_tasks(
    names: Sequence[str] = (),
    data_dir: str | Path | None = None,
    types: Collection[str] | None = None,
    log: Callable[[str], None] = logger.warning,
) -> list[TaskSpec]:
    """Return the tasks that `names` stand for, each from its folder in `data_dir` if it has one there, else mteb's own.

    A name is that of a folder, of a task of mteb, of a list of the paper (`paper/STS`) or of a benchmark of mteb
    (`MTEB(eng, v2)`, with the benchmark's subsets and splits). A task that is named twice is there once, as first named.
    Without names: all task folders of `data_dir`. With `types`, only tasks of these mteb types. `log` gets a line for each
    name that was given twice and, without names, each folder that is left out.

    Raises:
        UserError: `data_dir` does not exist or holds no task; a name is unknown, or is a single task of another type.
    """
    folders = _local_specs(Path(data_dir)) if data_dir is not None else {}
    if not names and data_dir is not None:
        for reason in _without_data(Path(data_dir)).values():
            log(f"left out: {reason}")
    for name, times in Counter(names).items():
        if times > 1:
            log(f"{name} is named {times} times; it is scored once")
    if not names and data_dir is None:
        raise UserError("no tasks: give names with --tasks, or a folder of task folders with --data_dir")
    found: dict[str, TaskSpec] = {}
    for name in names:
        listed = _named(name, folders, data_dir)
        if types is not None and len(listed) == 1 and listed[0].type not in types:
            kinds = " or ".join(sorted(types))
            raise UserError(f"not of type {kinds}: {name} ({listed[0].type}); run_mteb.py scores all types")
        for spec in listed:
            found.setdefault(spec.name, spec)
    specs = [spec for spec in (found if names else folders).values() if types is None or spec.type in types]
    if not specs:
        kind = f" of type {' or '.join(sorted(types))}" if types else ""
        raise UserError(f"{', '.join(names) or data_dir} has no task{kind}")
    return specs


def _named(name: str, folders: Mapping[str, TaskSpec], data_dir: str | Path | None) -> list[TaskSpec]:
    """Return what one name stands for: a folder, a task of mteb, a list of the paper, a benchmark, in this order."""
    if name in folders:
        return [folders[name]]
    if (task := official_task(name)) is not None:
        parts = list(parts_of(task))
        return [_spec(part.name, folders) for part in parts] if len(parts) > 1 else [_spec(name, folders)]
    if name in LISTS:
        return [_spec(one, folders) for one in LISTS[name]]
    known = benchmarks()
    if name in known:
        return [_spec(part.name, folders, part) for part in known[name]]
    if data_dir is not None and (reason := _without_data(Path(data_dir)).get(name)):
        raise UserError(f"unknown task {name!r}: {reason}")
    hint = nearest(name, [*folders, *LISTS, *known, *official_names()], CLOSE)
    raise UserError(f"unknown task {name!r}{hint}; --list shows what there is, --list PATTERN also mteb's tasks")


def _spec(name: str, folders: Mapping[str, TaskSpec], part: Part | None = None) -> TaskSpec:
    """Return a task of mteb, from its folder if there is one."""
    spec = folders.get(name) or TaskSpec(name, str(official_type(name)))
    return replace(spec, subsets=part.subsets, splits=part.splits) if part is not None else spec


def _local_specs(data_dir: Path) -> dict[str, TaskSpec]:
    if not data_dir.is_dir():
        what = "is no folder" if data_dir.exists() else "does not exist"
        raise UserError(f"the data folder {data_dir} {what}; --data_dir is a folder with one folder per task")
    specs: dict[str, TaskSpec] = {}
    folders = [
        path for path in sorted(data_dir.iterdir()) if path.is_dir() and not path.name.startswith(".") and data_files(path)
    ]
    for folder in folders:
        spec = _local_spec(folder)
        if spec.name in specs:
            fault = f"{specs[spec.name].folder} and {folder} are both named {spec.name}: rename one"
            spec = replace(specs[spec.name], fault=specs[spec.name].fault or fault)
        specs[spec.name] = spec
    if not specs:
        own = " (it looks like a task itself: give the folder above it)" if data_files(data_dir) else ""
        raise UserError(f"{data_dir} has no folder with task files (JSON lines, see evaluation/tasks/local_files.py){own}")
    return specs


def _local_spec(folder: Path) -> TaskSpec:
    size = sum(path.stat().st_size for path in data_files(folder))
    try:
        name = read_settings(folder).get("name", folder.name)
        if fault := name_fault(name):
            raise UserError(f"the folder {str(folder)!r} {fault}; rename it, or give it a name in task.json")
        return TaskSpec(name, MTEB_TYPES[task_type(folder)], folder, size)
    except UserError as error:
        return TaskSpec(folder.name, UNKNOWN, folder, size, fault=str(error))


def _without_data(data_dir: Path) -> dict[str, str]:
    """Return a line for each folder, by name, that holds no data file; hidden ones are not meant as tasks."""
    found = [path for path in sorted(data_dir.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    return {
        path.name: f"{path} has no data file (JSON lines, .gz or not); it holds {listing(path)}"
        for path in found
        if not data_files(path)
    }


def prompt_keys(tasks: Sequence[TaskSpec], data_dir: str | Path | None = None) -> list[str]:
    """Return what may be a key of a prompts file: names of `tasks`, of all tasks of `data_dir` and of mteb, and of types."""
    names = [*(spec.name for spec in tasks), *(_local_specs(Path(data_dir)) if data_dir is not None else ())]
    return [*dict.fromkeys([*names, *MTEB_TYPES.values(), "Summarization", *official_names()])]
