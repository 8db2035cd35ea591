"""Checks of the flags of evaluations that depend on each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError
from trainers.scoring.arguments import CHOICE_FLAGS, EVALUATION_FLAGS, LOSS_FLAGS, ScoringArguments

Values = Mapping[str, Any]
PAPER = "paper/"  # begins the names of the paper's lists of tasks
SAVE_STEPS, LOGGING_STEPS = 500, 10  # where nothing is given


def check_evaluation(values: Values, typed: set[str]) -> None:
    """Refuse evaluations of nothing, data that are not evaluated, and a choice that cannot be made.

    Args:
        values: converted values of the flags that are set.
        typed: the flags of the command line. A recipe file for several runs may hold flags that do nothing in this one.

    Raises:
        UserError: naming the flag and the way out.
    """
    tasks = ScoringArguments(eval_tasks=values.get("eval_tasks")).tasks
    evaluated = [name for name in ("eval_dataset", "eval_tasks") if values.get(name)]
    if not evaluated:
        _refuse_useless(values, typed)
        return
    if values.get("eval_strategy") == "no":
        raise UserError(f"--{evaluated[0]} would not be used with --eval_strategy no: give epoch or steps")
    if not values.get("eval_dataset"):
        for name in _useless(values, typed, LOSS_FLAGS):
            raise UserError(f"--{name} does nothing without --eval_dataset: leave it out")
    if values.get("eval_strategy") == "epoch" and "eval_steps" in typed and values.get("eval_steps") is not None:
        raise UserError("--eval_steps does nothing with --eval_strategy epoch: leave one of them out")
    for task in tasks:
        check_place(task)
    _check_choice(values)


def _refuse_useless(values: Values, typed: set[str]) -> None:
    """Refuse flags of evaluations where nothing is evaluated."""
    useless = _useless(values, typed, EVALUATION_FLAGS)
    useless[:0] = [name for name in ("eval_strategy", "eval_steps", "eval_on_start", *CHOICE_FLAGS) if _is_set(values, name)]
    if useless:
        raise UserError(
            f"--{useless[0]} does nothing without --eval_dataset or --eval_tasks: give one of those, or leave it out"
        )


def _useless(values: Values, typed: set[str], names: tuple[str, ...]) -> list[str]:
    """Return those of the flags that were typed for this run."""
    useless = [name for name in names if name in typed]
    # The published launch commands give both batch sizes as the same number, and evaluate nothing.
    if values.get("per_device_eval_batch_size") == values.get("per_device_train_batch_size"):
        useless = [name for name in useless if name != "per_device_eval_batch_size"]
    return useless


def _is_set(values: Values, name: str) -> bool:
    """Whether a flag has another value than the one that does nothing."""
    return values.get(name) not in (None, False, "no", 0.0)


def check_place(task: str) -> None:
    """Refuse the path of a folder that is not there; a name without a slash may be a task of mteb.

    Raises:
        UserError: there is no such folder.
    """
    path = Path(task).expanduser()
    if path.is_dir():
        return
    if path.is_file():
        raise UserError(f"--eval_tasks {task} is a file: give the folder of the task, or a folder of task folders")
    if "/" in task and not task.startswith(PAPER):
        raise UserError(
            f"--eval_tasks {task}: there is no such folder; give the folder of a task (docs/evaluation.md, your own data), a "
            "folder of such folders, or the name of a task of mteb"
        )


def _check_choice(values: Values) -> None:
    """Refuse flags of a choice that is not made, and evaluations without a checkpoint where the best one is wanted."""
    best, patience = values.get("load_best_model_at_end"), values.get("early_stopping_patience")
    if _is_set(values, "metric_for_best_model") and not best and patience is None:
        raise UserError(
            "--metric_for_best_model chooses nothing: add --load_best_model_at_end or --early_stopping_patience, or leave it "
            "out"
        )
    if _is_set(values, "early_stopping_threshold") and patience is None:
        raise UserError("--early_stopping_threshold does nothing without --early_stopping_patience: give both, or none")
    if best:
        _check_meeting(values)


def _check_meeting(values: Values) -> None:
    """Refuse evaluated steps of which there would be no checkpoint."""
    evaluations = values.get("eval_strategy") or ("steps" if values.get("eval_steps") is not None else "epoch")
    saves = str(values.get("save_strategy", "steps"))
    every = float(values.get("eval_steps") or values.get("logging_steps") or LOGGING_STEPS)
    saved = float(values.get("save_steps") or SAVE_STEPS)
    start = "--load_best_model_at_end needs a checkpoint of each evaluated step"
    if evaluations == "epoch" and saves != "epoch":
        raise UserError(
            f"{start}, and the run is evaluated after each epoch: give --save_strategy epoch, or --eval_steps N with "
            "--save_steps N"
        )
    if evaluations != "steps":
        return
    if saves != "steps":
        raise UserError(
            f"{start}, and the run is evaluated every {every:g} steps: give --save_strategy steps --save_steps {every:g}"
        )
    meets = every == saved if min(every, saved) < 1 else every % saved == 0
    if not meets:
        raise UserError(
            f"{start}: evaluations come every {every:g} steps and checkpoints every {saved:g}: give --save_steps {every:g}"
        )
