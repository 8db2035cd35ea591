"""Checks that the optimizer, its schedule and the trackers of a run can be made, before any data are prepared.

They are made once, of one parameter, as Trainer will make them. Imports torch and transformers.
"""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

import torch
from transformers import Trainer, get_scheduler
from transformers.integrations.integration_utils import get_reporting_integration_callbacks

from common.errors import UserError
from common.files import first_line
from trainers.flags.ranges import check_finite_options

if TYPE_CHECKING:
    from transformers import TrainingArguments

STEPS = 100  # of a schedule whose length is not known yet
NONSENSE = "~"  # no option of an optimizer has this value


def check_installed(training: TrainingArguments) -> None:
    """Refuse an optimizer, a schedule or a tracker that cannot be made.

    Raises:
        UserError: naming the flag and the reason.
    """
    check_trackers(training)
    optimizer = check_optimizer(training)
    check_schedule(training, optimizer)


def check_trackers(training: TrainingArguments) -> None:
    """Refuse trackers that do not exist or are not installed."""
    names = training.report_to or []
    for name in [names] if isinstance(names, str) else names:
        if name in ("none", "all"):  # Trainer knows them alone, not in a list
            raise UserError(f"--report_to {name} stands alone, without other names")
        try:
            for callback in get_reporting_integration_callbacks(name):
                callback()
        except Exception as error:  # each library has its own
            raise UserError(f"--report_to {name} cannot be had: {text_of(error)}") from error


def check_optimizer(training: TrainingArguments) -> torch.optim.Optimizer:
    """Make the optimizer of one parameter; another one where that would need the GPU."""
    name = str(getattr(training.optim, "value", training.optim))
    try:
        kind, settings = Trainer.get_optimizer_cls_and_kwargs(training)
    except Exception as error:
        flags = f"--optim {name}" if training.optim_args is None else f"--optim {name} --optim_args {training.optim_args}"
        raise UserError(f"{flags} cannot be had: {text_of(error)}") from error
    for option in option_names(training.optim_args):
        if not is_read(training, option):
            raise UserError(f"--optim_args: {name} has no option {option!r} there: leave it out")
    for option, value in settings.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"--optim {name} cannot be made of these options: {option} is {value}")
    parameter = torch.nn.Parameter(torch.zeros(()))
    if not kind.__module__.startswith("torch."):
        return torch.optim.SGD([parameter], lr=training.learning_rate)
    try:
        optimizer: torch.optim.Optimizer = kind([parameter], **settings)
    except Exception as error:
        raise UserError(f"--optim {name} cannot be made of these options: {text_of(error)}") from error
    return optimizer


def option_names(text: str | None) -> list[str]:
    """Return the names in ``--optim_args name=value,name=value``."""
    return [part.partition("=")[0] for part in (text or "").replace(" ", "").split(",") if part]


def is_read(training: TrainingArguments, option: str) -> bool:
    """Whether the optimizer reads an option: Trainer drops the others without a word, and ours does not."""
    given = training.optim_args
    results: list[Any] = []
    try:
        for text in (None, f"{option}={NONSENSE}"):
            training.optim_args = text
            try:
                results.append(repr(Trainer.get_optimizer_cls_and_kwargs(training)))
            except Exception as error:  # it is read, and makes no sense
                results.append(text_of(error))
    finally:
        training.optim_args = given
    return bool(results[0] != results[1])


def check_schedule(training: TrainingArguments, optimizer: torch.optim.Optimizer) -> None:
    """Make the schedule, and look at its rates."""
    steps = training.max_steps if training.max_steps > 0 else STEPS
    warmup = min(training.get_warmup_steps(steps), steps)
    name = str(getattr(training.lr_scheduler_type, "value", training.lr_scheduler_type))
    options = training.lr_scheduler_kwargs
    check_finite_options(options, "--lr_scheduler_kwargs")
    try:
        schedule = get_scheduler(
            training.lr_scheduler_type,
            optimizer=optimizer,
            num_warmup_steps=warmup,
            num_training_steps=steps,
            scheduler_specific_kwargs=dict(options or {}),
        )
        rates = [factor(step) for factor in getattr(schedule, "lr_lambdas", []) for step in (0, warmup, steps - 1, steps)]
    except Exception as error:
        raise UserError(
            f"--lr_scheduler_type {name} cannot be made with --lr_scheduler_kwargs {options}: {text_of(error)}"
        ) from error
    if not torch.tensor(rates, dtype=torch.float64).isfinite().all():
        raise UserError(f"--lr_scheduler_kwargs {options} makes learning rates that are no finite numbers")


def text_of(error: BaseException) -> str:
    """Return an error on one line, without the type's name where it has a text."""
    lines = inspect.cleandoc(str(error)).split("\n")
    text = " ".join(line.strip() for line in lines if line.strip())
    return text[:300] or first_line(error)
