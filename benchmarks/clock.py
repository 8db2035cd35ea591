"""The clock of the benchmarks."""

from __future__ import annotations

import time

import torch


def clock() -> float:
    """Return seconds: of the processor with one thread, so that other programs do not count; else of the clock."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()
