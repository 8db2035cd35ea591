"""The progress of a run: one bar on a terminal, else a plain line for each log; on the first process only."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tqdm import tqdm
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK

from common.words import quantity

if TYPE_CHECKING:
    from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

# The figures of a log line that are shown, in this order; metrics.jsonl has everything.
SHOWN = ("loss", "accuracy", "eval_loss", "eval_accuracy")


def show_progress(trainer: Trainer) -> TrainingProgress:
    """Replace the trainer's own progress callbacks, which would print every log twice or as a dict."""
    for callback in (PrinterCallback, DEFAULT_PROGRESS_CALLBACK):
        trainer.remove_callback(callback)
    progress = TrainingProgress()
    trainer.add_callback(progress)
    return progress


class TrainingProgress(TrainerCallback):  # type: ignore[misc]
    """A bar where stdout and stderr are terminals and --disable_tqdm is not given, else plain lines on stdout."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        self.started, self.first_step = time.monotonic(), 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Start the clock, and the bar where there is one."""
        self.started, self.first_step = time.monotonic(), state.global_step
        if state.is_world_process_zero and not args.disable_tqdm and sys.stdout.isatty() and sys.stderr.isatty():
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc="train", unit="step", dynamic_ncols=True)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Move the bar."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Show loss, accuracy and speed."""
        figures = shown_figures(logs or {})
        if not state.is_world_process_zero or not figures:
            return
        if self.bar is not None and "loss" in figures:
            self.bar.set_postfix_str("  ".join(figures.values()))
            return
        parts = [f"step {state.global_step}/{state.max_steps}", *figures.values()]
        if "loss" in figures and state.global_step > self.first_step:
            pace = (time.monotonic() - self.started) / (state.global_step - self.first_step)
            parts.append(f"left {timedelta(seconds=round(pace * (state.max_steps - state.global_step)))}")
        self.write("  ".join(parts))

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Leave the finished bar on the screen."""
        self.close()

    def write(self, line: str) -> None:
        """Print a line without tearing the bar."""
        if self.bar is not None:
            self.bar.write(line)
        else:
            print(line, flush=True)

    def close(self) -> None:
        """End the bar's line; to be called when training stops for whatever reason."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def warn(text: str) -> None:
    """Print a warning on stderr without tearing a bar."""
    tqdm.write(f"warning: {text}", file=sys.stderr)


def shown_figures(logs: Mapping[str, Any]) -> dict[str, str]:
    """Return the figures of a log line that are shown, by name, as text."""
    texts = {name: f"{name} {logs[name]:.3g}" for name in SHOWN if name in logs}
    if "tokens_per_second" in logs:
        texts["tokens_per_second"] = f"{quantity(logs['tokens_per_second'])} tokens/s"
    return texts
