"""Signs of life of the processes of a run: one that is frozen, killed or gone is noticed and named by the others.

Each process writes a sign a second into a store that all share, and reads those of the others. A process is lost once its sign
has stayed the same for too long, whatever the others wait for. A process that is stopped together with all others (a suspended
machine) starts its clocks anew.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol

LEFT, SURVIVOR = "left", "survivor"


class Store(Protocol):
    """A table of texts that all processes share."""

    def set(self, key: str, value: str) -> None:
        """Write a value."""

    def get(self, key: str) -> bytes:
        """Return a value that is there."""

    def check(self, keys: list[str]) -> bool:
        """Return whether all keys are there."""


class Heartbeat:
    """The sign of life of this process, and its view of those of the others.

    Args:
        connect: makes a connection to the store that nobody else uses; called in a thread.
        rank: of this process.
        size: number of processes.
        patience: seconds without a sign after which a process is lost.
        advice: the end of the message, with the way to go on.
    """

    def __init__(self, connect: Callable[[], Store], rank: int, size: int, *, patience: float, advice: str) -> None:
        self.connect, self.rank, self.size = connect, rank, size
        self.interval = max(0.5, size / 32)
        self.patience = max(patience - 2 * self.interval, 3 * self.interval)
        self.advice = advice
        self.place = "before the first step"  # shown to the others
        self.state = ""  # LEFT or SURVIVOR
        self.ended = threading.Event()
        self.signs: dict[int, tuple[str, float]] = {}  # by rank: the last sign, and when it was new
        self.store_since: float | None = None  # when an operation of the store began that has not ended, or failed
        self.count = 0
        self.writing = threading.Lock()
        self.store: Store | None = None
        for target in (self.beat, self.watch):
            threading.Thread(target=target, daemon=True).start()

    def beat(self) -> None:
        """Write the own sign and read the others', until the end; the store may be gone or hang at any time."""
        while not self.ended.is_set():
            try:
                self.exchange()
            except Exception:  # the store's host is gone: RuntimeErrors of several kinds
                self.store = None
                time.sleep(self.interval)
            self.ended.wait(self.interval)

    def exchange(self) -> None:
        """Write the own sign, and read the others'."""
        with self.writing:
            self.store_since = self.store_since or time.monotonic()
            self.store = self.store or self.connect()
            self.count += 1
            self.store.set(f"sign/{self.rank}", f"{self.count}|{self.state}|{self.place}")
            for rank in range(self.size):
                key = f"sign/{rank}"
                if rank == self.rank or not self.store.check([key]):
                    continue
                sign = self.store.get(key).decode()
                if self.signs.get(rank, ("", 0.0))[0] != sign:
                    self.signs[rank] = (sign, time.monotonic())
            self.store_since = None

    def watch(self) -> None:
        """End this process once another one is lost."""
        last = time.monotonic()
        while not self.ended.wait(self.interval):
            now = time.monotonic()
            if now - last > 4 * self.interval + 1:  # this process was stopped itself
                self.signs = {rank: (sign, now) for rank, (sign, _) in self.signs.items()}
                self.store_since = None if self.store_since is None else now
            last = now
            lost = self.silent(self.patience)
            if lost and not self.state:
                if self.speaks(lost):
                    print(f"\nerror: {self.message(lost, frozen=True)}", file=sys.stderr, flush=True)
                self.survive()
                os._exit(1)

    def silent(self, seconds: float) -> list[int]:
        """Return the processes without a sign for so many seconds; the first one, where the store does not answer."""
        now = time.monotonic()
        if self.store_since is not None and self.rank != 0:
            return [0] if now - self.store_since > seconds else []
        lost = []
        for rank, (sign, since) in sorted(self.signs.items()):
            if state_of(sign) == "" and now - since > seconds:
                lost.append(rank)
        return lost

    def lost_now(self) -> list[int]:
        """Return the processes that are gone or have left, after a connection has failed."""
        self.state = SURVIVOR
        time.sleep(5 * self.interval)
        left = [rank for rank, (sign, _) in sorted(self.signs.items()) if state_of(sign) == LEFT]
        return self.silent(3 * self.interval) or left

    def survive(self) -> None:
        """Tell the others that this process ends because of another one; the store's host leaves last."""
        self.state = SURVIVOR
        time.sleep((6 if self.rank == 0 else 2) * self.interval)

    def speaks(self, lost: list[int]) -> bool:
        """Whether this process is the one that prints the message: the first one that is there."""
        return self.rank == min(rank for rank in range(self.size) if rank not in lost)

    def message(self, lost: list[int], *, frozen: bool = False) -> str:
        """Return the message about lost processes."""
        if not lost:
            return f"a process of this run did not answer the others; all of them are there. {self.advice}"
        names = ", ".join(f"process {rank} (its last sign: {self.last_place(rank)})" for rank in lost)
        state = f"without a sign for {self.patience:.0f} s, so frozen or cut off" if frozen else "gone"
        verb = "is" if len(lost) == 1 else "are"
        return f"{names} {verb} {state}; this process was at {self.place}. {self.advice}"

    def last_place(self, rank: int) -> str:
        """Return the place of a process's last sign."""
        return self.signs.get(rank, ("||before the first step", 0.0))[0].split("|")[2]

    def leave(self) -> None:
        """Say that this process ends, and stop the threads; a store that hangs is not waited for."""
        self.state = self.state or LEFT
        self.ended.set()
        teller = threading.Thread(target=self.tell, daemon=True)
        teller.start()
        teller.join(timeout=2.0)

    def tell(self) -> None:
        """Write the last sign."""
        try:
            self.exchange()
        except Exception:  # the store's host is gone: nobody is left to tell
            return


def state_of(sign: str) -> str:
    """Return LEFT, SURVIVOR or an empty text from a sign."""
    return sign.split("|")[1]
