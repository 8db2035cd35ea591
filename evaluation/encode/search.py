"""mteb's search of a whole corpus, in chunks that bound its memory for any number of queries."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

from mteb.models.search_wrappers import SearchEncoderWrapper

from evaluation.encode.vector_store import SHARD_TEXTS

SCORES = 1 << 28  # queries × documents of a chunk at most: 1 GiB in fp32
MAX_CHUNK = 12 * SHARD_TEXTS  # 49,152 documents; mteb's own chunk is 50,000


def chunk_size(queries: int) -> int:
    """Return how many documents are scored at once: whole shards, so that a corpus has the same shards for all queries.

    With more than 65,536 queries a chunk is one shard, and its scores grow with the queries alone.
    """
    return min(MAX_CHUNK, max(SHARD_TEXTS, SCORES // max(queries, 1) // SHARD_TEXTS * SHARD_TEXTS))


class BoundedSearch(SearchEncoderWrapper):  # type: ignore[misc]
    """Searches with an encoder; the scores of a chunk, `(queries, documents)` fp32, stay below 1 GiB.

    Beside them it holds the vectors of the queries and of one chunk, and mteb's 1000 best documents of each query.
    """

    def search(self, queries: Sized, **options: Any) -> Any:
        """Search as mteb does, in chunks for this number of queries."""
        self.corpus_chunk_size = chunk_size(len(queries))
        return super().search(queries, **options)
