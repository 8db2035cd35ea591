"""Searched corpora in one order, whatever the order of their files: by document id.

Where scores are equal, an order decides which documents are kept; and sums of floats depend on where a row stands in a
matrix. In the order of ids, both are the same for every order of the files.
"""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc
from datasets import Dataset
from mteb.abstasks import AbsTask, AbsTaskRetrieval


def order_by_id(task: AbsTask) -> None:
    """Put documents, queries and candidates of a loaded retrieval or reranking task in the order of their ids."""
    if not isinstance(task, AbsTaskRetrieval):
        return
    task.convert_v1_dataset_format_to_v2(num_proc=None)
    for splits in task.dataset.values():
        for parts in splits.values():
            split: Any = parts  # a dictionary; mteb's TypedDict takes no variable key
            for side in ("corpus", "queries"):
                split[side] = sorted_by_id(split[side])
            if split.get("top_ranked"):
                split["top_ranked"] = {query: sorted(ids) for query, ids in split["top_ranked"].items()}


def sorted_by_id(rows: Dataset) -> Dataset:
    """Return the rows in the order of their `id`, a string; as they are if they stand so already."""
    if rows._indices is None and is_sorted(rows.data.column("id")):
        return rows
    return rows.sort("id", keep_in_memory=True, load_from_cache_file=False)


def is_sorted(ids: Any) -> bool:
    """Return whether a column of Arrow strings stands in ascending order; bounded memory."""
    last: Any = None
    for chunk in ids.chunks:
        if not len(chunk):
            continue
        if last is not None and last > chunk[0].as_py():
            return False
        if len(chunk) > 1 and not pc.all(pc.less_equal(chunk[:-1], chunk[1:])).as_py():
            return False
        last = chunk[-1].as_py()
    return True
