"""Premises and hypotheses become triplets (SimCSE, arXiv 2104.08821, section 4).

Entailed hypotheses are positives, contradicting ones negatives of the same premise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import UserError
from triplets.conversion.result import ConversionReport, Row, key_of, read_into, text_of
from triplets.conversion.store import Store

PREMISE = ("premise", "sentence1", "text1")
HYPOTHESIS = ("hypothesis", "sentence2", "text2")
LABELS = {"entailment": "positive", "0": "positive", "contradiction": "negative", "2": "negative", "neutral": "", "1": ""}
UNLABELLED = ("-1", "-")
# Texts are recognised by 16 bytes of a hash of them.
SCHEMA = """
CREATE TABLE IF NOT EXISTS premises (number INTEGER PRIMARY KEY, hash BLOB UNIQUE, text TEXT);
CREATE TABLE IF NOT EXISTS hypotheses (
    number INTEGER PRIMARY KEY, premise INTEGER, role TEXT, hash BLOB, text TEXT, UNIQUE (premise, role, hash));
"""

PREMISES = "SELECT number, text FROM premises WHERE number >= ? ORDER BY number"


def read_premises(path: Path, store: Store, report: ConversionReport, leave_out: set[int]) -> None:
    """Read premises with what they entail and what contradicts them.

    Args:
        path: rows with premise, hypothesis and label (entailment, neutral, contradiction, or 0, 1, 2).
        store: takes them.
        report: of the conversion.
        leave_out: hashes of texts of evaluation sets.
    """
    store.tables.executescript(SCHEMA)

    def take(place: str, row: Row) -> None:
        premise, hypothesis = text_of(row, PREMISE, place), text_of(row, HYPOTHESIS, place)
        role = role_of(row, place)
        if leave_out and leave_out & {key_of(premise), key_of(hypothesis)}:
            report.left_out["rows with a text of an evaluation set"] += 1
        elif role == "":
            report.left_out["neutral or unlabelled rows"] += 1
        else:
            add(store, premise, role, hypothesis)

    read_into(store, path, report, take)


def add(store: Store, premise: str, role: str, hypothesis: str) -> None:
    """Add a hypothesis to its premise, once for each role."""
    store.new("INSERT OR IGNORE INTO premises (hash, text) VALUES (?, ?)", hash_of(premise), premise)
    (number,) = store.first("SELECT number FROM premises WHERE hash = ?", hash_of(premise))
    values = number, role, hash_of(hypothesis), hypothesis
    store.new("INSERT OR IGNORE INTO hypotheses (premise, role, hash, text) VALUES (?, ?, ?, ?)", *values)


def hash_of(text: str) -> bytes:
    """Return 16 bytes that differ where two texts do."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


class EntailedRows:
    """A row for each premise and entailed hypothesis, with all hypotheses that contradict the premise."""

    def __init__(self, store: Store, report: ConversionReport) -> None:
        self.store, self.report = store, report
        self.premise = self.place = 0  # the last premise, and how many of its positives are done

    def state(self) -> object:
        """Return the premise and the place among its positives."""
        return [self.premise, self.place]

    def go_on(self, state: Any) -> None:
        """Go on from a state."""
        self.premise, self.place = state

    def rows(self) -> Iterator[Row]:
        """Yield the rows that follow."""
        for number, premise in self.store.tables.execute(PREMISES, (self.premise,)):
            positives, negatives = self.hypotheses(number, "positive"), self.hypotheses(number, "negative")
            if number != self.premise:
                self.premise, self.place = number, 0
                if not positives:
                    self.report.left_out["premises without an entailed hypothesis"] += 1
            taken = {key_of(premise), *map(key_of, positives)}  # a text that some annotators took to be entailed is no negative
            others = [text for text in negatives if key_of(text) not in taken]
            for positive in positives[self.place :]:
                self.place += 1
                if key_of(positive) == key_of(premise):
                    self.report.left_out["hypotheses that equal their premise"] += 1
                    continue
                if not others:
                    self.report.notes["rows without negatives"] += 1
                yield {"query": premise, "positive": positive, "negative": others}

    def hypotheses(self, premise: int, role: str) -> list[str]:
        """Return the hypotheses of a premise, by first appearance."""
        query = "SELECT text FROM hypotheses WHERE premise = ? AND role = ? ORDER BY number"
        return [row[0] for row in self.store.tables.execute(query, (premise, role))]


def role_of(row: Row, place: str) -> str:
    """Return ``positive``, ``negative``, or an empty text for a row that is neither.

    Raises:
        UserError: its label is unknown.
    """
    for name in ("gold_label", "label_text", "label"):
        label = str(row.get(name, "")).strip().lower()
        if label in LABELS:
            return LABELS[label]
        if label in UNLABELLED:
            return ""
    raise UserError(f"{place}: the label must be entailment, neutral or contradiction (or 0, 1, 2)")
