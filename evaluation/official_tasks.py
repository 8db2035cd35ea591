"""mteb's own tasks by name: the English part of each, on the split that scores are published for."""

from __future__ import annotations

from collections.abc import Mapping

import mteb
from mteb.abstasks import AbsTask
from mteb.get_tasks import _TASKS_REGISTRY


def official_names() -> list[str]:
    """Return the names of all tasks that mteb knows."""
    return list(_TASKS_REGISTRY)


def official_task(name: str) -> AbsTask | None:
    """Return mteb's task `name`, without its data, or None where mteb has no such task.

    Of a multilingual task the purely English subsets are kept, if there are any; of the splits `test`, if there is one
    (MSMARCO, for one, is scored on `dev`).
    """
    if name not in _TASKS_REGISTRY:
        return None
    task = mteb.get_task(name, languages=["eng"], exclusive_language_filter=True)
    if not task.hf_subsets:
        task = mteb.get_task(name)
    return task.filter_eval_splits(["test"]) if "test" in task.eval_splits else task


def official_prompt(name: str) -> str | Mapping[str, str] | None:
    """Return mteb's prompt of a task: an instruction in words for queries and texts, or by side; None where it has none."""
    task = _TASKS_REGISTRY.get(name)
    return task.metadata.prompt if task is not None else None
