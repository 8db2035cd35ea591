"""Development tasks are apart from test tasks: no text of some length stands in both."""

from __future__ import annotations

import numpy as np

from common.errors import UserError
from common.text_hash import letter_hashes
from evaluation.tasks.find import find_tasks
from study.report.leakage import TaskTexts, evaluation_texts, short
from study.study import Study

FEWEST_WORDS = 5  # of a text that cannot be in both by chance


def check_apart(study: Study, tuning: Study) -> list[str]:
    """Compare the texts of all local development tasks with those of all local test tasks.

    Returns:
        Sentences on tasks whose texts are not here and were compared by name alone.

    Raises:
        UserError: a development task holds a test text; settings chosen on it would be chosen on the test.
    """
    tests, unseen = local_texts(study)
    development, unseen_too = local_texts(tuning)
    known = {}
    for test in tests:
        for text in long_texts(test):
            known[text] = test.name
    hashes = letter_hashes(list(known))
    names = list(known.values())
    order = np.argsort(hashes)
    for task in development:
        texts = long_texts(task)
        own = letter_hashes(texts)
        shared = np.flatnonzero(np.isin(own, hashes) & (own != 0))
        if len(shared):
            place = order[np.searchsorted(hashes, own[shared[0]], sorter=order)]
            raise UserError(
                f"tune: {len(shared)} of {len(texts)} texts of the development task {task.name} stand in test tasks, such as "
                f"{short(texts[shared[0]])!r} in {names[place]}: take them out, or choose the settings on another task"
            )
    if not unseen and not unseen_too:
        return []
    listed = ", ".join([*unseen_too, *unseen])
    return [f"tuning: texts of tasks whose data mteb brings itself were not compared, their names alone: {listed}"]


def local_texts(study: Study) -> tuple[list[TaskTexts], list[str]]:
    """Return the test texts of a study's local tasks, and the names of its other tasks."""
    tasks, unseen = [], []
    for spec in find_tasks(study.config.tasks, study.inputs.eval_dir):
        if spec.local is None:
            unseen.append(spec.name)
        else:
            tasks.append(evaluation_texts(spec.local, spec.name))
    return tasks, unseen


def long_texts(task: TaskTexts) -> list[str]:
    """Return a task's texts that have at least five words."""
    return [text for text in task.texts if len(text.split()) >= FEWEST_WORDS]
