"""A trainer's process in a study: `trainers/train.py` on one cell, which ends with the study and records its peak memory.

``study/training.py CELL_FOLDER <flags of trainers/train.py>``
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's own folder is on sys.path, the root is not

from common.files import read_json_or_empty, write_json
from common.locks import locked
from study.launch import end_with_parent, leave
from trainers.checkpoints.run_files import METRICS_FILE

COST_FILE, LOCK_FILE = "training_cost.json", ".training.lock"
NOTING = threading.Lock()
GRACE = 60.0  # seconds to save a checkpoint when the study is gone


def main(argv: list[str] | None = None) -> int:
    """Train; return the exit status."""
    folder, *flags = sys.argv[1:] if argv is None else argv
    end_with_parent(os.getppid(), stop)
    with locked(Path(folder) / LOCK_FILE, f"the training in {folder}", patience=GRACE, shared=True):
        from trainers import train  # slow: the study may end meanwhile, which is watched from here on

        if os.environ.get("RANK", "0") == "0":
            threading.Thread(target=keep_cost, args=[Path(folder)], daemon=True).start()
        status = train.main(flags)
        if os.environ.get("RANK", "0") == "0":
            note_cost(Path(folder))
        return status


def keep_cost(folder: Path) -> None:
    """Note the cost while training goes on, so that a kill leaves it too."""
    while True:
        time.sleep(2.0)
        if (folder / "adapter" / METRICS_FILE).is_file():  # training has begun, so that libraries are loaded
            note_cost(folder)


def stop() -> None:
    """Save a checkpoint and leave, as on a signal; leave anyway when that takes too long."""
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Timer(GRACE, leave).start()
    time.sleep(GRACE)


def note_cost(folder: Path) -> None:
    """Write peak memory and device; of several attempts the highest peak."""
    import torch  # as above

    if torch.cuda.is_available():
        about: dict[str, Any] = {"peak_memory_bytes": torch.cuda.max_memory_allocated(), "device": torch.cuda.get_device_name()}
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        threads = torch.get_num_threads()
        about = {
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
            "device": "CPU, 1 thread" if threads == 1 else f"CPU, {threads} threads",
        }
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        about["device"] = f"{processes} × {about['device']}"
    with NOTING:
        if about["peak_memory_bytes"] > read_json_or_empty(folder / COST_FILE).get("peak_memory_bytes", 0):
            write_json(about, folder / COST_FILE)


if __name__ == "__main__":
    sys.exit(main())
