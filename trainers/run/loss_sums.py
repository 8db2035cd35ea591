"""Sums of Trainer's losses, kept in a checkpoint: Trainer begins with 0 at each start, and reports the mean since then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch

if TYPE_CHECKING:
    from transformers import Trainer


@dataclass(frozen=True)
class LossSums:
    """Sums of the loss over optimizer steps.

    Attributes:
        logged: over the steps up to the last line of metrics.
        since: over the steps after it.
        last_logged: step of that line.
    """

    logged: float
    since: float
    last_logged: int

    @classmethod
    def of(cls, trainer: Trainer) -> Self:
        """Return the sums of a trainer."""
        return cls(float(trainer._total_loss_scalar), float(trainer._tr_loss), int(trainer._globalstep_last_logged))

    @classmethod
    def read(cls, content: dict[str, Any] | None) -> Self | None:
        """Return the sums in a checkpoint's seal; None where an earlier version has written it."""
        return None if content is None else cls(**content["loss"])

    def restore(self, trainer: Trainer) -> None:
        """Set a trainer's sums, after it has set them to 0 and before its first step."""
        trainer._total_loss_scalar = self.logged
        trainer._tr_loss += torch.tensor(self.since, device=trainer._tr_loss.device)
        trainer._globalstep_last_logged = self.last_logged


class LossRecord:
    """The sums of a run, over all its starts.

    Attributes:
        complete: whether they hold the losses of all steps.
    """

    def __init__(self) -> None:
        self.complete = True
        self.restored: LossSums | None = None

    def go_on(self, sums: LossSums | None) -> None:
        """Continue from a checkpoint's sums, None if it has none."""
        self.restored, self.complete = sums, sums is not None

    def begin(self, trainer: Trainer) -> None:
        """Set the trainer's sums before its first step after a start."""
        if self.restored is not None:
            self.restored.restore(trainer)
            self.restored = None

    def correct(self, figures: dict[str, float], trainer: Trainer) -> None:
        """Make ``train_loss`` in Trainer's last line the mean over the whole run, or leave it out if that is not known."""
        if "train_loss" not in figures:
            return
        if self.restored is not None or not self.complete:
            del figures["train_loss"]
            return
        figures["train_loss"] = float(trainer._total_loss_scalar) / max(trainer.state.global_step, 1)
