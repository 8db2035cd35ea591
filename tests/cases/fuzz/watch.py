"""Time and memory of one reading, and a limit on both, so that a fault ends as a failed test and not with the machine."""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

MOST_SECONDS = 2.0
MOST_MEMORY = 500 * 2**20
HARD_LIMIT = 4 * 2**30  # of address space, beyond what is there


@dataclass
class Figures:
    """What was measured of one reader.

    Attributes:
        outcomes: number of inputs by outcome: ``value`` or ``error``.
        seconds: of processor time, of the slowest input.
        memory: bytes, of the input that took most.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    memory: int = 0

    def line(self, name: str) -> str:
        """Return a line of a table."""
        values, errors = self.outcomes["value"], self.outcomes["error"]
        memory = self.memory / 2**20
        return f"| {name} | {values + errors} | {values} | {errors} | {self.seconds:.2f} s | {memory:.0f} MB |"


def memory(name: str) -> int:
    """Return a figure of /proc/self/status in bytes; 0 where there is none."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


@contextmanager
def watched(figures: Figures) -> Iterator[None]:
    """Measure a block, and hold it against the limits.

    Raises:
        AssertionError: it took too long, or too much memory.
    """
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (memory("VmSize") + HARD_LIMIT, limits[1]))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    resident, started = memory("VmRSS"), time.process_time()
    try:
        yield
    finally:
        seconds, peak = time.process_time() - started, memory("VmHWM") - resident
        resource.setrlimit(resource.RLIMIT_AS, limits)
        figures.seconds, figures.memory = max(figures.seconds, seconds), max(figures.memory, peak)
    assert seconds <= MOST_SECONDS, f"{seconds:.1f} s of processor time"
    assert peak <= MOST_MEMORY, f"{peak / 2**20:.0f} MB"
