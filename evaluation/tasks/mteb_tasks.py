"""mteb's own tasks and benchmarks by name: of a task that is named alone the English part, on the split of published scores."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mteb
from mteb.abstasks import (
    AbsTask,
)
from mteb.abstasks.aggregated_task import AbsTaskAggregate
from mteb.get_tasks import _TASKS_REGISTRY

from common.errors import UserError


@dataclass(frozen=True)
class Part:
    """What a benchmark takes of a task.

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
    return task.metadata.type if task is not None else None


def main_score(name: str) -> str:
    """Return mteb's main score of its task `name`."""
    return str(_TASKS_REGISTRY[name].metadata.main_score)


def of_texts(name: str) -> bool:
    """Return whether mteb's task `name` is of texts alone."""
    return list(_TASKS_REGISTRY[name].metadata.modalities) == ["text"]


def data_path(name: str) -> str | None:
    """Return the hub name, or the folder, of the data of mteb's task `name`; None where mteb has no such task."""
    task = _TASKS_REGISTRY.get(name)
    return str(task.metadata.dataset["path"]) if task is not None else None


def official_task(name: str, subsets: Sequence[str] = (), splits: Sequence[str] = ()) -> AbsTask | None:
    """Return mteb's task `name`, without its data, or None where mteb has no such task.

    Without `subsets`, of a multilingual task the purely English ones are kept, if there are any; without `splits`, `test`, if
    there is one (MSMARCO, for one, is scored on `dev`).

    Raises:
        UserError: mteb's task has no such subset or split.
    """
    if name not in _TASKS_REGISTRY:
        return None
    metadata = _TASKS_REGISTRY[name].metadata
    for kind, given, there in (("subset", subsets, metadata.hf_subsets), ("split", splits, metadata.eval_splits)):
        if wrong := [one for one in given if one not in there]:
            raise UserError(f"mteb's task {name} has no {kind} {', '.join(map(repr, wrong))}; it has {', '.join(there)}")
    if subsets:
        task = mteb.get_task(name, hf_subsets=list(subsets))
    else:
        task = mteb.get_task(name, languages=["eng"], exclusive_language_filter=True)
        task = task if task.hf_subsets else mteb.get_task(name)
    if splits:
        return task.filter_eval_splits(list(splits))
    return task.filter_eval_splits(["test"]) if "test" in task.eval_splits else task


def official_prompt(name: str) -> str | Mapping[str, str] | None:
    """Return mteb's prompt of its task `name`: an instruction in words for queries and texts, or by side.

    A task without one of its own has that of its kind, as mteb's own models take it ("Retrieve semantically similar text."
    for STS). None where mteb has no such task.
    """
    task = _TASKS_REGISTRY.get(name)
    return None if task is None else task.metadata.prompt or getattr(task, "abstask_prompt", None)


def parts_of(task: AbsTask) -> Iterator[Part]:
    """Yield a task with its subsets and splits; one that mteb puts together from others (CQADupstack) gives those."""
    if isinstance(task, AbsTaskAggregate):
        for one in task.tasks:
            yield from parts_of(one)
    else:
        yield Part(task.metadata.name, tuple(task.hf_subsets), tuple(task.eval_splits))


def benchmark_names(types: Collection[str] | None = None) -> dict[str, bool]:
    """Return the names of mteb's benchmarks, without their other names, and whether each has a task of texts, of `types`."""
    return {
        benchmark.name: any(
            of_texts(part.name) and (types is None or official_type(part.name) in types)
            for task in benchmark.tasks
            for part in parts_of(task)
        )
        for benchmark in mteb.get_benchmarks()
    }


def benchmarks() -> dict[str, list[Part]]:
    """Return the tasks of every benchmark of mteb by its name and its other names, such as `MTEB(eng, v2)`."""
    found = {benchmark.name: benchmark for benchmark in mteb.get_benchmarks()}
    found |= {alias: one for one in list(found.values()) for alias in one.aliases or () if alias not in found}
    return {name: [part for task in one.tasks for part in parts_of(task)] for name, one in found.items()}


def clustered(task: Any, documents: int) -> int:
    """Return how many of a clustering task's documents are embedded, by mteb's rule."""
    if task.max_fraction_of_documents_to_embed is not None:
        return int(task.max_fraction_of_documents_to_embed * documents)
    return documents if task.max_document_to_embed is None else min(task.max_document_to_embed, documents)
