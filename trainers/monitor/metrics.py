"""Figures of a run: sums over the batches between two log lines, and the file ``metrics.jsonl``."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from model_loaders.text.recipe import Recipe
from trainers.monitor.collapse import collapse_warning, figures_by_width
from trainers.step.batch import TripletBatch
from trainers.step.contrastive import StepResult

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import TrainerControl, TrainerState, TrainingArguments


COUNTS = 5  # tokens, queries, documents, cut queries, cut documents


def no_counts() -> Tensor:
    """Return counts of 0."""
    return torch.zeros(COUNTS, dtype=torch.int64)


@dataclass
class RunningMetrics:
    """Sums over batches; nothing is moved from the device before a line is logged.

    Attributes:
        batches: since the last line.
        counts: of this process since the last line: tokens, queries, documents, cut queries, cut documents.
        total: counts over all processes, of all lines before; a run that goes on takes it from its checkpoint. None if the
            checkpoint does not hold it.
        shares: sums over ``batches`` of accuracy and excluded pairs, on the device.
        sample: queries and positives of the last batch.
        since: time of the last line.
        dimensions: widths that the loss cuts the vectors to.
    """

    batches: int = 0
    counts: Tensor = field(default_factory=no_counts)
    total: Tensor | None = field(default_factory=no_counts)
    shares: Tensor | None = None
    sample: tuple[Tensor, Tensor] | None = None
    since: float = field(default_factory=time.monotonic)
    dimensions: tuple[int, ...] = ()

    def go_on(self, total: list[int] | None, window: Mapping[str, Any] | None = None, *, first: bool = True) -> None:
        """Continue from a checkpoint, and start the clock.

        Args:
            total: result of `whole`, None if it is not known.
            window: result of `window`, None if it is not known: the next line is then of fewer batches.
            first: whether this is the first process, which takes the counts of all.
        """
        self.total = None if total is None else torch.tensor(total)
        self.restart()
        if window is None:
            return
        counts = torch.tensor(window["counts"])
        if self.total is not None:
            self.total = self.total - counts
        if first:
            self.counts = counts
        self.batches, self.since = window["batches"], self.since - window["seconds"]
        self.shares = torch.tensor(window["shares"]) if window["shares"] else None

    def window(self, accelerator: Accelerator) -> dict[str, Any]:
        """Return the sums since the last line, ready for JSON; called on every process."""
        return {
            "batches": self.batches,
            "counts": self.everywhere(accelerator).tolist(),
            "shares": None if self.shares is None else self.shares.tolist(),
            "seconds": round(time.monotonic() - self.since, 3),
        }

    def restart(self) -> None:
        """Start the clock."""
        self.since = time.monotonic()

    def add(self, batch: TripletBatch, result: StepResult) -> None:
        """Add a batch and the result of its step."""
        documents = len(batch) - batch.queries
        self.counts += torch.tensor([batch.tokens, batch.queries, documents, *batch.truncated])
        shares = torch.stack([result.accuracy.float(), result.excluded.float()])
        self.shares = shares if self.shares is None else self.shares.to(shares.device) + shares
        self.batches += 1
        self.sample = result.queries, result.positives

    def take(self, accelerator: Accelerator) -> tuple[dict[str, float], str]:
        """Return the figures since the last line and a warning of a collapse, and start anew; called on every process."""
        assert self.shares is not None and self.sample is not None
        counts = self.everywhere(accelerator)
        accuracy, excluded = (self.shares / self.batches).tolist()
        tokens, seconds = int(counts[0]), time.monotonic() - self.since
        collapse = figures_by_width(*self.sample, self.dimensions)
        figures = {
            "accuracy": round(accuracy, 4),
            "excluded": round(excluded, 4),
            "tokens_per_second": round(tokens / max(seconds, 1e-9)),
            **truncation(counts),
            **collapse,
        }
        warning = collapse_warning(collapse, len(self.sample[0]))
        if self.total is not None:
            self.total = self.total + counts
        self.batches, self.counts, self.shares, self.sample = 0, no_counts(), None, None
        self.restart()
        return figures, warning

    def everywhere(self, accelerator: Accelerator) -> Tensor:
        """Return the counts of all processes together; called on every process."""
        summed: Tensor = accelerator.reduce(self.counts.to(accelerator.device), reduction="sum")
        return summed.cpu()

    def whole(self, accelerator: Accelerator) -> list[int] | None:
        """Return the counts of the run from its first step on, None if they are not known; called on every process."""
        counts = self.everywhere(accelerator)
        return None if self.total is None else (self.total + counts).tolist()

    def truncated(self, accelerator: Accelerator) -> dict[str, float]:
        """Return the shares of the run's texts that were cut, empty if not known; called on every process."""
        counts = self.whole(accelerator)
        return {} if counts is None else truncation(torch.tensor(counts))


LARGE_SHARE = 0.1  # a larger share of cut texts is worth a warning


def truncation_warning(shares: Mapping[str, float], recipe: Recipe) -> str:
    """Return a warning about texts that are cut, or an empty string.

    Args:
        shares: of `truncation`; empty if they are not known.
        recipe: its lengths are shown.
    """
    warnings = []
    for texts, length in (("queries", recipe.length("query")), ("documents", recipe.length("document"))):
        share = shares.get(f"truncated_{texts}", 0.0)
        if share > LARGE_SHARE:
            warnings.append(f"{share:.0%} of the {texts} are cut to {length} tokens")
    if not warnings:
        return ""
    return f"{' and '.join(warnings)}: raise --max_seq_length or --query_max_length, or split them"


def truncation(counts: Tensor) -> dict[str, float]:
    """Return the shares of queries and documents that were cut to the longest length, from counts of `RunningMetrics`."""
    _, queries, documents, cut_queries, cut_documents = counts.tolist()
    return {
        "truncated_queries": round(cut_queries / max(1, queries), 4),
        "truncated_documents": round(cut_documents / max(1, documents), 4),
    }


class MetricsFile(TrainerCallback):  # type: ignore[misc]
    """Appends every log line to ``metrics.jsonl`` in the output directory, on the main process."""

    def __init__(self, output_dir: Path) -> None:
        self.path = output_dir / "metrics.jsonl"

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Log and save as often as this command says, not as its checkpoint remembers."""
        state.compute_steps(args, state.max_steps)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write one line."""
        if state.is_world_process_zero and logs:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            line = {"step": state.global_step, "time": round(time.time(), 3), **logs}
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")


def exclusion_warning(figures: dict[str, float]) -> str:
    """Return a warning if nearly no negatives are left, or an empty string."""
    excluded = figures.get("excluded", 0.0)
    if excluded <= 0.9:
        return ""
    return (
        f"{excluded:.0%} of the pairs were left out as false negatives, so a positive has hardly anything to be "
        "told from: raise --similarity_margin, or look for repeated texts with trainers/check_data.py"
    )
