"""How far an evaluation is: one bar over all tasks on a terminal, else a line every half minute.

Work is counted in characters, because they are known before anything is read (`evaluation/tasks/workload.py`); speed is told in
texts and tokens. Only what is encoded now counts for the speed: vectors taken from the store and tasks whose result was
there are done in no time and would make every estimate too short. Time that mteb needs for scores is told as such.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from common.words import duration, short

LINE_SECONDS = 30.0  # between two lines where there is no terminal
BAR_SECONDS = 0.2  # between two drawings of the bar
MODEL = "loading the model"
UNKNOWN_SIZE = 100_000.0  # characters of a task where nothing is known of any


@dataclass
class Counts:
    """Texts, tokens (0 where the encoder does not say) and characters."""

    texts: int = 0
    tokens: int = 0
    characters: float = 0.0


class Progress:
    """Counts work, estimates the time left, and shows both.

    An encoder says `begin_call`, then for each forward pass `on_batch`, for each shard `settle`, and `end_call`. What
    `on_batch` says is provisional until the shard is settled: other processes' texts are only in the latter.

    Args:
        sizes: expected characters of each task, 0 where not known (an average one is assumed).
        log: gets lines.
        bar: draw a bar on stderr instead of lines about the state; `log` is then called between two drawings.
        clock: seconds; for tests.
        processes: that encode side by side; the provisional counts are those of one of them.
    """

    def __init__(
        self,
        sizes: Sequence[float],
        log: Callable[[str], None],
        *,
        bar: bool = False,
        clock: Callable[[], float] = time.monotonic,
        processes: int = 1,
    ) -> None:
        known = [size for size in sizes if size]
        average = sum(known) / len(known) if known else UNKNOWN_SIZE
        self.sizes = [size or average for size in sizes]
        self.processes = processes
        self.fresh = Counts()  # encoded now, by all tasks
        self.encode_seconds = 0.0
        self.score_seconds = 0.0  # of finished tasks: their time without encoding
        self.finished: list[tuple[float, float]] = []  # (expected, found) characters of the tasks that were computed
        self._log, self._clock = log, clock
        self._task = -1
        self._name = self._what = ""
        self._task_began = self._mark = clock()
        self._task_encoding = 0.0  # seconds of the task that went into encode calls
        self._task_done = 0.0  # characters of the task that have vectors, settled
        self._ended = 0  # tasks that are over
        self._call: Counts | None = None  # what the encode call holds; None while mteb loads and scores
        self._call_began = 0.0
        self._settled = Counts()  # of the call
        self._provisional = Counts()  # of the shard
        self._lock = threading.RLock()
        self._bar = _new_bar() if bar else None
        self._shown = clock()
        self._stop = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True, name="progress")
        self._ticker.start()

    # --- what the run says ---

    def start(self, number: int, name: str) -> None:
        """Say that task `number` (from 0) begins."""
        with self._lock:
            self._task, self._name, self._what = number, name, "loading"
            self._task_began, self._task_encoding, self._task_done = self._clock(), 0.0, 0.0
            left = self.seconds_left()
        self.log(f"[{number + 1}/{len(self.sizes)}] {name} …{f', about {duration(left)} left' if left is not None else ''}")

    @contextmanager
    def once(self, what: str) -> Iterator[None]:
        """Say `what` is done inside the block, which says nothing about the time that other tasks take."""
        with self._lock:
            self._what, began = what, self._clock()
        try:
            yield
        finally:
            with self._lock:
                self._task_began += self._clock() - began
                self._what = "loading"

    def end(self, number: int, name: str, outcome: str, *, computed: bool) -> None:
        """Say how task `number` ended; one that failed or was there already says nothing about the others' time."""
        with self._lock:
            seconds = self._clock() - self._task_began
            if computed:
                self.score_seconds += max(0.0, seconds - self._task_encoding)
                self.finished.append((self.sizes[number], self._task_done))
            self._ended, self._what, self._task_done, self._call = number + 1, "", 0.0, None
        self.log(f"[{number + 1}/{len(self.sizes)}] {name}: {outcome}{f' ({duration(seconds)})' if computed else ''}")

    def log(self, line: str) -> None:
        """Say a line, above the bar where there is one."""
        if self._bar is None:
            self._log(line)
        else:
            with self._lock:
                self._bar.clear()
                self._log(line)
                if self._what:
                    self._draw()

    def close(self) -> None:
        """Take the bar away; nothing is shown any more."""
        self._stop.set()
        self._ticker.join(timeout=5)
        if self._bar is not None:
            self._bar.close()

    # --- what an encoder says ---

    def begin_call(self, what: str, texts: int, characters: int) -> None:
        """Say that `texts` texts are to be encoded; `what` they are, such as `queries`."""
        with self._lock:
            self._what, self._call = what, Counts(texts, 0, characters)
            self._settled, self._provisional = Counts(), Counts()
            self._call_began = self._mark = self._clock()

    def on_batch(self, texts: int, tokens: int) -> None:
        """Count a forward pass of this process."""
        with self._lock:
            if self._call is None:
                return
            self._pass_time()
            characters = texts * self._call.characters / max(self._call.texts, 1)
            if self.fresh.tokens:  # batches are sorted by length: tokens say more than the number of texts
                characters = tokens * self.fresh.characters / self.fresh.tokens
            self._provisional.texts += texts * self.processes
            self._provisional.tokens += tokens * self.processes
            self._provisional.characters += characters * self.processes

    def settle(self, texts: int, characters: float, tokens: int | None = None, *, reused: bool = False) -> None:
        """Count a shard that has its vectors; `reused` where they were in the store, `tokens` where they are known."""
        with self._lock:
            if self._call is None:
                return
            if reused:
                self._mark = self._clock()
            else:
                self._pass_time()
                self.fresh.texts += texts
                self.fresh.tokens += tokens or 0
                self.fresh.characters += characters
            self._settled.texts += texts
            self._settled.characters += characters
            self._provisional = Counts()

    def end_call(self) -> None:
        """Say that the texts have their vectors; mteb goes on with them."""
        with self._lock:
            call = self._call
            if call is None:
                return
            if self._settled.texts < call.texts:  # an encoder that says nothing of its shards
                tokens = self._provisional.tokens or None
                self.settle(call.texts - self._settled.texts, call.characters - self._settled.characters, tokens)
            self._task_done += call.characters
            self._task_encoding += self._clock() - self._call_began
            self._call, self._what = None, "scoring"
            self._mark = self._clock()

    def _pass_time(self) -> None:
        now = self._clock()
        self.encode_seconds += now - self._mark
        self._mark = now

    # --- what is shown ---

    def speed(self) -> tuple[float, float]:
        """Return texts and tokens a second of what was encoded now; zeros where nothing was."""
        with self._lock:
            seconds = max(self.encode_seconds, 1e-9)
            texts = self.fresh.texts + self._provisional.texts
            return texts / seconds if texts else 0.0, (self.fresh.tokens + self._provisional.tokens) / seconds

    def seconds_left(self) -> float | None:
        """Return the estimate for all tasks that are not over, or None while nothing was encoded."""
        with self._lock:
            done = self.fresh.characters + self._provisional.characters
            if not done or not self.encode_seconds:
                return None
            rate = done / self.encode_seconds
            computed = len(self.finished)
            scoring = self.score_seconds / computed * (len(self.sizes) - self._ended) if computed else 0.0
            if self._ended < len(self.sizes) and self._task == self._ended:
                scoring = max(0.0, scoring - (self._clock() - self._task_began - self._encoding_now()))
            return max(0.0, self._total() - self._done()) / rate + scoring

    def _encoding_now(self) -> float:
        return self._task_encoding + (self._clock() - self._call_began if self._call is not None else 0.0)

    def _calibration(self) -> float:
        """Return how many characters were found where one was expected, over the tasks that were computed."""
        expected = sum(pair[0] for pair in self.finished)
        found = sum(pair[1] for pair in self.finished)
        return found / expected if expected and found else 1.0

    def _in_task(self) -> float:
        """Return the characters of the task that have vectors, the provisional ones too."""
        if self._call is None:
            return self._task_done
        now = self._settled.characters + self._provisional.characters
        return self._task_done + min(now, self._call.characters)

    def _done(self) -> float:
        return self._calibration() * sum(self.sizes[: self._ended]) + self._in_task()

    def _total(self) -> float:
        scale = self._calibration()
        task = 0.0
        if self._task == self._ended < len(self.sizes):  # a task cannot hold less than what it has given to encode
            task = max(scale * self.sizes[self._task], self._task_done + (self._call.characters if self._call else 0.0))
        rest = scale * sum(self.sizes[self._ended + (1 if self._task == self._ended else 0) :])
        return scale * sum(self.sizes[: self._ended]) + task + rest

    def state(self) -> str:
        """Return one line: task, what is done with it, speed, time left."""
        with self._lock:
            where = f"[{min(self._task + 1, len(self.sizes))}/{len(self.sizes)}] {short(self._name)}"
            if self._what == MODEL:
                what = self._what
            elif self._what in ("scoring", "loading"):
                since = self._clock() - (self._task_began if self._what == "loading" else self._mark)
                what = f"{self._what} for {duration(since)}"
            else:
                what = f"encoding {self._what}"
                if self._call is not None:
                    done = min(self._settled.texts + self._provisional.texts, self._call.texts)
                    what += f" {done:,}/{self._call.texts:,}"
            parts = [f"{where}: {what}"]
            texts, tokens = self.speed()
            if texts:
                parts.append(f"{texts:,.3g} texts/s" if texts < 100 else f"{texts:,.0f} texts/s")
            if tokens:
                parts.append(f"{tokens:,.0f} tokens/s")
            left = self.seconds_left()
            if left is not None:
                parts.append(f"about {duration(left)} left")
            return ", ".join(parts)

    def _tick(self) -> None:
        """Show the state from time to time, also while a forward pass or a score takes long."""
        while not self._stop.wait(BAR_SECONDS):
            with self._lock:
                if not self._what:
                    continue
                if self._bar is not None:
                    self._draw()
                elif self._clock() - self._shown >= LINE_SECONDS:
                    self._shown = self._clock()
                    percent = 100 * min(1.0, self._done() / max(self._total(), 1.0))
                    self._log(f"{self.state()} ({percent:.0f} % of all text)")

    def _draw(self) -> None:
        bar: Any = self._bar
        bar.ncols = _columns()
        bar.total = max(self._total(), 1.0)
        bar.n = min(self._done(), bar.total)
        bar.set_description_str(self.state(), refresh=False)
        bar.refresh()


def _new_bar() -> Any:
    import sys

    from tqdm import tqdm

    return tqdm(
        total=1.0, file=sys.stderr, bar_format="{percentage:3.0f}%|{bar:16}| {desc}", ncols=_columns(), nrows=20, leave=False
    )


def _columns() -> int:
    """Return the width of the terminal; some pseudo-terminals say 0, in which tqdm would draw nothing."""
    import os
    import sys

    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 120
    except (OSError, ValueError):
        return 120
