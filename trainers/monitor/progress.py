"""The progress of a run: one bar on a terminal, else a plain line for each log; on the first process only."""

from __future__ import annotations

import shutil
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

BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
WIDE = 100  # columns that have room for all figures beside the bar
SILENCE = 60.0  # seconds without a line

# The figures of a log line that are shown, in this order; metrics.jsonl has everything.
SHOWN = ("loss", "accuracy", "eval_loss", "eval_accuracy", "eval_mean")
EVALUATED = "eval_"  # begins the figures of an evaluation
MOST_SHOWN = 6  # scores of tasks in a line


def show_progress(trainer: Trainer) -> TrainingProgress:
    """Replace the trainer's own progress callbacks, which would print every log twice or as a dict."""
    for callback in (PrinterCallback, DEFAULT_PROGRESS_CALLBACK):
        trainer.remove_callback(callback)
    progress = TrainingProgress(trainer)
    trainer.add_callback(progress)
    return progress


class TrainingProgress(TrainerCallback):  # type: ignore[misc]
    """A bar where stdout and stderr are terminals and --disable_tqdm is not given, else plain lines on stdout.

    There is a line for each log, for the first step, and for a step after a minute without one.
    """

    def __init__(self, trainer: Trainer | None = None) -> None:
        self.trainer = trainer
        self.bar: tqdm | None = None
        self.started = self.last_line = time.monotonic()
        self.first_step = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Start the clock, and the bar where there is one."""
        self.started = self.last_line = time.monotonic()
        self.first_step = state.global_step
        if state.is_world_process_zero and not args.disable_tqdm and sys.stdout.isatty() and sys.stderr.isatty():
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc="train", dynamic_ncols=True, bar_format=BAR)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Move the bar, or print a line after the first step and after a minute of silence."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)
            return
        is_first = state.global_step == self.first_step + 1
        silent = time.monotonic() - self.last_line >= SILENCE
        if state.is_world_process_zero and (is_first or silent) and not control.should_log:
            loss = [] if self.trainer is None else [f"loss {mean_loss(self.trainer):.3g}"]
            self.write("  ".join([f"step {state.global_step}/{state.max_steps}", *loss, *self.time_left(state)]))

    def time_left(self, state: TrainerState) -> list[str]:
        """Return the time left, once there is a step to tell it from."""
        steps = state.global_step - self.first_step
        if steps < 1:
            return []
        pace = (time.monotonic() - self.started) / steps
        return [f"left {timedelta(seconds=round(pace * (state.max_steps - state.global_step)))}"]

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
            if shutil.get_terminal_size().columns < WIDE:
                figures.pop("tokens_per_second", None)  # or the end of the line would be cut
            self.bar.set_postfix_str("  ".join(figures.values()))
            return
        parts = [f"step {state.global_step}/{state.max_steps}", *figures.values()]
        if "loss" in figures:
            parts += self.time_left(state)
        self.write("  ".join(parts))

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Leave the finished bar on the screen."""
        self.close()

    def write(self, line: str) -> None:
        """Print a line without tearing the bar."""
        self.last_line = time.monotonic()
        if self.bar is not None:
            self.bar.write(line)
        else:
            print(line, flush=True)

    def close(self) -> None:
        """End the bar's line; to be called when training stops for whatever reason."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def mean_loss(trainer: Trainer) -> float:
    """Return the mean loss over the steps since the last line of metrics."""
    steps = int(trainer.state.global_step - trainer._globalstep_last_logged)
    total = float(trainer._tr_loss)
    return total / max(steps, 1)


def warn(text: str) -> None:
    """Print a warning on stderr without tearing a bar."""
    tqdm.write(f"warning: {text}", file=sys.stderr)


def shown_figures(logs: Mapping[str, Any]) -> dict[str, str]:
    """Return the figures of a log line that are shown, by name, as text."""
    texts = {name: f"{name} {logs[name]:.3g}" for name in SHOWN if name in logs}
    scores = [name for name in logs if name.startswith(EVALUATED) and name not in (*SHOWN, "eval_seconds")]
    for name in scores if len(scores) <= MOST_SHOWN else ():
        texts[name] = f"{name} {logs[name]:.3g}"
    if "tokens_per_second" in logs:
        texts["tokens_per_second"] = f"{quantity(logs['tokens_per_second'])} tokens/s"
    return texts
