"""Every figure of a run, a line for each log: ``metrics.jsonl``."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback


class MetricsFile(TrainerCallback):  # type: ignore[misc]
    """Appends every log line to ``metrics.jsonl`` in the output directory, on the main process."""

    def __init__(self, output_dir: Path) -> None:
        self.path = output_dir / "metrics.jsonl"

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Log and save as often as this command says, not as the checkpoint it goes on from remembers."""
        state.compute_steps(args, state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Write one line."""
        if state.is_world_process_zero and logs:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"step": state.global_step, "time": round(time.time(), 3), **logs}) + "\n")
