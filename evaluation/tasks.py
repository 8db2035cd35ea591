"""Finding tasks: official ones by name, local ones by folder. Nothing is read yet but a folder's first row."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mteb.abstasks import AbsTask

from evaluation.local_data import MTEB_TYPES, data_files, read_settings, task_type
from evaluation.local_tasks import fill, local_task
from evaluation.official_tasks import official_names, official_prompt, official_task
from model_loaders.errors import UserError, nearest

UNKNOWN = "unknown"  # the type of a folder whose files make no task: it stays in the list and fails with its reason


@dataclass(frozen=True)
class TaskSpec:
    """A task to score, not loaded yet.

    Attributes:
        name: name of the task, and of its result files.
        type: mteb's name of the type, such as `Retrieval`.
        folder: where its rows are; None for a task whose rows mteb gets from the hub or its cache.
        size: bytes of its data files, 0 where not known; for estimates of time.
    """

    name: str
    type: str
    folder: Path | None = None
    size: int = 0

    @property
    def prompt(self) -> str | Mapping[str, str] | None:
        """Mteb's prompt of the task, None where it has none."""
        return official_prompt(self.name)

    def task(self) -> AbsTask:
        """Return the mteb task without its data.

        Raises:
            UserError: the folder's files make no task.
        """
        if self.folder is not None:
            return local_task(self.folder, self.name, task_type(self.folder))
        task = official_task(self.name)
        if task is None:
            raise UserError(f"mteb has no task {self.name!r}{nearest(self.name, official_names())}")
        return task

    def load(self, task: AbsTask) -> None:
        """Read a local task's rows; an official task loads its own when it is evaluated."""
        if self.folder is not None:
            fill(task, self.folder, task_type(self.folder))


def find_tasks(
    names: Sequence[str] = (), data_dir: str | Path | None = None, types: Collection[str] | None = None
) -> list[TaskSpec]:
    """Return the tasks `names`, each from its folder in `data_dir` if it has one there, else mteb's own.

    Without names: all task folders of `data_dir`. With `types`, only tasks of these mteb types.

    Raises:
        UserError: `data_dir` does not exist or holds no task; a name is neither a folder nor a task of mteb.
    """
    folders = _local_specs(Path(data_dir)) if data_dir is not None else {}
    if not names and data_dir is None:
        raise UserError("no tasks: give names with --tasks, or a folder of task folders with --data_dir")
    specs = [folders[name] if name in folders else _official_spec(name, folders) for name in dict.fromkeys(names)]
    if not names:
        specs = list(folders.values())
    if types is not None:
        other = [f"{spec.name} ({spec.type})" for spec in specs if spec.type not in types]
        if names and other:
            raise UserError(f"not of type {' or '.join(sorted(types))}: {', '.join(other)}; run_mteb.py scores all types")
        specs = [spec for spec in specs if spec.type in types]
    if not specs:
        kind = f" of type {' or '.join(sorted(types))}" if types else ""
        raise UserError(f"{data_dir or 'the list of tasks'} has no task{kind}")
    return specs


def _local_specs(data_dir: Path) -> dict[str, TaskSpec]:
    if not data_dir.is_dir():
        raise UserError(f"the data folder {data_dir} does not exist; --data_dir is a folder with one folder per task")
    specs: dict[str, TaskSpec] = {}
    folders = [path for path in sorted(data_dir.iterdir()) if path.is_dir() and data_files(path)]
    for folder in folders:
        spec = _local_spec(folder)
        if spec.name in specs:
            raise UserError(f"{folder} and {specs[spec.name].folder} are both named {spec.name}: rename one")
        specs[spec.name] = spec
    if not specs:
        own = " (it looks like a task itself: give the folder above it)" if data_files(data_dir) else ""
        raise UserError(f"{data_dir} has no folder with task files (JSON lines, see evaluation/local_data.py){own}")
    return specs


def _local_spec(folder: Path) -> TaskSpec:
    size = sum(path.stat().st_size for path in data_files(folder))
    try:
        name = read_settings(folder).get("name", folder.name)
        return TaskSpec(name, MTEB_TYPES[task_type(folder)], folder, size)
    except UserError:
        return TaskSpec(folder.name, UNKNOWN, folder, size)


def _official_spec(name: str, folders: Collection[str]) -> TaskSpec:
    task = official_task(name)
    if task is None:
        hint = nearest(name, [*folders, *official_names()])
        where = f" in --data_dir ({', '.join(sorted(folders))})" if folders else ""
        raise UserError(f"unknown task {name!r}{hint}: it is no task of mteb and no folder{where}")
    return TaskSpec(name, task.metadata.type)


def prompt_keys(tasks: Sequence[TaskSpec]) -> list[str]:
    """Return what may be a key of a prompts file: names of `tasks`, of mteb's tasks, and of types."""
    return [*dict.fromkeys([*(spec.name for spec in tasks), *MTEB_TYPES.values(), "Summarization", *official_names()])]
