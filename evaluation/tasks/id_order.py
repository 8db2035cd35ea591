"""Put the documents, queries and candidates of a task in the order of their ids, whatever the order of their files.

Where scores are equal, the order of documents decides which of them are kept; and sums of floats depend on the place of a
row in a matrix. In the order of ids, both are the same for every order of the files.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from mteb.abstasks import AbsTask, AbsTaskRetrieval


def order_by_id(task: AbsTask) -> None:
    """Put documents, queries and candidates of a loaded retrieval or reranking task in the order of their ids."""
    if not isinstance(task, AbsTaskRetrieval):
        return
    task.convert_v1_dataset_format_to_v2(num_proc=None)
    for splits in task.dataset.values():
        for split in splits.values():
            split["corpus"] = sorted_by_id(split["corpus"])
            split["queries"] = sorted_by_id(split["queries"])
            if candidates := split.get("top_ranked"):
                split["top_ranked"] = {query: sorted(ids) for query, ids in candidates.items()}


def sorted_by_id(rows: Dataset) -> Dataset:
    """Return the rows in the order of their `id`, a string; the same object if they are in that order already."""
    if rows._indices is None and is_sorted(rows.data.column("id")):
        return rows
    return rows.sort("id", keep_in_memory=True, load_from_cache_file=False)


def is_sorted(ids: pa.ChunkedArray) -> bool:
    """Return whether a column of Arrow strings is in ascending order; bounded memory."""
    last: str | None = None
    for chunk in ids.chunks:
        if not len(chunk):
            continue
        if last is not None and last > chunk[0].as_py():
            return False
        if len(chunk) > 1 and not pc.all(pc.less_equal(chunk[:-1], chunk[1:])).as_py():
            return False
        last = chunk[-1].as_py()
    return True
