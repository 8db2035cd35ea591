"""Counts of what was encoded, by task and side: prompts, lengths, texts, tokens and cuts, for the record and the table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from model_loaders.text.prompts import Role

if TYPE_CHECKING:
    from evaluation.encode.sharded_encoder import ShardCounts
    from evaluation.encode.vector_store import Shard

FIRST_CHARACTERS = 1000  # of a side's first text, in the record


def beginning(text: str) -> str:
    """Return a text, or its first `FIRST_CHARACTERS` characters and how long it is."""
    if len(text) <= FIRST_CHARACTERS:
        return text
    return f"{text[:FIRST_CHARACTERS]} … (the first {FIRST_CHARACTERS:,} of {len(text):,} characters)"


@dataclass
class Side:
    """One side of a task: its queries, its documents, or (`text`) the texts of a task without sides.

    Attributes:
        role: the encoder's role, which decides its own prompt and maximum length.
        prompt: put before each text, or a template with `{text}`; None where the encoder gets none and names none.
        prompt_source: the origin of the prompt (`evaluation.encode.prompt_plan.SidePrompt`).
        max_length: tokens a text at most; None where the encoder does not say.
        first_text: the first text, as the model got it, or its beginning (`beginning`); to be read, no key knows it.
        texts: number of texts that mteb had encoded.
        tokens: number of tokens of these texts; None where the encoder does not count them.
        cut: number of texts longer than the maximum length; None where the encoder does not count them.
        reused: number of texts whose vectors were in the store.
        again: number of texts that were encoded before a kill, and once more after it.
        seconds: in which the vectors were made, or read from the store.
    """

    role: Role
    prompt: str | None
    prompt_source: str
    max_length: int | None
    first_text: str
    texts: int = 0
    tokens: int | None = 0
    cut: int | None = 0
    reused: int = 0
    again: int = 0
    seconds: float = 0.0

    def add(self, encoded: Shard, counts: ShardCounts, seconds: float) -> None:
        """Count the texts of one call; a count that one call does not know is not known of the sum."""
        self.texts += len(encoded.vectors)
        if self.tokens is not None:
            self.tokens = None if encoded.tokens is None else self.tokens + int(encoded.tokens.sum())
        if self.cut is not None:
            self.cut = None if encoded.cut is None else self.cut + int(encoded.cut.sum())
        self.reused += counts.reused
        self.again += counts.again
        self.seconds += seconds


class SideCounts:
    """The sides of all tasks, by task and name of the side."""

    def __init__(self) -> None:
        self.tasks: dict[str, dict[str, Side]] = {}

    def side(self, task: str, name: str) -> Side | None:
        """Return the side `name` of a task, None before its first text."""
        return self.tasks.get(task, {}).get(name)

    def open(self, task: str, name: str, side: Side) -> Side:
        """Add a side and return it."""
        return self.tasks.setdefault(task, {}).setdefault(name, side)

    def forget(self, task: str) -> None:
        """Start a task anew."""
        self.tasks.pop(task, None)

    def record(self, task: str) -> dict[str, dict[str, Any]]:
        """Return a task's sides as JSON values."""
        values = {}
        for name, side in self.tasks.get(task, {}).items():
            values[name] = asdict(side) | {"seconds": round(side.seconds, 3)}
        return values
