"""SIGTERM, which clusters and launchers send before they kill, ends a run as Ctrl-C does: what is finished is kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """The process got SIGTERM. No `Exception`, so that nothing on the way takes it for a task's failure."""


@contextmanager
def sigterm_stops() -> Iterator[None]:
    """Raise `Terminated` in the block when SIGTERM comes; a process that ignores SIGTERM goes on ignoring it."""
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or before in (signal.SIG_IGN, None):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the clean-up
        raise Terminated("Stopped by SIGTERM")

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def leave_signals_to_the_first_process() -> None:
    """Let signals end this process at once and silently: it holds nothing that must be kept."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
