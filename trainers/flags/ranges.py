"""The valid range of every number among the flags, inherited ones included: a test finds a number that has none here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.errors import UserError
from common.number_check import is_number


@dataclass(frozen=True)
class Range:
    """The valid values of a number.

    Attributes:
        least: smallest one.
        most: largest one; far above what anybody needs, and below what overflows.
        above: whether ``least`` itself is too small.
        below: whether ``most`` itself is too large.
    """

    least: float
    most: float
    above: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        """Whether a value is valid; NaN never is."""
        least = value > self.least if self.above else value >= self.least
        most = value < self.most if self.below else value <= self.most
        return least and most

    def __str__(self) -> str:
        least = f"above {self.least:g}" if self.above else f"from {self.least:g}"
        return f"{least} {'to below' if self.below else 'to'} {self.most:,g}"


COUNT = Range(1, 2**62)  # of rows
ROWS_OF_A_BATCH = Range(1, 2**24)
LENGTH = Range(0, 2**24, above=True)  # of a text in tokens
SIZE = Range(0, 2**16, above=True)  # of a layer
RATE = Range(0, 3e38)  # of fp32
INTERVAL = Range(0, 1e9, above=True)  # in steps, or below 1 as a share of the run
SEED = Range(0, 2**32, below=True)
SHARE = Range(0, 1, below=True)

RANGES: dict[str, Range] = {
    "last_layers": SIZE,
    "lora_r": SIZE,
    "lora_alpha": Range(0, 2**31, above=True),
    "lora_dropout": SHARE,
    "attention_dropout": SHARE,
    "pooling_latents": SIZE,
    "pooling_heads": SIZE,
    "pooling_head_dim": SIZE,
    "max_seq_length": LENGTH,
    "query_max_length": LENGTH,
    "max_train_samples": COUNT,
    "max_eval_samples": COUNT,
    "max_negatives": Range(0, 2**62),
    "loss_scale": Range(0, 1e6, above=True),
    "similarity_margin": Range(-2, 2),
    "hardness": Range(0, 1e6),
    "distillation_share": Range(0, 1, above=True),
    "teacher_temperature": Range(0, 1e9, above=True),
    "mask_share": Range(0, 1, above=True, below=True),
    "chunk_tokens": Range(0, 2**40, above=True),
    "per_device_train_batch_size": ROWS_OF_A_BATCH,
    "per_device_eval_batch_size": ROWS_OF_A_BATCH,
    "gradient_accumulation_steps": ROWS_OF_A_BATCH,
    "num_train_epochs": Range(-1e9, 1e9),
    "max_steps": Range(-1e9, 1e9),
    "learning_rate": RATE,
    "pooling_learning_rate": RATE,
    "warmup_steps": Range(0, 1e9),
    "weight_decay": RATE,
    "max_grad_norm": Range(0, 1e20),
    "adam_epsilon": RATE,
    "adam_beta1": SHARE,
    "adam_beta2": SHARE,
    "logging_steps": INTERVAL,
    "eval_steps": INTERVAL,
    "save_steps": INTERVAL,
    "eval_delay": Range(0, 1e9),
    "save_total_limit": Range(1, 1e9),
    "early_stopping_patience": COUNT,
    "early_stopping_threshold": Range(0, 1e9),
    "seed": SEED,
    "data_seed": SEED,
    "dataloader_num_workers": Range(0, 1024),
    "dataloader_prefetch_factor": Range(1, 2**16),
    "ddp_bucket_cap_mb": Range(1, 2**20),
    "ddp_timeout": Range(1, 1e8),
    "local_rank": Range(-1, 2**20),
}

# These are counts, whatever the type of their flag is: TrainingArguments takes 1.5 for some of them.
WHOLE_ABOVE_ONE = ("logging_steps", "eval_steps", "save_steps", "warmup_steps")


def check_finite_options(options: object, place: str) -> None:
    """Refuse NaN and infinity in options, which JSON and YAML can hold at any depth.

    Raises:
        UserError: naming the place and the option.
    """
    entries: list[tuple[object, object]] = []
    if isinstance(options, Mapping):
        entries = list(options.items())
    elif isinstance(options, list):
        entries = list(enumerate(options))
    for key, value in entries:
        if isinstance(value, int | float) and not isinstance(value, bool) and not is_number(value):
            raise UserError(f"{place}: {key} must be a finite number, got {value}")
        check_finite_options(value, place)


def check_ranges(values: Mapping[str, Any]) -> None:
    """Refuse numbers out of their ranges, NaN and infinity among them.

    Args:
        values: converted values of flags; those that are no numbers are left alone.

    Raises:
        UserError: naming the flag.
    """
    for name, value in values.items():
        if name not in RANGES or isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if not RANGES[name].holds(value):
            raise UserError(f"--{name} must be a number {RANGES[name]}, got {value}")
        if name in WHOLE_ABOVE_ONE and value >= 1 and value != int(value):
            raise UserError(f"--{name} must be a whole number of steps, or below 1 as a share of the run, got {value}")
