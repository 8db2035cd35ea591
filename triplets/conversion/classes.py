"""Texts with labels become triplets, by label or by example (NV-Embed, arXiv 2405.17428, section 4.1).

By label: a text's positive is the text of its label, its negatives are other labels. By example: the positive is another text
of the class, the negatives are texts of other classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from triplets.conversion.result import ConversionReport, Row, key_of, read_into, text_of
from triplets.conversion.store import Store

LABEL_KEYS = ("label_text", "label", "labels", "class", "category")
TRIES = 20  # draws for a negative before a class is gone through
SCHEMA = """
CREATE TABLE IF NOT EXISTS texts (number INTEGER PRIMARY KEY, key INTEGER UNIQUE, text TEXT);
CREATE TABLE IF NOT EXISTS labels (number INTEGER PRIMARY KEY, name TEXT UNIQUE, size INTEGER);
CREATE TABLE IF NOT EXISTS members (label INTEGER, place INTEGER, text INTEGER, PRIMARY KEY (label, place)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS classes (text INTEGER, label INTEGER, PRIMARY KEY (text, label)) WITHOUT ROWID;
"""


class Classes:
    """Labelled texts on disk: all distinct texts, case and white space aside, each once for every label that it has.

    Texts and labels have numbers by first appearance, from 0; a label's texts have places in their order.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        store.tables.executescript(SCHEMA)

    def add(self, text: str, label: str) -> bool:
        """Add a text under a label; returns whether it did not stand there."""
        store = self.store
        store.new("INSERT OR IGNORE INTO labels SELECT IFNULL(MAX(number) + 1, 0), ?, 0 FROM labels", label)
        of_label, size = store.first("SELECT number, size FROM labels WHERE name = ?", label)
        key = key_of(text)
        known = store.first("SELECT number FROM texts WHERE key = ?", key)
        number = self.texts if known is None else known[0]
        if known is None:
            store.new("INSERT INTO texts VALUES (?, ?, ?)", number, key, text)
        if not store.new("INSERT OR IGNORE INTO classes VALUES (?, ?)", number, of_label):
            return False
        store.new("INSERT INTO members VALUES (?, ?, ?)", of_label, size, number)
        store.new("UPDATE labels SET size = size + 1 WHERE number = ?", of_label)
        return True

    @property
    def texts(self) -> int:
        """Number of texts."""
        last = self.store.first("SELECT MAX(number) FROM texts")[0]
        return 0 if last is None else int(last) + 1

    def names(self) -> list[tuple[str, int]]:
        """Return each label and its number of texts."""
        return list(self.store.tables.execute("SELECT name, size FROM labels ORDER BY number"))

    def text(self, number: int) -> str:
        """Return a text."""
        return str(self.store.first("SELECT text FROM texts WHERE number = ?", number)[0])

    def member(self, label: int, place: int) -> int:
        """Return the number of a label's text."""
        return int(self.store.first("SELECT text FROM members WHERE label = ? AND place = ?", label, place)[0])

    def labels_of(self, number: int) -> frozenset[int]:
        """Return the labels that a text stands under."""
        return frozenset(row[0] for row in self.store.tables.execute("SELECT label FROM classes WHERE text = ?", (number,)))

    def under_none(self, labels: frozenset[int]) -> np.ndarray:
        """Return the numbers of all texts that stand under none of some labels, in order."""
        out = np.ones(self.texts, dtype=bool)
        for label in labels:
            for (number,) in self.store.tables.execute("SELECT text FROM members WHERE label = ?", (label,)):
                out[number] = False
        return np.flatnonzero(out)


def read_classes(path: Path, store: Store, report: ConversionReport, leave_out: set[int]) -> Classes:
    """Read labelled texts; texts of evaluation sets are left out, a text that stands twice under a label counts once."""
    classes = Classes(store)

    def take(place: str, row: Row) -> None:
        text, label = text_of(row, ("text", "sentence"), place), label_of(row, place)
        if key_of(text) in leave_out:
            report.left_out["rows whose text stands in an evaluation set"] += 1
        elif not classes.add(text, label):
            report.left_out["rows whose text stands under the same label before"] += 1

    read_into(store, path, report, take)
    return classes


def label_of(row: Row, place: str) -> str:
    """Return the label of a row as a text."""
    for name in LABEL_KEYS:
        value = row.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value)
    raise UserError(f"{place}: no label under {', '.join(LABEL_KEYS)} (the keys are: {', '.join(row)})")


@dataclass(frozen=True)
class Draws:
    """What is drawn.

    Attributes:
        by: ``label`` or ``example``.
        negatives: of each row at most.
        each: rows of a label at most; None for all.
        seed: of all draws.
    """

    by: str = "example"
    negatives: int = 7
    each: int | None = None
    seed: int = 0


class ClassRows:
    """A row for each text and label, label by label; at most `Draws.each` of a label, drawn at random, in their order.

    By label the label is the positive, and other labels are the negatives. By example another text of the class is the
    positive, and texts of other classes are the negatives: none stands under a label of the query too. A class of one text
    gives no row.
    """

    def __init__(self, classes: Classes, draws: Draws, report: ConversionReport) -> None:
        self.classes, self.draws, self.report = classes, draws, report
        self.generator = np.random.default_rng(draws.seed)
        self.labels, self.texts = classes.names(), classes.texts
        self.label = self.place = 0
        self.began: Any = None  # state of the generator when the label's turn came
        self.others: tuple[frozenset[int], np.ndarray] = (frozenset(), np.zeros(0, dtype=np.int64))

    def state(self) -> object:
        """Return the place in the labels, and the generator's states."""
        return {"label": self.label, "place": self.place, "began": self.began, "now": self.generator.bit_generator.state}

    def go_on(self, state: Any) -> None:
        """Go on from a state."""
        self.label, self.place, self.began = state["label"], state["place"], state["began"]
        self.generator.bit_generator.state = state["now"]

    def rows(self) -> Iterator[Row]:
        """Yield the rows that follow."""
        make = self.by_label if self.draws.by == "label" else self.by_example
        while self.label < len(self.labels):
            chosen = self.chosen()
            while self.place < len(chosen):
                number = self.classes.member(self.label, int(chosen[self.place]))
                self.place += 1
                row = make(number)
                if row is not None:
                    yield row
            self.label, self.place = self.label + 1, 0

    def chosen(self) -> np.ndarray:
        """Return the places of the label's texts that become rows; after a resume those that were drawn before."""
        size, each = self.labels[self.label][1], self.draws.each
        now = self.generator.bit_generator.state
        if self.place == 0:
            self.began = now
        if each is None or size <= each:
            return np.arange(size)
        self.generator.bit_generator.state = self.began
        drawn = np.sort(self.generator.choice(size, size=each, replace=False))
        if self.place > 0:
            self.generator.bit_generator.state = now
        else:
            self.report.left_out["rows beyond --each_label"] += size - each
        return drawn

    def by_label(self, number: int) -> Row:
        """Return the row of a text and its label."""
        own = self.classes.labels_of(number)
        others = [other for other in range(len(self.labels)) if other not in own]
        count = min(self.draws.negatives, len(others))
        if count < self.draws.negatives:
            self.report.notes["rows with fewer negatives than wanted"] += 1
        chosen = self.generator.choice(len(others), size=count, replace=False).tolist() if count else []
        negatives = [self.labels[others[place]][0] for place in chosen]
        return {"query": self.classes.text(number), "positive": self.labels[self.label][0], "negative": negatives}

    def by_example(self, number: int) -> Row | None:
        """Return the row of a text and another one of its class; None where there is none."""
        size = self.labels[self.label][1]
        if size < 2:
            self.report.left_out["rows whose class has no other text"] += 1
            return None
        positive = self.classes.member(self.label, int(self.generator.integers(size - 1)))
        if positive == number:
            positive = self.classes.member(self.label, size - 1)
        chosen = self.texts_of_others(self.classes.labels_of(number))
        if len(chosen) < self.draws.negatives:
            self.report.notes["rows with fewer negatives than wanted"] += 1
        if not chosen and self.draws.negatives:
            self.report.left_out["rows without any text of another class"] += 1
            return None
        texts = [self.classes.text(other) for other in chosen]
        return {"query": self.classes.text(number), "positive": self.classes.text(positive), "negative": texts}

    def texts_of_others(self, labels: frozenset[int]) -> list[int]:
        """Return distinct texts that stand under none of some labels, drawn at random; fewer where there are fewer."""
        count = self.draws.negatives
        chosen: dict[int, None] = {}
        for _ in range(TRIES * count):
            number = int(self.generator.integers(self.texts))
            if not self.classes.labels_of(number) & labels:
                chosen[number] = None
            if len(chosen) == count:
                return list(chosen)
        if self.others[0] != labels:
            self.others = labels, self.classes.under_none(labels)
        order = self.generator.permutation(len(self.others[1]))[:count]
        return [int(self.others[1][place]) for place in order]
