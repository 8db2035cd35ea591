"""mteb's own tasks and benchmarks by name.

A task that is named alone stands for its English part, where it has one, else for all of it, on the split of published scores.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import mteb
from mteb.abstasks import AbsTask, AbsTaskClustering
from mteb.abstasks.aggregated_task import AbsTaskAggregate
from mteb.benchmarks import Benchmark
from mteb.get_tasks import _TASKS_REGISTRY

from common.errors import UserError


@dataclass(frozen=True)
class TaskSelection:
    """A task with the subsets and splits that a benchmark takes of it.

    Attributes:
        name: of the task.
        subsets: mteb's names of the subsets, all of them where the task has one.
        splits: on which it is scored.
    """

    name: str
    subsets: tuple[str, ...]
    splits: tuple[str, ...]


def official_names() -> list[str]:
    """Return the names of all tasks that mteb knows."""
    return list(_TASKS_REGISTRY)


def official_type(name: str) -> str | None:
    """Return mteb's name of the type of its task `name`, or None where mteb has no such task."""
    task = _TASKS_REGISTRY.get(name)
    return None if task is None else task.metadata.type


def types_of_texts() -> list[str]:
    """Return mteb's names of the types that its tasks of texts have, sorted."""
    return sorted({str(official_type(name)) for name in official_names() if of_texts(name)})


def main_score(name: str) -> str:
    """Return mteb's main score of its task `name`."""
    return str(_TASKS_REGISTRY[name].metadata.main_score)


def of_texts(name: str) -> bool:
    """Return whether mteb's task `name` is of texts alone."""
    return list(_TASKS_REGISTRY[name].metadata.modalities) == ["text"]


def data_path(name: str) -> str | None:
    """Return the hub name, or the folder, of the data of mteb's task `name`; None where mteb has no such task."""
    task = _TASKS_REGISTRY.get(name)
    return None if task is None else str(task.metadata.dataset["path"])


def official_task(name: str, subsets: Sequence[str] = (), splits: Sequence[str] = ()) -> AbsTask | None:
    """Return mteb's task `name`, without its data, or None where mteb has no such task.

    Without `subsets`, the purely English ones are kept, or all of them where none is (GermanQuAD); without `splits`, `test`,
    if there is one (MSMARCO, for one, is scored on `dev`).

    Raises:
        UserError: mteb's task has no such subset or split.
    """
    if name not in _TASKS_REGISTRY:
        return None
    metadata = _TASKS_REGISTRY[name].metadata
    _check_names(name, "subset", subsets, metadata.hf_subsets)
    _check_names(name, "split", splits, metadata.eval_splits)
    task = mteb.get_task(name, hf_subsets=list(subsets)) if subsets else _english_part(name)
    if splits:
        return task.filter_eval_splits(list(splits))
    return task.filter_eval_splits(["test"]) if "test" in task.eval_splits else task


def _english_part(name: str) -> AbsTask:
    """Return a task with its purely English subsets, or with all of them where none is."""
    try:
        return mteb.get_task(name, languages=["eng"], exclusive_language_filter=True)
    except ValueError:  # mteb found no such subset
        return mteb.get_task(name)


def _check_names(task: str, part: str, names: Sequence[str], valid: Sequence[str]) -> None:
    wrong = [repr(name) for name in names if name not in valid]
    if wrong:
        raise UserError(f"mteb's task {task} has no {part} {', '.join(wrong)}; it has {', '.join(valid)}")


def official_prompt(name: str) -> str | Mapping[str, str] | None:
    """Return mteb's prompt of its task `name`: an instruction in words for queries and texts, or by side.

    A task without a prompt of its own has that of its kind, as mteb's own models take it ("Retrieve semantically similar
    text." for STS). None where mteb has no such task.
    """
    task = _TASKS_REGISTRY.get(name)
    if task is None:
        return None
    return task.metadata.prompt or getattr(task, "abstask_prompt", None)


def selections(task: AbsTask) -> Iterator[TaskSelection]:
    """Yield a task with its subsets and splits; for a task that mteb puts together from others (CQADupstack), each of those."""
    if isinstance(task, AbsTaskAggregate):
        for member in task.tasks:
            yield from selections(member)
    else:
        yield TaskSelection(task.metadata.name, tuple(task.hf_subsets), tuple(task.eval_splits))


def aggregates() -> dict[str, set[str]]:
    """Return the tasks of texts that mteb puts together from others, each with the names of those."""
    found = {}
    for name, task in _TASKS_REGISTRY.items():
        if issubclass(task, AbsTaskAggregate) and of_texts(name):
            found[name] = {member.metadata.name for member in task.metadata.tasks}
    return found


def _selections_of(benchmark: Benchmark) -> list[TaskSelection]:
    members: list[TaskSelection] = []
    for task in benchmark.tasks:
        members += selections(task)
    return members


def benchmark_names(types: Collection[str] | None = None) -> dict[str, bool]:
    """Return the names of mteb's benchmarks, without their other names; True where one has a task of texts, of `types`."""
    names = {}
    for benchmark in mteb.get_benchmarks():
        scored = [task.name for task in _selections_of(benchmark) if of_texts(task.name)]
        if types is not None:
            scored = [name for name in scored if official_type(name) in types]
        names[benchmark.name] = bool(scored)
    return names


def benchmarks() -> dict[str, list[TaskSelection]]:
    """Return the tasks of every benchmark of mteb by its name and its other names, such as `MTEB(eng, v2)`."""
    members: dict[str, list[TaskSelection]] = {}
    aliases: dict[str, list[TaskSelection]] = {}
    for benchmark in mteb.get_benchmarks():
        members[benchmark.name] = _selections_of(benchmark)
        aliases.update(dict.fromkeys(benchmark.aliases or (), members[benchmark.name]))
    return {**members, **{alias: tasks for alias, tasks in aliases.items() if alias not in members}}


def scores_queries_in_parts(task: AbsTask) -> bool:
    """Return whether mteb scores queries `12_0` and `12_1` as one, `12`, by the best of its parts (MindSmallReranking)."""
    return str(task.metadata.main_score).startswith("max_over_subqueries")


def clustered(task: AbsTaskClustering, documents: int) -> int:
    """Return how many of a clustering task's documents are embedded, by mteb's rule."""
    if task.max_fraction_of_documents_to_embed is not None:
        return int(task.max_fraction_of_documents_to_embed * documents)
    if task.max_document_to_embed is None:
        return documents
    return min(int(task.max_document_to_embed), documents)
