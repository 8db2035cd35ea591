"""Names of what a run writes into its output directory, beside the adapter and the checkpoints."""

from __future__ import annotations

CONFIG_FILE = "train_config.json"  # every resolved flag; the first file of a run
METRICS_FILE = "metrics.jsonl"  # a line for every log
DIVERGED_FILE = "diverged.json"  # why a run ended in values that are not finite, until it is started again
RESULT_FILE = "train_result.json"  # the last file: a run that has it is finished
