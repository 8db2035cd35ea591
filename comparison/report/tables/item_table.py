"""The items on which two systems differ most: a table for each comparison in the page, and all of them in `items.csv`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from comparison.claims.outcome import Category, Comparison, Contrast
from comparison.disagreements.items import A_SIDE, ItemApart
from comparison.disagreements.texts import Texts
from comparison.report.tables.columns import Column, heads, records, texts
from comparison.report.words.names import called, name
from comparison.report.words.wording import count, hundredths

MOST_TABLES = 8  # in the page
LONGEST = 240  # characters of a text in the page
LONGEST_IN_FILE = 4_000


@dataclass(frozen=True)
class PlacedItem:
    """An item with its comparison and what it says.

    Attributes:
        category: kind of its task.
        contrast: the comparison.
        item: the item.
        parts: its texts; empty where they are not at hand.
    """

    category: str
    contrast: Contrast
    item: ItemApart
    parts: list[str]

    @property
    def place(self) -> str:
        """The item's id, with its subset where the task has several."""
        if self.item.subset == "default":
            return self.item.item
        return f"{self.item.subset} {self.item.item}"


@dataclass(frozen=True)
class ItemTable:
    """The items of one comparison as the page shows them."""

    title: str
    head: list[str]
    rows: list[list[str]]


def place_items(comparison: Comparison, texts_of: Texts) -> list[PlacedItem]:
    """Return all items that are kept, comparison by comparison."""
    by_pair: dict[tuple[str, str], list[PlacedItem]] = {}
    for category, contrast in _contrasts(comparison):
        of_pair = by_pair.setdefault((contrast.a, contrast.b), [])
        for item in contrast.apart:
            parts = texts_of.get((item.task, item.subset, item.item), [])
            of_pair.append(PlacedItem(category.name, contrast, item, parts))
    every = []
    for of_pair in by_pair.values():
        every += of_pair
    return every


def _contrasts(comparison: Comparison) -> Iterator[tuple[Category, Contrast]]:
    for category in comparison.categories:
        for contrast in category.contrasts:
            yield category, contrast


def _shown_text(place: PlacedItem) -> str:
    """Return the texts as the page shows them, each cut; that they are not at hand where they are not."""
    if not place.parts:
        return "(text not at hand)"
    shown = []
    for part in place.parts:
        whole = name(part)
        shown.append(whole if len(whole) <= LONGEST else f"{whole[:LONGEST]} …")
    line = " | ".join(shown)
    if place.item.gold is not None:
        line += f" (gold {place.item.gold:g})"
    return line


def _columns(a: str, b: str) -> Sequence[Column[PlacedItem]]:
    return [
        Column("task", lambda place: place.item.task, text=name),
        Column("item", lambda place: place.place, text=name),
        Column("texts", _shown_text),
        Column(f"score of {called(a)}", lambda place: place.item.score_a, text=hundredths),
        Column(f"score of {called(b)}", lambda place: place.item.score_b, text=hundredths),
    ]


def item_tables(comparison: Comparison, texts_of: Texts) -> tuple[list[ItemTable], str]:
    """Return the tables of the first comparisons that have items, and a sentence on those that are in the file alone."""
    by_pair: dict[tuple[str, str], list[PlacedItem]] = {}
    for place in place_items(comparison, texts_of):
        by_pair.setdefault((place.contrast.a, place.contrast.b), []).append(place)
    tables = []
    for (a, b), places in list(by_pair.items())[:MOST_TABLES]:
        columns = _columns(a, b)
        title = f"{called(a)} and {called(b)}: {count(len(places), 'item', 'items')}"
        tables.append(ItemTable(title, heads(columns), texts(columns, places)))
    more = len(by_pair) - len(tables)
    rest = ""
    if more:
        rest = f"Those of {count(more, 'more comparison', 'more comparisons')} are in items.csv."
    return tables, rest


FILE: Sequence[Column[PlacedItem]] = [
    Column("category", lambda place: place.category),
    Column("a", lambda place: place.contrast.a),
    Column("b", lambda place: place.contrast.b),
    Column("task", lambda place: place.item.task),
    Column("split", lambda place: place.item.split),
    Column("subset", lambda place: place.item.subset),
    Column("item", lambda place: place.item.item),
    Column("gold", lambda place: place.item.gold),
    Column("score_a", lambda place: place.item.score_a),
    Column("score_b", lambda place: place.item.score_b),
    Column("texts", lambda place: " | ".join(part[:LONGEST_IN_FILE] for part in place.parts)),
]


def item_rows(comparison: Comparison, texts_of: Texts) -> list[dict[str, object]]:
    """Return a row for each item, for a CSV file."""
    return records(FILE, place_items(comparison, texts_of))


def about_items(comparison: Comparison, texts_of: Texts) -> str:
    """Say what the items are, and of how many no text is at hand."""
    keys = set[tuple[str, str, str]]()
    for _, contrast in _contrasts(comparison):
        for item in contrast.apart:
            keys.add((item.task, item.subset, item.item))
    sentence = (
        f"Of each comparison and kind of task at most {A_SIDE} items for each of the two systems: those on which it is "
        "furthest ahead, of different tasks where there are several. They are picked for their size and prove nothing. Scores "
        "are means over runs, 100 for the best that a system can do with an item: of a query the metric of the task; of a pair "
        "how near its place by similarity is to its place by gold, or how many pairs of the other label it is on the right "
        "side of; of a text how many predictions are right."
    )
    missing = sum(key not in texts_of for key in keys)
    if not missing:
        return f"{sentence} Behind a query stands a document that is relevant to it, where that is at hand."
    return (
        f"{sentence} Of {missing} of {count(len(keys), 'item', 'items')} no text is at hand, so they stand with their ids: "
        "--texts DIR reads it from a folder of task folders."
    )
