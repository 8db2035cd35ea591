"""The work of an evaluation, its speed, and the time that is left.

Work is counted in characters, because they are known before anything is read (`evaluation/tasks/workload.py`); speed is told
in texts and tokens. Only texts that are encoded now count for the speed: vectors from the store and tasks whose result was
there take no time and would make every estimate too short. The time that mteb needs for scores is estimated by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

UNKNOWN_SIZE = 100_000.0  # characters of a task where nothing is known of any


@dataclass
class TextCounts:
    """Texts, tokens (0 where the encoder does not say) and characters."""

    texts: int = 0
    tokens: int = 0
    characters: float = 0.0

    def add(self, texts: int, tokens: int, characters: float) -> None:
        """Count more texts."""
        self.texts += texts
        self.tokens += tokens
        self.characters += characters


class TimeLeft:
    """Counts the work that is done and estimates the time of the rest.

    `begin_call` is followed by `on_batch` for each forward pass, `settle` for each shard, and `end_call`. A batch is
    provisional until its shard is settled: the texts of other processes are only in the latter.

    Args:
        sizes: expected characters of each task, 0 where not known (an average one is assumed).
        clock: seconds.
        processes: that encode side by side; `on_batch` hears of one of them.

    Attributes:
        fresh: texts encoded now, by all tasks.
        encode_seconds: in which they were encoded.
        score_seconds: of finished tasks, without encoding.
        finished: of each task that was computed, the expected characters and those that it had.
        call: texts of the encode call; None while mteb loads and scores.
    """

    def __init__(self, sizes: Sequence[float], clock: Callable[[], float], processes: int = 1) -> None:
        positive = [size for size in sizes if size]
        average = sum(positive) / len(positive) if positive else UNKNOWN_SIZE
        self.sizes = [size or average for size in sizes]
        self.processes = processes
        self.fresh = TextCounts()
        self.encode_seconds = 0.0
        self.score_seconds = 0.0
        self.finished: list[tuple[float, float]] = []
        self.call: TextCounts | None = None
        self._clock = clock
        self._task = -1
        self._ended = 0  # tasks that are over
        self._task_began = self._mark = clock()
        self._task_encoding = 0.0  # seconds of the task in encode calls
        self._task_done = 0.0  # characters of the task that have vectors, settled
        self._call_began = 0.0
        self._settled = TextCounts()  # of the call
        self._provisional = TextCounts()  # of the shard

    def start(self, number: int) -> None:
        """Begin task `number` (from 0)."""
        self._task = number
        self._task_began = self._clock()
        self._task_encoding = self._task_done = 0.0

    def exclude(self, seconds: float) -> None:
        """Take seconds out of the task's time: they are no sign of the time that other tasks take."""
        self._task_began += seconds

    def end(self, number: int, computed: bool) -> float:
        """End task `number` and return its seconds; one that was not computed is no sign of the others' time."""
        seconds = self.task_seconds()
        if computed:
            self.score_seconds += max(0.0, seconds - self._task_encoding)
            self.finished.append((self.sizes[number], self._task_done))
        self._ended = number + 1
        self._task_done = 0.0
        self.call = None
        return seconds

    def begin_call(self, texts: int, characters: float) -> None:
        """Begin to encode texts."""
        self.call = TextCounts(texts, 0, characters)
        self._settled, self._provisional = TextCounts(), TextCounts()
        self._call_began = self._mark = self._clock()

    def on_batch(self, texts: int, tokens: int) -> None:
        """Count a forward pass of this process."""
        if self.call is None:
            return
        self._pass_time()
        characters = texts * self.call.characters / max(self.call.texts, 1)
        if self.fresh.tokens:  # batches are sorted by length: tokens say more than the number of texts
            characters = tokens * self.fresh.characters / self.fresh.tokens
        self._provisional.add(texts * self.processes, tokens * self.processes, characters * self.processes)

    def settle(self, texts: int, characters: float, tokens: int | None = None, *, reused: bool = False) -> None:
        """Count a shard that has its vectors; `reused` where they were in the store, `tokens` where they are known."""
        if self.call is None:
            return
        if reused:
            self._mark = self._clock()
        else:
            self._pass_time()
            self.fresh.add(texts, tokens or 0, characters)
        self._settled.add(texts, 0, characters)
        self._provisional = TextCounts()

    def end_call(self) -> None:
        """End the call: its texts have their vectors, and mteb goes on with them."""
        call = self.call
        if call is None:
            return
        if self._settled.texts < call.texts:  # an encoder without shards
            tokens = self._provisional.tokens or None
            self.settle(call.texts - self._settled.texts, call.characters - self._settled.characters, tokens)
        self._task_done += call.characters
        self._task_encoding += self._clock() - self._call_began
        self.call = None
        self._mark = self._clock()

    def _pass_time(self) -> None:
        now = self._clock()
        self.encode_seconds += now - self._mark
        self._mark = now

    def task_seconds(self) -> float:
        """Return the seconds since the task began."""
        return self._clock() - self._task_began

    def seconds_since_call(self) -> float:
        """Return the seconds since the last call ended."""
        return self._clock() - self._mark

    def texts_of_call(self) -> int:
        """Return the texts of the call that have vectors, the provisional ones too."""
        if self.call is None:
            return 0
        return min(self._settled.texts + self._provisional.texts, self.call.texts)

    def speed(self) -> tuple[float, float]:
        """Return texts and tokens a second of the texts that were encoded now; zeros where none were."""
        texts = self.fresh.texts + self._provisional.texts
        if not texts:
            return 0.0, 0.0
        seconds = max(self.encode_seconds, 1e-9)
        return texts / seconds, (self.fresh.tokens + self._provisional.tokens) / seconds

    def seconds_left(self) -> float | None:
        """Return the estimate for all tasks that are not over, or None while nothing was encoded."""
        encoded = self.fresh.characters + self._provisional.characters
        if not encoded or not self.encode_seconds:
            return None
        rate = encoded / self.encode_seconds
        return max(0.0, self.total() - self.done()) / rate + self._scoring_left()

    def _scoring_left(self) -> float:
        """Return the seconds of scoring that are left, by the mean of the tasks that were computed."""
        if not self.finished:
            return 0.0
        left = self.score_seconds / len(self.finished) * (len(self.sizes) - self._ended)
        if self._in_task():
            encoding = self._task_encoding
            if self.call is not None:
                encoding += self._clock() - self._call_began
            left = max(0.0, left - (self.task_seconds() - encoding))
        return left

    def _in_task(self) -> bool:
        return self._task == self._ended < len(self.sizes)

    def _calibration(self) -> float:
        """Return the ratio of counted to expected characters, over the tasks that were computed."""
        expected = sum(pair[0] for pair in self.finished)
        counted = sum(pair[1] for pair in self.finished)
        return counted / expected if expected and counted else 1.0

    def done(self) -> float:
        """Return the characters that have vectors, the provisional ones too, with all of the tasks that are over."""
        characters = self._calibration() * sum(self.sizes[: self._ended]) + self._task_done
        if self.call is not None:
            characters += min(self._settled.characters + self._provisional.characters, self.call.characters)
        return characters

    def total(self) -> float:
        """Return the expected characters of all tasks."""
        scale = self._calibration()
        over = scale * sum(self.sizes[: self._ended])
        if not self._in_task():
            return over + scale * sum(self.sizes[self._ended :])
        in_calls = self._task_done + (self.call.characters if self.call is not None else 0.0)
        task = max(scale * self.sizes[self._task], in_calls)  # not less than the texts that it has already had encoded
        return over + task + scale * sum(self.sizes[self._ended + 1 :])
