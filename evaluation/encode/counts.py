"""What was encoded for each task and side: prompts, lengths, texts, tokens and cuts, for the record and the table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from model_loaders.text.prompts import Role

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
        role: whose prompt and maximum length it has in the encoder.
        prompt: put before each text, or a template with `{text}`; None where the encoder is asked with none and names none.
        prompt_source: who gave it.
        max_length: tokens a text at most; None where the encoder does not say.
        first_text: the first text, as the model got it, or its beginning (`beginning`); to be read, no key knows it.
        texts: that mteb asked for.
        tokens: of these texts as encoded; None where the encoder does not count them.
        cut: texts that were longer than the maximum length; None where the encoder does not count them.
        reused: texts whose vectors were in the store.
        again: texts that had been encoded before a kill and were encoded once more.
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

    def add(
        self,
        texts: int,
        tokens: np.ndarray | None,
        cut: np.ndarray | None,
        seconds: float,
        *,
        reused: int = 0,
        again: int = 0,
    ) -> None:
        """Count the texts of one call; what is not known of one call is not known of the sum."""
        self.texts += texts
        self.tokens = None if self.tokens is None or tokens is None else self.tokens + int(tokens.sum())
        self.cut = None if self.cut is None or cut is None else self.cut + int(cut.sum())
        self.reused += reused
        self.again += again
        self.seconds += seconds


class Ledger:
    """The sides of all tasks, by task."""

    def __init__(self) -> None:
        self.tasks: dict[str, dict[str, Side]] = {}

    def side(self, task: str, name: str) -> Side | None:
        """Return the side `name` of a task, None before its first text."""
        return self.tasks.get(task, {}).get(name)

    def open(self, task: str, name: str, side: Side) -> Side:
        """Add a side."""
        return self.tasks.setdefault(task, {}).setdefault(name, side)

    def forget(self, task: str) -> None:
        """Start a task anew."""
        self.tasks.pop(task, None)

    def record(self, task: str) -> dict[str, dict[str, Any]]:
        """Return a task's sides as JSON values."""
        return {name: asdict(side) | {"seconds": round(side.seconds, 3)} for name, side in self.tasks.get(task, {}).items()}
