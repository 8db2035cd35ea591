"""The outcome of an evaluation: scores, failures, counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version as version_of
from pathlib import Path


@dataclass
class Evaluation:
    """The outcome of `evaluate`.

    Attributes:
        model: mteb's name of the model.
        revision: of its vectors and prompts; the last folder of the results.
        folder: the results of this model and revision.
        mteb_version: the installed one.
        scores: in the order of the tasks; those that failed are left out.
        failures: the reason of each task that failed.
    """

    model: str
    revision: str
    folder: Path
    mteb_version: str = field(default_factory=lambda: version_of("mteb"))
    scores: list[TaskScore] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def score(self, task: str) -> float:
        """Return the main score of `task`; KeyError if it was not scored."""
        for score in self.scores:
            if score.name == task:
                return score.score
        raise KeyError(task)


@dataclass(frozen=True)
class TaskScore:
    """The main score of a task.

    Attributes:
        name: task.
        type: mteb's name of its type.
        metric: mteb's name of the score, such as `ndcg_at_10`.
        score: mean over the task's subsets and splits; a fraction, not per cent.
        subsets: score of each subset.
        seconds: time that scoring took when it was done.
        cached: whether the result was there already.
        items: file with scores item by item, None where a type has none.
        again: texts that were encoded a second time, since earlier runs had been killed.
        texts: number of texts that mteb had encoded, of all sides; 0 where the record does not say.
        tokens: number of tokens of these texts; None where the encoder does not count.
        cut: number of texts longer than the maximum length; None where the encoder does not count.
        mteb_version: the version that scored it.
    """

    name: str
    type: str
    metric: str
    score: float
    subsets: dict[str, float]
    seconds: float
    cached: bool
    items: Path | None
    again: int = 0
    texts: int = 0
    tokens: int | None = None
    cut: int | None = None
    mteb_version: str | None = None


def repeated_texts(texts: int) -> str:
    """Return a sentence on texts that were encoded a second time."""
    return f"{texts:,} texts were encoded a second time, as another run did not finish their shard"
