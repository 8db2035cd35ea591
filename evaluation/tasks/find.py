"""Find the tasks to score: by name, of benchmarks, of the paper's lists, and of folders. No rows are read yet."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mteb.abstasks import AbsTask

from common.errors import UserError, nearest
from common.files import listing
from evaluation.paper_tasks import LISTS
from evaluation.tasks.id_order import order_by_id
from evaluation.tasks.local_files import data_files
from evaluation.tasks.local_folder import LocalFolder, list_folder, name_fault
from evaluation.tasks.local_task import fill, lacking, local_task, reading_of
from evaluation.tasks.mteb_tasks import (
    TaskSelection,
    benchmarks,
    data_path,
    official_names,
    official_prompt,
    official_task,
    official_type,
    selections,
    types_of_texts,
)
from model_loaders.bundle.check import check_bundled
from model_loaders.bundle.prepared_data import prepared_folder

UNKNOWN = "unknown"  # the type of a folder whose files make no task
CLOSE = 3  # names that are suggested for one that is unknown
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TaskSpec:
    """A task to score, not loaded yet.

    Attributes:
        name: name of the task, and of its result files.
        type: mteb's name of the type, such as `Retrieval`.
        local: the folder with its rows; None for a task whose rows mteb gets from the hub or its cache.
        subsets: those that a benchmark takes; empty for the English ones (all, where none is English), of a folder for all.
        splits: those that a benchmark takes; empty for `test`, where there is one.
        missing: why its rows cannot be had, where that is known already (`evaluation/tasks/availability.py`).
        fault: why it is no task that can be scored; it stays in the list and fails with this.
    """

    name: str
    type: str
    local: LocalFolder | None = None
    subsets: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    missing: str = ""
    fault: str = ""

    @property
    def folder(self) -> Path | None:
        """The folder with its rows; None for a task whose rows mteb gets from the hub or its cache."""
        return None if self.local is None else self.local.path

    @property
    def size(self) -> int:
        """Bytes of its data files; 0 where they are not known."""
        return 0 if self.local is None else self.local.size

    @property
    def reading(self) -> str:
        """What its results' revision says of how the rows of its folder are read, beside their content; mostly nothing."""
        return "" if self.local is None else reading_of(self.local, self.name, self.subsets, self.splits)

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
        if self.local is not None:
            return local_task(self.local.current(), self.name, self.subsets, self.splits)
        task = official_task(self.name, self.subsets, self.splits)
        if task is None:
            raise UserError(f"mteb has no task {self.name!r}{nearest(self.name, official_names())}")
        modalities = list(task.metadata.modalities)
        if modalities != ["text"]:
            raise UserError(f"{self.name} is a task of {', '.join(modalities)}; an embedder of texts has no score")
        return task

    def load(self, task: AbsTask) -> None:
        """Read the rows of a task, from its folder or as mteb does, searched documents in the order of their ids.

        Raises:
            UserError: the rows are missing or malformed. Of mteb's own tasks whatever the hub's libraries raise comes through.
        """
        if self.local is not None:
            check_bundled(self.local.path)
            fill(task, self.local.current())
        elif self.missing:
            raise UserError(self.missing)
        else:
            check_bundled(prepared_folder(str(data_path(self.name))))
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
    (`MTEB(eng, v2)`, with the benchmark's subsets and splits). A task that several names stand for is there once, with all
    subsets and splits that they take. Without names: all task folders of `data_dir`. With `types`, only tasks of these mteb
    types. `log` gets a line for each name that was given twice, for tasks of which the names take different parts, for each
    folder that lacks subsets of a benchmark and, without names, for each folder that is left out.

    Raises:
        UserError: `data_dir` does not exist or holds no task; a name is unknown, or is a single task of another type.

    Example:
        >>> [task.name for task in find_tasks(["paper/Reranking"])][:2]
        ['AskUbuntuDupQuestions', 'MindSmallReranking']
        >>> len(find_tasks(data_dir=tasks, types=["Retrieval"])) > 0
        True
    """
    if not names and data_dir is None:
        raise UserError("no tasks: give names with --tasks, or a folder of task folders with --data_dir")
    folders = DataDir() if data_dir is None else read_data_dir(Path(data_dir))
    if not names:
        for reason in folders.empty.values():
            log(f"left out: {reason}")
    for name, times in Counter(names).items():
        if times > 1:
            log(f"{name} is named {times} times; it is scored once")
    specs = list(folders.specs.values())
    if names:
        specs = _unique(names, folders, types, log)
    if types is not None:
        specs = [spec for spec in specs if spec.type in types]
    if not specs:
        place, kind = ", ".join(names) or data_dir, ""
        if types:
            kind = f" of type {' or '.join(sorted(types))}"
        raise UserError(f"{place} has no task{kind}")
    for spec in specs:
        if spec.local is not None and not spec.fault and (note := lacking(spec.local, spec.subsets, spec.splits)):
            log(note)
    return specs


@dataclass(frozen=True)
class DataDir:
    """The task folders of a `--data_dir`.

    Attributes:
        specs: the tasks by name.
        empty: for each folder without a data file, by its name, a line that says so.
    """

    specs: Mapping[str, TaskSpec] = field(default_factory=dict)
    empty: Mapping[str, str] = field(default_factory=dict)


def _unique(
    names: Sequence[str], folders: DataDir, types: Collection[str] | None, log: Callable[[str], None]
) -> list[TaskSpec]:
    """Return the tasks that the names stand for, each once, in the order of the names."""
    specs: dict[str, TaskSpec] = {}
    widened: dict[str, None] = {}
    for name in names:
        meant = _named(name, folders)
        if types is not None and len(meant) == 1 and meant[0].type not in types:
            kinds = " or ".join(sorted(types))
            raise UserError(f"not of type {kinds}: {name} ({meant[0].type}); run_mteb.py scores all types")
        for spec in meant:
            first = specs.setdefault(spec.name, spec)
            whole = _together(first, spec)
            if whole != first:
                specs[spec.name] = whole
                widened[spec.name] = None
    if widened:
        log(
            f"--tasks takes several parts of {', '.join(widened)}: each is scored once, on all subsets and splits that are "
            "named; for the score of one benchmark name that one alone"
        )
    return list(specs.values())


def _together(first: TaskSpec, second: TaskSpec) -> TaskSpec:
    """Return a task with the subsets and splits of both; the first as it is, where the second has no others."""
    if (first.subsets, first.splits) == (second.subsets, second.splits):
        return first
    wide, other = _parts(first), _parts(second)
    if set(other[0]) <= set(wide[0]) and set(other[1]) <= set(wide[1]):
        return first
    subsets, splits = (tuple(dict.fromkeys([*ours, *theirs])) for ours, theirs in zip(wide, other, strict=True))
    if first.local is not None and not (first.subsets and second.subsets):
        subsets = ()  # of a folder all
    return replace(first, subsets=subsets, splits=splits)


def _parts(spec: TaskSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the subsets and splits that a task stands for; none for a folder that is none of mteb's tasks."""
    task = official_task(spec.name, spec.subsets, spec.splits)
    if task is None:
        return (), ()
    subsets = tuple(task.hf_subsets)
    if spec.local is not None and not spec.subsets:
        subsets = tuple(task.metadata.hf_subsets)
    return subsets, tuple(task.eval_splits)


def _named(name: str, folders: DataDir) -> list[TaskSpec]:
    """Return the tasks that one name stands for: a folder, a task of mteb, a list of the paper, a benchmark, in this order."""
    if name in folders.specs:
        return [folders.specs[name]]
    if (task := official_task(name)) is not None:
        members = [selection.name for selection in selections(task)]
        if len(members) == 1:
            return [_spec(name, folders)]
        return [_spec(member, folders) for member in members]
    if name in LISTS:
        return [_spec(member, folders) for member in LISTS[name]]
    tasks_of = benchmarks()
    if name in tasks_of:
        return [_selected(selection, folders) for selection in tasks_of[name]]
    if name in folders.empty:
        raise UserError(f"unknown task {name!r}: {folders.empty[name]}")
    hint = nearest(name, [*folders.specs, *LISTS, *tasks_of, *official_names()], CLOSE)
    raise UserError(f"unknown task {name!r}{hint}; --list shows what there is, --list PATTERN also mteb's tasks")


def _spec(name: str, folders: DataDir) -> TaskSpec:
    """Return a task of mteb, from its folder if there is one."""
    return folders.specs.get(name) or TaskSpec(name, str(official_type(name)))


def _selected(selection: TaskSelection, folders: DataDir) -> TaskSpec:
    """Return a task of mteb with the subsets and splits of a benchmark."""
    return replace(_spec(selection.name, folders), subsets=selection.subsets, splits=selection.splits)


def read_data_dir(data_dir: Path) -> DataDir:
    """List the task folders below a folder; hidden ones are not meant as tasks.

    Raises:
        UserError: there is no such folder, or no task in it.
    """
    if not data_dir.is_dir():
        fault = "is no folder" if data_dir.exists() else "does not exist"
        raise UserError(f"the data folder {data_dir} {fault}; --data_dir is a folder with one folder per task")
    specs: dict[str, TaskSpec] = {}
    empty: dict[str, str] = {}
    for path in sorted(data_dir.iterdir()):
        if not path.is_dir() or path.name.startswith("."):
            continue
        folder = list_folder(path)
        if not folder.files:
            empty[path.name] = f"{path} has no data file (JSON lines, .gz or not); it holds {listing(path)}"
            continue
        spec = _local_spec(folder)
        if spec.name in specs:
            first = specs[spec.name]
            fault = f"{first.folder} and {path} are both named {spec.name}: rename one"
            spec = replace(first, fault=first.fault or fault)
        specs[spec.name] = spec
    if not specs:
        hint = ""
        if data_files(data_dir):
            hint = " (it looks like a task itself: give the folder above it)"
        raise UserError(f"{data_dir} has no folder with task files (JSON lines, see evaluation/tasks/schemas.py){hint}")
    return DataDir(specs, empty)


def _local_spec(folder: LocalFolder) -> TaskSpec:
    path = folder.path
    try:
        name = folder.settings.name or path.name
        if fault := name_fault(name):
            raise UserError(f"the folder {str(path)!r} {fault}; rename it, or give it a name in task.json")
        return TaskSpec(name, folder.schema.mteb_type, folder)
    except UserError as error:
        return TaskSpec(path.name, UNKNOWN, folder, fault=str(error))


def prompt_keys(tasks: Sequence[TaskSpec], data_dir: str | Path | None = None) -> list[str]:
    """Return what may be a key of a prompts file: names of `tasks`, of all tasks of `data_dir` and of mteb, and of types."""
    names = [spec.name for spec in tasks]
    if data_dir is not None:
        names += read_data_dir(Path(data_dir)).specs
    return [*dict.fromkeys([*names, *types_of_texts(), *official_names()])]
