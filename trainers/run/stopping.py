"""Signals: a run that is told to stop finishes its step, saves a checkpoint, prints how to go on, and leaves.

Clusters and launchers send SIGTERM before they kill, a terminal sends SIGINT for Ctrl-C, and SLURM sends SIGUSR1 ahead of time
where the job's script asks for it. A handler sets a flag and nothing else: saving in the middle of a step would keep random
states that are ahead of the weights. ``trainers/run/checkpoint_callback.py`` looks at the flag at the end of each step, on all
processes together.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))

# torchrun hands Ctrl-C on to processes that the terminal has already told: that is not a second Ctrl-C.
SAME_CTRL_C_SECONDS = 2.0


class Stopped(KeyboardInterrupt):
    """The run was told to stop, and did. No ``Exception``, so that nothing on the way takes it for a failure."""

    def __init__(self, number: int, place: str) -> None:
        super().__init__(f"stopped by {signal_name(number)} {place}")
        self.exit_code = 128 + number  # 143 for SIGTERM, 130 for Ctrl-C


def signal_name(number: int) -> str:
    """Return a signal's name."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


class StopRequest:
    """A request to stop, and the phase of the run that decides its effect.

    Attributes:
        requested: number of the signal that came while training, 0 for none.
        agreed: the signal that all processes stop for at the end of this step, 0 for none.
        phase: ``preparing``: a signal ends the process at once; ``training``: it sets ``requested``; ``ending``: only the
            final adapter is left, which takes less time than to come back for it, so the run ends as planned.
    """

    def __init__(self) -> None:
        self.requested, self.agreed, self.phase = 0, 0, "preparing"
        self.first_ctrl_c: float | None = None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal; called by Python between two bytecodes of the main thread."""
        if number == signal.SIGINT and self.is_second_ctrl_c():
            print_line("left at once; the checkpoints that are there are whole")
            os._exit(128 + number)
        if self.phase == "preparing":
            raise Stopped(number, "before the first step; run the same command again")
        if not self.requested:
            self.requested = int(number)
            reply = "finishing this step and saving" if self.phase == "training" else "saving the final adapter"
            if number == signal.SIGINT:
                reply += "; press Ctrl-C again to leave at once"
            print_line(f"{signal_name(number)}: {reply}")

    def is_second_ctrl_c(self) -> bool:
        """Whether this Ctrl-C is a second one, later than a launcher's echo of the first."""
        now = time.monotonic()
        if self.first_ctrl_c is None:
            self.first_ctrl_c = now
            return False
        return now - self.first_ctrl_c > SAME_CTRL_C_SECONDS


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Handle the signals inside the block, and restore the earlier handlers after it.

    A signal that is ignored stays so (``nohup``, jobs in the background of a script). Outside the main thread, where Python
    allows no handlers, nothing is handled.
    """
    request = StopRequest()
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if handler not in (signal.SIG_IGN, None):
                before[number] = handler
                signal.signal(number, request.handle)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_signals_to_the_parent(worker: int = 0) -> None:
    """Take signals from the parent only, in a worker that loads data.

    Terminals and clusters send to all processes of a job. A worker that ends by itself is an error in the parent, which
    would not get as far as saving. The parent itself ends workers with SIGTERM, and waits for that when it exits.
    """
    for number in SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # tells who sent it; not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=end_with_the_parent, daemon=True).start()


def end_with_the_parent() -> None:
    """Wait for the parent's SIGTERM, and end the process."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def print_line(text: str) -> None:
    """Print a line on the first process; unbuffered, as a handler may interrupt another print."""
    if os.environ.get("RANK", "0") == "0":
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"\n{text}\n".encode())
