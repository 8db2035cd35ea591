"""One line as a task begins, with the time left, and one as it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence


class Progress:
    """Estimates the time left from the bytes of data scored so far; a task of unknown size counts as an average one."""

    def __init__(self, sizes: Sequence[int], log: Callable[[str], None]) -> None:
        known = [size for size in sizes if size]
        average = sum(known) / len(known) if known else 1.0
        self.sizes = [size or average for size in sizes]
        self.log = log
        self.done = 0.0  # size of the tasks that were computed
        self.seconds = 0.0
        self.began = 0.0

    def start(self, number: int, name: str) -> None:
        """Say that task `number` (from 0) begins."""
        self.began = time.monotonic()
        left = f", about {duration(self.seconds / self.done * sum(self.sizes[number:]))} left" if self.done else ""
        self.log(f"[{number + 1}/{len(self.sizes)}] {name} …{left}")

    def end(self, number: int, name: str, outcome: str, *, computed: bool) -> None:
        """Say how task `number` ended; one that failed or was there already says nothing about the others' time."""
        seconds = time.monotonic() - self.began
        if computed:
            self.done += self.sizes[number]
            self.seconds += seconds
        self.log(f"[{number + 1}/{len(self.sizes)}] {name}: {outcome}{f' ({duration(seconds)})' if computed else ''}")


def duration(seconds: float) -> str:
    """Return `3.2 s`, `4 min` or `1 h 20 min`."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
