"""What stands in training data: lengths, and which texts, rows and queries stand in it more than once.

Texts are kept as 64-bit hashes (of `common.text_hash.text_hashes`, for which case and white space make no difference), so
memory does not depend on how long they are: 16 bytes a row and 16 a negative, and as much again while they are sorted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from common.text_hash import text_hashes
from model_loaders.layouts.manifest import Recipe
from model_loaders.text.prompts import render
from model_loaders.text.tokenizer import TextTokenizer
from triplets.dataset import Part, TripletRows

Role = Literal["query", "positive", "negative"]
ROLES: tuple[Role, ...] = get_args(Role)
BATCH_ROWS = 1000
UNLIMITED = 1_000_000_000  # tokens; no text is cut


@dataclass
class Lengths:
    """How often each length occurs, in characters or tokens."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, lengths: Iterable[int]) -> None:
        """Count some more."""
        self.counts.update(lengths)

    def quantile(self, share: float) -> int:
        """Return the shortest length that at least ``share`` of the texts do not exceed; 0 where there are none."""
        needed, seen = share * self.counts.total(), 0
        for length in sorted(self.counts):
            seen += self.counts[length]
            if seen >= needed:
                return length
        return 0

    def above(self, limit: int) -> float:
        """Return the share of texts that are longer than ``limit``."""
        total = self.counts.total()
        return sum(count for length, count in self.counts.items() if length > limit) / total if total else 0.0

    def summary(self) -> dict[str, int]:
        """Return the number of texts, some quantiles and the longest."""
        quantiles = {"median": self.quantile(0.5), "90%": self.quantile(0.9), "99%": self.quantile(0.99)}
        return {"texts": self.counts.total(), **quantiles, "longest": max(self.counts, default=0)}


@dataclass
class Scan:
    """What one pass over the rows found.

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


def columns(part: Part) -> Iterator[dict[str, list[Any]]]:
    """Yield the columns of a data set, some rows at a time."""
    if hasattr(part.rows, "column_names"):
        yield from part.rows.iter(batch_size=BATCH_ROWS)
        return
    for start in range(0, len(part), BATCH_ROWS):
        rows = part.rows[start : start + BATCH_ROWS]
        yield {name: [row.get(name, "") for row in rows] for name in ("query", "positive", "negatives", "place")}


def scan(rows: TripletRows) -> Scan:
    """Hash and measure every text, data set by data set."""
    queries, positives = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    negatives, owners, characters, at = [], [], [], 0
    for part in rows.parts:
        lengths = {role: Lengths() for role in ROLES}
        for batch in columns(part):
            count = len(batch["query"])
            several = [text for texts in batch["negatives"] for text in texts]
            queries[at : at + count] = text_hashes(batch["query"])
            positives[at : at + count] = text_hashes(batch["positive"])
            negatives.append(text_hashes(several))
            owners.append(np.repeat(np.arange(at, at + count), [len(texts) for texts in batch["negatives"]]))
            for role, texts in zip(ROLES, (batch["query"], batch["positive"], several), strict=True):
                lengths[role].add(map(len, texts))
            at += count
        characters.append(lengths)
    return Scan(queries, positives, np.concatenate(negatives), np.concatenate(owners).astype(np.int64), characters)


def repetitions(found: Scan, rows: TripletRows, examples: int) -> dict[str, Any]:
    """Return what stands in the data more than once, counted and with the places of the first few."""
    pairs = found.queries.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ found.positives.view(np.uint64)
    order = np.argsort(pairs, kind="stable")
    again = np.flatnonzero(pairs[order][1:] == pairs[order][:-1])
    result = {"equal rows": _listed(order[again], order[again + 1], rows, examples)}

    order = np.lexsort((found.positives, found.queries))
    queries, positives = found.queries[order], found.positives[order]
    split = np.flatnonzero((queries[1:] == queries[:-1]) & (positives[1:] != positives[:-1]))
    _, firsts = np.unique(queries[split], return_index=True)  # a query counts once, however many positives it has
    split = split[firsts]
    result["queries with several positives"] = _listed(
        np.minimum(order[split], order[split + 1]), np.maximum(order[split], order[split + 1]), rows, examples
    )

    for role, own in (("positive", found.positives), ("query", found.queries)):
        owners = found.owners[found.negatives == own[found.owners]]
        result[f"negatives equal to their {role}"] = _listed(owners, None, rows, examples)
    same = np.flatnonzero(found.queries == found.positives)
    result["positives equal to their query"] = _listed(same, None, rows, examples)
    return result


def _listed(first: np.ndarray, second: np.ndarray | None, rows: TripletRows, examples: int) -> dict[str, Any]:
    """Return how many there are, and the places of the earliest."""
    chosen = np.argsort(first, kind="stable")[:examples]
    places = [[row["place"] for row in rows.__getitems__(first[chosen].tolist())]]
    if second is not None:
        places.append([row["place"] for row in rows.__getitems__(second[chosen].tolist())])
    return {"count": len(first), "examples": [list(one) for one in zip(*places, strict=True)]}


def distinct(found: Scan, rows: TripletRows, number: int) -> dict[str, int]:
    """Return how many different queries and positives a data set has."""
    part = slice(int(rows.starts[number]), int(rows.starts[number + 1]))
    return {"queries": len(np.unique(found.queries[part])), "positives": len(np.unique(found.positives[part]))}


def tokens(part: Part, tokenizer: TextTokenizer, recipe: Recipe, most: int) -> dict[Role, Lengths]:
    """Return how many tokens the texts of a data set have with their prompts, uncut, EOS included.

    Args:
        part: the data set, with its own prompts if it has any.
        tokenizer: of the base LLM.
        recipe: of the run.
        most: rows that are looked at, evenly spaced; 0 for all.
    """
    lengths = {role: Lengths() for role in ROLES}
    count = len(part) if most == 0 else min(most, len(part))
    prompts = {
        "query": recipe.query_prompt if part.query_prompt is None else part.query_prompt,
        "document": recipe.document_prompt if part.document_prompt is None else part.document_prompt,
    }
    for start in range(0, count, BATCH_ROWS):
        numbers = range(start, min(count, start + BATCH_ROWS))
        fetched = part.fetch([number * len(part) // count for number in numbers])
        texts: dict[Role, list[str]] = {
            "query": [row["query"] for row in fetched],
            "positive": [row["positive"] for row in fetched],
            "negative": [text for row in fetched for text in row["negatives"]],
        }
        for role in ROLES:
            prompt = prompts["query" if role == "query" else "document"]
            lengths[role].add(map(len, tokenizer.ids([render(text, prompt) for text in texts[role]], UNLIMITED)))
    return lengths
