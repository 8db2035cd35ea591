"""Lengths of the training texts, and texts, rows and queries that occur more than once.

Texts are kept as 64-bit hashes of `common.text_hash.text_hashes`, which ignores case and white space. So memory does not depend
on their length: 16 bytes for each row and for each negative, and the same again while they are sorted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, get_args

import numpy as np

from common.text_hash import text_hashes
from model_loaders.text.recipe import Recipe
from model_loaders.text.render import read_texts
from model_loaders.text.tokenizer import TextTokenizer
from triplets.dataset import LoadedDataSet, TripletRows
from triplets.triplet import COLUMNS

Role = Literal["query", "positive", "negative"]
ROLES: tuple[Role, ...] = get_args(Role)
BATCH_ROWS = 1000
BATCH_BYTES = 2**27
UNLIMITED = 1_000_000_000  # tokens; no text is cut


@dataclass
class Lengths:
    """A histogram of lengths, in characters or tokens."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, lengths: Iterable[int]) -> None:
        """Count lengths."""
        self.counts.update(lengths)

    def quantile(self, share: float) -> int:
        """Return the shortest length that at least ``share`` of the texts do not exceed; 0 without any text."""
        needed, counted = share * self.counts.total(), 0
        for length in sorted(self.counts):
            counted += self.counts[length]
            if counted >= needed:
                return length
        return 0

    def above(self, limit: int) -> float:
        """Return the share of texts that are longer than ``limit``."""
        if not self.counts:
            return 0.0
        longer = sum(count for length, count in self.counts.items() if length > limit)
        return longer / self.counts.total()

    def summary(self) -> dict[str, int]:
        """Return the number of texts, some quantiles and the longest."""
        quantiles = {"median": self.quantile(0.5), "90%": self.quantile(0.9), "99%": self.quantile(0.99)}
        return {"texts": self.counts.total(), **quantiles, "longest": max(self.counts, default=0)}


@dataclass
class Scan:
    """Hashes and lengths of all texts, from one pass over the rows.

    Attributes:
        queries: int64 ``(rows,)`` hashes.
        positives: int64 ``(rows,)``.
        negatives: int64 ``(negatives,)``, row by row.
        owners: int64 ``(negatives,)``: the row of each negative.
        characters: lengths by data set and role.
    """

    queries: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray
    owners: np.ndarray
    characters: list[dict[Role, Lengths]]


def rows_at_once(part: LoadedDataSet) -> int:
    """Return the number of rows of a data set to hold in memory: `BATCH_ROWS`, or fewer where rows are large."""
    if isinstance(part.rows, list):
        return BATCH_ROWS
    a_row = int(part.rows.data.nbytes) // max(1, len(part))
    return max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, a_row)))


def columns(part: LoadedDataSet) -> Iterator[dict[str, list[Any]]]:
    """Yield the columns of a data set, some rows at a time."""
    if not isinstance(part.rows, list):
        yield from part.rows.iter(batch_size=rows_at_once(part))
        return
    for start in range(0, len(part), BATCH_ROWS):
        rows = part.rows[start : start + BATCH_ROWS]
        block: dict[str, list[Any]] = {}
        for name in COLUMNS:
            block[name] = [row.get(name, "") for row in rows]
        yield block


def scan(rows: TripletRows) -> Scan:
    """Hash and measure every text, data set by data set."""
    queries, positives = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    negatives, owners, characters, at = [], [], [], 0
    for part in rows.parts:
        lengths = {role: Lengths() for role in ROLES}
        for block in columns(part):
            end = at + len(block["query"])
            negative_texts = list(chain.from_iterable(block["negatives"]))
            queries[at:end] = text_hashes(block["query"])
            positives[at:end] = text_hashes(block["positive"])
            negatives.append(text_hashes(negative_texts))
            owners.append(np.repeat(np.arange(at, end), list(map(len, block["negatives"]))))
            lengths["query"].add(map(len, block["query"]))
            lengths["positive"].add(map(len, block["positive"]))
            lengths["negative"].add(map(len, negative_texts))
            at = end
        characters.append(lengths)
    return Scan(queries, positives, np.concatenate(negatives), np.concatenate(owners).astype(np.int64), characters)


def repetitions(hashes: Scan, rows: TripletRows, examples: int) -> dict[str, Any]:
    """Return texts, rows and queries that occur more than once, counted and with the places of the first few."""
    pairs = hashes.queries.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ hashes.positives.view(np.uint64)
    order = np.argsort(pairs, kind="stable")
    again = np.flatnonzero(pairs[order][1:] == pairs[order][:-1])
    result = {"equal rows": _with_examples(order[again], order[again + 1], rows, examples)}

    order = np.lexsort((hashes.positives, hashes.queries))
    queries, positives = hashes.queries[order], hashes.positives[order]
    split = np.flatnonzero((queries[1:] == queries[:-1]) & (positives[1:] != positives[:-1]))
    _, firsts = np.unique(queries[split], return_index=True)  # a query counts once, however many positives it has
    split = split[firsts]
    earlier, later = np.minimum(order[split], order[split + 1]), np.maximum(order[split], order[split + 1])
    result["queries with several positives"] = _with_examples(earlier, later, rows, examples)

    for role, own in (("positive", hashes.positives), ("query", hashes.queries)):
        owners = hashes.owners[hashes.negatives == own[hashes.owners]]
        result[f"negatives equal to their {role}"] = _with_examples(owners, None, rows, examples)
    same = np.flatnonzero(hashes.queries == hashes.positives)
    result["positives equal to their query"] = _with_examples(same, None, rows, examples)
    return result


def _with_examples(first: np.ndarray, second: np.ndarray | None, rows: TripletRows, examples: int) -> dict[str, Any]:
    """Return the number of repetitions, and the places of the earliest."""
    earliest = np.argsort(first, kind="stable")[:examples]
    places = [_places(first[earliest], rows)]
    if second is not None:
        places.append(_places(second[earliest], rows))
    return {"count": len(first), "examples": list(map(list, zip(*places, strict=True)))}


def _places(numbers: np.ndarray, rows: TripletRows) -> list[str]:
    return [row["place"] for row in rows.__getitems__(numbers.tolist())]


def distinct(hashes: Scan, rows: TripletRows, number: int) -> dict[str, int]:
    """Return the number of different queries and positives of a data set."""
    part = slice(int(rows.starts[number]), int(rows.starts[number + 1]))
    return {"queries": len(np.unique(hashes.queries[part])), "positives": len(np.unique(hashes.positives[part]))}


def tokens(part: LoadedDataSet, tokenizer: TextTokenizer, recipe: Recipe, most: int) -> dict[Role, Lengths]:
    """Return the lengths in tokens of the texts of a data set with their prompts, uncut, EOS included.

    Args:
        part: the data set, with its own prompts if it has any.
        tokenizer: of the base LLM.
        recipe: of the run.
        most: number of rows to look at, evenly spaced; 0 for all.
    """
    lengths = {role: Lengths() for role in ROLES}
    count = min(most or len(part), len(part))
    query_prompt = recipe.query_prompt if part.query_prompt is None else part.query_prompt
    document_prompt = recipe.document_prompt if part.document_prompt is None else part.document_prompt
    step = rows_at_once(part)
    for start in range(0, count, step):
        numbers = range(start, min(count, start + step))
        rows = part.fetch([number * len(part) // count for number in numbers])
        texts: dict[Role, list[str]] = {"query": [], "positive": [], "negative": []}
        for row in rows:
            texts["query"].append(row["query"])
            texts["positive"].append(row["positive"])
            texts["negative"] += row["negatives"]
        for role in ROLES:
            prompt = query_prompt if role == "query" else document_prompt
            prompts = [prompt] * len(texts[role])
            lengths[role].add(map(len, read_texts(tokenizer, recipe, texts[role], prompts, UNLIMITED).ids))
    return lengths
