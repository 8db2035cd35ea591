"""The flags of ``trainers/check_data.py`` beside those of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.errors import UserError
from trainers.flags.flag import option
from trainers.flags.ranges import Range


@dataclass
class CheckArguments:
    """The data check's own flags."""

    against: list[str] | None = field(
        default=None,
        metadata={
            "help": "Evaluation data: files or folders of JSONL (.gz), Parquet or CSV. Every text in it that stands in the "
            "training data is counted, by file and line on both sides."
        },
    )
    seen_after: list[str] | None = field(
        default=None,
        metadata={
            "help": "Moments to count for how often each row has been seen: steps (1000) or epochs (2epochs). Unset: the end "
            "of the run, by --max_steps or --num_train_epochs; with --run its last checkpoint too."
        },
    )
    run: str | None = option(None, "The output directory of a run: its flags are taken from there.")
    processes: int | None = option(None, "Processes that share a batch. Unset: those of --run's last checkpoint, else 1.")
    examples: int = option(3, "Places to show of each finding.")
    token_rows: int = option(20_000, "Rows of a data set whose tokens are counted, evenly spaced; 0: all.")
    json: str | None = option(None, "Write the whole report to this file too, as JSON.")

    def __post_init__(self) -> None:
        """Make lists of single values, which the flags collapse, and check the numbers.

        Raises:
            UserError: naming the flag.
        """
        if isinstance(self.against, str):
            self.against = [self.against]
        if isinstance(self.seen_after, str):
            self.seen_after = [self.seen_after]
        for name, least in (("processes", 1), ("examples", 0), ("token_rows", 0)):
            value = getattr(self, name)
            valid = Range(least, 2**31)
            if value is not None and not valid.holds(value):
                raise UserError(f"--{name} must be a number {valid}, got {value}")
