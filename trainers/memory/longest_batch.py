"""The longest batch that a run can have: the rows of most tokens."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute as pc

from trainers.masked.step import TokenRowCollator
from trainers.step.batch import TripletBatch, TripletCollator
from triplets.dataset import LoadedDataSet, TripletRows

CANDIDATES = 512  # rows tokenised beyond the batch: the longest by characters are not quite the longest by tokens
CHARACTERS = 4  # in a token; a longer text than this times its longest length is cut anyway


def longest_batch(rows: TripletRows, collator: TripletCollator | TokenRowCollator, count: int) -> TripletBatch:
    """Return the batch of the ``count`` rows of most tokens, or of all if there are fewer; looks at characters first.

    Args:
        rows: of the run.
        collator: tokenises them.
        count: queries of one process.
    """
    if isinstance(collator, TokenRowCollator):  # packed rows all have one length
        return collator(rows.__getitems__(range(min(count, len(rows)))))
    query_cap = CHARACTERS * collator.recipe.length("query")
    document_cap = CHARACTERS * collator.recipe.length("document")
    own = collator.own_positive
    blocks = [block for part in rows.parts for block in characters(part, query_cap, document_cap, own_positive=own)]
    lengths = np.concatenate(blocks)
    most = min(count + CANDIDATES, len(lengths))
    candidates = np.sort(np.argpartition(-lengths, most - 1)[:most])
    fetched = rows.__getitems__(candidates.tolist())
    tokens = [collator([row]).tokens for row in fetched]
    longest = heapq.nlargest(count, range(len(fetched)), key=lambda index: (tokens[index], -index))
    return collator([fetched[index] for index in longest])


def characters(part: LoadedDataSet, query_cap: int, document_cap: int, *, own_positive: bool) -> Iterator[np.ndarray]:
    """Yield the number of characters of each row's texts that are read, each counted up to its cap, in blocks of rows."""
    if isinstance(part.rows, list):
        rows = [{**row, "positive": row["query"], "negatives": []} for row in part.rows] if own_positive else part.rows
        yield np.array([row_characters(row, query_cap, document_cap) for row in rows], dtype=np.int64)
        return
    for table in part.rows.with_format("arrow").iter(batch_size=100_000):
        lengths = pc.utf8_length(table.column("query")).to_numpy()
        query = np.minimum(lengths, query_cap)
        if own_positive:
            yield query + np.minimum(lengths, document_cap)
            continue
        positive = np.minimum(pc.utf8_length(table.column("positive")).to_numpy(), document_cap)
        negatives = pyarrow.concat_arrays(table.column("negatives").chunks) if table.num_rows else pyarrow.array([])
        owners = pc.list_parent_indices(negatives).to_numpy(zero_copy_only=False).astype(np.int64)
        sizes = np.minimum(pc.utf8_length(pc.list_flatten(negatives)).to_numpy(zero_copy_only=False), document_cap)
        yield query + positive + np.bincount(owners, weights=sizes, minlength=table.num_rows).astype(np.int64)


def row_characters(row: dict[str, Any], query_cap: int, document_cap: int) -> int:
    """Return the number of characters of a row's texts, each counted up to its cap."""
    documents = [row["positive"], *row["negatives"]]
    return min(len(row["query"]), query_cap) + sum(min(len(text), document_cap) for text in documents)
