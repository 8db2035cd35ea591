"""The longest batch that a run can have: the rows of most tokens."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

import numpy as np

from trainers.step.batch import TripletBatch, TripletCollator
from triplets.dataset import Part, TripletRows

CANDIDATES = 512  # rows beyond the batch that are tokenised: the longest by characters are not quite those by tokens
CHARACTERS = 4  # of a token; a text of more than that times its longest length is cut anyway


def longest_batch(rows: TripletRows, collator: TripletCollator, count: int) -> TripletBatch:
    """Return the batch of the ``count`` rows of most tokens, found by characters first; fewer if there are fewer.

    Args:
        rows: of the run.
        collator: tokenises them.
        count: queries of one process.
    """
    caps = CHARACTERS * collator.recipe.length("query"), CHARACTERS * collator.recipe.length("document")
    lengths = np.concatenate([np.concatenate([*characters(part, *caps)]) for part in rows.parts])
    wanted = min(count + CANDIDATES, len(lengths))
    candidates = np.sort(np.argpartition(-lengths, wanted - 1)[:wanted])
    fetched = rows.__getitems__(candidates.tolist())
    tokens = [collator([row]).tokens for row in fetched]
    chosen = heapq.nlargest(count, range(len(fetched)), key=lambda index: (tokens[index], -index))
    return collator([fetched[index] for index in chosen])


def characters(part: Part, query_cap: int, document_cap: int) -> Iterator[np.ndarray]:
    """Yield the characters of each row's texts, each counted up to what can be used of it, in blocks of rows."""
    if not hasattr(part.rows, "column_names"):
        yield np.array([row_characters(row, query_cap, document_cap) for row in part.rows], dtype=np.int64)
        return
    import pyarrow
    import pyarrow.compute as pc

    for table in part.rows.with_format("arrow").iter(batch_size=100_000):
        query, positive = (
            np.minimum(pc.utf8_length(table.column(name)).to_numpy(), cap)
            for name, cap in (("query", query_cap), ("positive", document_cap))
        )
        negatives = pyarrow.concat_arrays(table.column("negatives").chunks) if table.num_rows else pyarrow.array([])
        owners = pc.list_parent_indices(negatives).to_numpy(zero_copy_only=False).astype(np.int64)
        sizes = np.minimum(pc.utf8_length(pc.list_flatten(negatives)).to_numpy(zero_copy_only=False), document_cap)
        yield query + positive + np.bincount(owners, weights=sizes, minlength=table.num_rows).astype(np.int64)


def row_characters(row: dict[str, Any], query_cap: int, document_cap: int) -> int:
    """Return the characters of a row's texts, each up to its cap."""
    documents = [row["positive"], *row["negatives"]]
    return min(len(row["query"]), query_cap) + sum(min(len(text), document_cap) for text in documents)
