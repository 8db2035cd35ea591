"""The answers of one or two systems to a query, as lines of a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.printable import escaped
from evaluation.search.index import Document, Hit, Index

SHOWN = 100  # characters of a document on a terminal


@dataclass(frozen=True)
class Answer:
    """The documents that a system finds.

    Attributes:
        name: of the system.
        hits: best first.
    """

    name: str
    hits: list[Hit]

    def place(self, document: int) -> int | None:
        """Return the place of a document, from 1; ``None`` where it is not among them."""
        for place, hit in enumerate(self.hits, start=1):
            if hit.document == document:
                return place
        return None


def answers_of(indexes: Sequence[Index], query: str, top: int) -> list[Answer]:
    """Ask each system."""
    return [Answer(index.name, index.find(query, top)) for index in indexes]


def shared(answers: Sequence[Answer]) -> int:
    """Return how many documents both of two systems find."""
    first, second = ({hit.document for hit in answer.hits} for answer in answers)
    return len(first & second)


def place_words(other: Answer, document: int) -> str:
    """Return where the other system has a document, in words."""
    place = other.place(document)
    return f"only here, not in {other.name}" if place is None else f"place {place} in {other.name}"


def lines_of(answers: Sequence[Answer], documents: Sequence[Document]) -> list[str]:
    """Return the lines that a terminal shows."""
    lines = []
    if len(answers) == 2:
        lines.append(f"{shared(answers)} of {len(answers[0].hits)} documents are found by both")
    for number, answer in enumerate(answers):
        lines.append(f"{answer.name}:")
        for place, hit in enumerate(answer.hits, start=1):
            document = documents[hit.document]
            words = escaped(" ".join(document.whole.split()))[:SHOWN]
            lines.append(f"{place:3}  {hit.score:.3f}  [{escaped(document.id)}] {words}")
            if len(answers) == 2:
                lines.append(f"             {place_words(answers[1 - number], hit.document)}")
    return lines
