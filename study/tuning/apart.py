"""Nothing is chosen by test data: development tasks share no text of some length with test tasks, nor are they the same."""

from __future__ import annotations

from itertools import chain

import numpy as np

from common.errors import UserError
from common.file_hashes import file_hash
from common.files import read_json_or_empty, write_json
from common.hashes import digest
from common.text_hash import letter_hashes
from evaluation.tasks.find import find_tasks
from evaluation.tasks.schemas import SPLITS
from study.input_keys import key_of_task
from study.report.leakage import TaskTexts, evaluation_texts, scored_texts, short
from study.study import Study
from trainers.scoring.arguments import ScoringArguments
from trainers.scoring.selection import ACCURACY, LOSS, MEAN

FILE = "apart.json"  # in the search's folder: which data were compared
FEWEST_WORDS = 5  # of a text that cannot be in both by chance


def ensure_apart(study: Study) -> list[str]:
    """Check the development tasks of a study's search, if it has one, unless the same data were checked before.

    Returns:
        What `check_apart` returns; nothing where it was said before.

    Raises:
        UserError: as `check_apart`.
    """
    if study.tuning is None:
        return []
    path = study.tuning.output_dir / FILE
    key = digest([FEWEST_WORDS, study.inputs.tasks, study.tuning.inputs.tasks])
    if read_json_or_empty(path).get("key") == key:
        return []
    sentences = check_apart(study, study.tuning)
    write_json({"key": key}, path)
    return sentences


def check_choice(study: Study, scoring: ScoringArguments) -> None:
    """Refuse a training that keeps its best checkpoint, or ends, by the scores of a test task.

    Args:
        study: whose test tasks those are; of a search the study that it belongs to.
        scoring: flags of the training, or of one of its stages.

    Raises:
        UserError: one of ``eval_tasks`` by which something is chosen is a task of the study.
    """
    metric = scoring.metric_for_best_model
    if not scoring.chooses or metric in (LOSS, ACCURACY):
        return
    from trainers.scoring.task_scores import named_tasks  # which imports mteb

    for spec in chain.from_iterable(map(named_tasks, scoring.tasks)):
        if metric not in (None, MEAN, spec.name):
            continue
        data = key_of_task(spec, file_hash)
        for test, key in study.inputs.tasks.items():
            if spec.name == test or data == key:
                raise UserError(
                    f"training: eval_tasks: {spec.name} is the study's test task {test}, and load_best_model_at_end or "
                    "early_stopping_patience would choose by its scores: name a development task, or leave the choice out"
                )


def check_apart(study: Study, tuning: Study) -> list[str]:
    """Compare the texts of all local development tasks with those of all local test tasks.

    Returns:
        Sentences on tasks whose texts are not here and were compared by name alone.

    Raises:
        UserError: a development task holds a test text; settings chosen on it would be chosen on the test.
    """
    tests, unseen = local_texts(study)
    development, unseen_too = local_texts(tuning, all_splits=True)
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


def local_texts(study: Study, *, all_splits: bool = False) -> tuple[list[TaskTexts], list[str]]:
    """Return the texts that a study's local tasks are scored on, or all that they have, and the names of its other tasks."""
    tasks, unseen = [], []
    for spec in find_tasks(study.config.tasks, study.inputs.eval_dir):
        if spec.local is None:
            unseen.append(spec.name)
        else:
            tasks.append(evaluation_texts(spec.local, spec.name, SPLITS) if all_splits else scored_texts(spec))
    return tasks, unseen


def long_texts(task: TaskTexts) -> list[str]:
    """Return a task's texts that have at least five words."""
    return [text for text in task.texts if len(text.split()) >= FEWEST_WORDS]
