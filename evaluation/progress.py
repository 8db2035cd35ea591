"""The progress of an evaluation: one bar over all tasks on a terminal, else a line every half minute."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tqdm import tqdm

from common.words import duration, short
from evaluation.time_left import TimeLeft

LINE_SECONDS = 30.0  # between two lines where there is no terminal
BAR_SECONDS = 0.2  # between two drawings of the bar
WORDS = 120  # columns of the words beside the bar, with names and figures of many digits
COLUMNS = 120  # where the terminal does not know its width
MODEL, LOADING, SCORING = "loading the model", "loading", "scoring"


class Progress:
    """Shows how far an evaluation is; `TimeLeft` counts and estimates.

    A thread shows the state from time to time, also while a forward pass or a score takes long.

    Args:
        sizes: expected characters of each task, 0 where not known.
        log: gets lines.
        bar: draw a bar on stderr instead of lines about the state; `log` is then called between two drawings.
        clock: seconds; for tests.
        processes: that encode side by side.
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
        self.work = TimeLeft(sizes, clock, processes)
        self._log, self._clock = log, clock
        self._place = ""  # such as "[3/6] SciFact"
        self._activity = ""  # MODEL, LOADING, SCORING or what is encoded, such as "queries"; empty between tasks
        self._lock = threading.RLock()
        self._bar: tqdm | None = None
        if bar:
            columns = _columns()
            self._bar = tqdm(total=1.0, file=sys.stderr, bar_format=layout(columns), ncols=columns, nrows=20, leave=False)
        self._shown = clock()
        self._stop = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True, name="progress")
        self._ticker.start()

    # --- tasks ---

    def start(self, number: int, name: str) -> None:
        """Begin task `number` (from 0)."""
        with self._lock:
            self.work.start(number)
            self._place = f"[{number + 1}/{len(self.work.sizes)}] {short(name)}"
            self._activity = LOADING
            left = self.work.seconds_left()
        line = f"[{number + 1}/{len(self.work.sizes)}] {name} …"
        if left is not None:
            line += f", about {duration(left)} left"
        self.log(line)

    @contextmanager
    def once(self, activity: str) -> Iterator[None]:
        """Exclude the time of this block from the estimate (used for loading the model)."""
        with self._lock:
            self._activity = activity
            began = self._clock()
        try:
            yield
        finally:
            with self._lock:
                self.work.exclude(self._clock() - began)
                self._activity = LOADING

    def end(self, number: int, name: str, outcome: str, *, computed: bool) -> None:
        """End task `number`; one that failed or was there already is no sign of the others' time."""
        with self._lock:
            seconds = self.work.end(number, computed)
            self._activity = ""
        line = f"[{number + 1}/{len(self.work.sizes)}] {name}: {outcome}"
        if computed:
            line += f" ({duration(seconds)})"
        self.log(line)

    def log(self, line: str) -> None:
        """Show a line, above the bar if there is one."""
        if self._bar is None:
            self._log(line)
            return
        with self._lock:
            self._bar.clear()
            self._log(line)
            if self._activity:
                self._draw(self._bar)

    def close(self) -> None:
        """Remove the bar; nothing is shown any more."""
        self._stop.set()
        self._ticker.join(timeout=5)
        if self._bar is not None:
            self._bar.close()

    # --- encode calls ---

    def begin_call(self, texts_name: str, texts: int, characters: int) -> None:
        """Begin to encode texts, such as `queries`."""
        with self._lock:
            self._activity = texts_name
            self.work.begin_call(texts, characters)

    def on_batch(self, texts: int, tokens: int) -> None:
        """Count a forward pass of this process."""
        with self._lock:
            self.work.on_batch(texts, tokens)

    def settle(self, texts: int, characters: float, tokens: int | None = None, *, reused: bool = False) -> None:
        """Count a shard that has its vectors; `reused` where they were in the store, `tokens` where they are known."""
        with self._lock:
            self.work.settle(texts, characters, tokens, reused=reused)

    def end_call(self) -> None:
        """End the call: mteb goes on with the vectors."""
        with self._lock:
            if self.work.call is not None:
                self.work.end_call()
                self._activity = SCORING

    # --- the state ---

    def state(self) -> str:
        """Return one line: task, what is done with it, speed, time left."""
        with self._lock:
            parts = [f"{self._place}: {self._activity_in_words()}"]
            texts, tokens = self.work.speed()
            if texts:
                parts.append(f"{texts:,.3g} texts/s" if texts < 100 else f"{texts:,.0f} texts/s")
            if tokens:
                parts.append(f"{tokens:,.0f} tokens/s")
            left = self.work.seconds_left()
            if left is not None:
                parts.append(f"about {duration(left)} left")
            return ", ".join(parts)

    def _activity_in_words(self) -> str:
        if self._activity == MODEL:
            return MODEL
        if self._activity == LOADING:
            return f"{LOADING} for {duration(self.work.task_seconds())}"
        if self._activity == SCORING:
            return f"{SCORING} for {duration(self.work.seconds_since_call())}"
        if self.work.call is None:
            return f"encoding {self._activity}"
        return f"encoding {self._activity} {self.work.texts_of_call():,}/{self.work.call.texts:,}"

    def _tick(self) -> None:
        while not self._stop.wait(BAR_SECONDS):
            with self._lock:
                if not self._activity:
                    continue
                if self._bar is not None:
                    self._draw(self._bar)
                elif self._clock() - self._shown >= LINE_SECONDS:
                    self._shown = self._clock()
                    percent = 100 * min(1.0, self.work.done() / max(self.work.total(), 1.0))
                    self._log(f"{self.state()} ({percent:.0f} % of all text)")

    def _draw(self, bar: tqdm) -> None:
        bar.ncols = _columns()
        bar.bar_format = layout(bar.ncols)
        bar.total = max(self.work.total(), 1.0)
        bar.n = min(self.work.done(), bar.total)
        bar.set_description_str(self.state(), refresh=False)
        bar.refresh()


def layout(columns: int) -> str:
    """Return tqdm's format of a line: the bar takes what a terminal has beyond `WORDS`, from 10 to 40 columns.

    >>> layout(80), layout(140)
    ('{percentage:3.0f}%|{bar:10}| {desc}', '{percentage:3.0f}%|{bar:20}| {desc}')
    """
    width = max(10, min(40, columns - WORDS))
    return "{percentage:3.0f}%|{bar:" + str(width) + "}| {desc}"


def _columns() -> int:
    """Return the width of the terminal; some pseudo-terminals say 0, in which tqdm would draw nothing."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or COLUMNS
    except (OSError, ValueError):
        return COLUMNS
