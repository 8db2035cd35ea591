"""Names of the files of a run, beside those of the adapter (`model_loaders.layouts`)."""

from __future__ import annotations

import re
from pathlib import Path

# In the output directory
CONFIG_FILE = "train_config.json"  # every resolved flag; the first file of a run
METRICS_FILE = "metrics.jsonl"  # a line for every log
DIVERGED_FILE = "diverged.json"  # why a run ended in values that are not finite, until it is started again
RESULT_FILE = "train_result.json"  # the last file: a run that has it is finished
LOCK_FILE = ".run.lock"  # held while a run goes on
STAGE = ".stage"  # the folder that checkpoints are written in

# In a checkpoint
STATE_FILE = "trainer_state.json"
TOKENIZER_FILE = "tokenizer.json"
SEAL_FILE = "checkpoint.json"  # the last file: size and hash of all others


def checkpoint_name(step: int) -> str:
    """Return the name of a step's checkpoint."""
    return f"checkpoint-{step}"


def step_of(checkpoint: Path) -> int:
    """Return the step of a checkpoint from the number at the end of its directory's name; -1 without one."""
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def checkpoints(output_dir: Path) -> list[Path]:
    """Return the checkpoints in ``output_dir``, oldest first. Each was whole when it got its name."""
    paths = [path for path in output_dir.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name) and path.is_dir()]
    return sorted(paths, key=step_of)
