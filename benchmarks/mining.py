"""Time and memory of the search for hard negatives, beside sentence-transformers' `mine_hard_negatives` on the same vectors.

    python benchmarks/mining.py                                        # 1,000 queries, 200,000 texts, both ways, three pairs
    python benchmarks/mining.py --queries 10000 --texts 1000000 --ours --pairs 1

Vectors are random and of unit length; each query has one positive. Both ways choose 7 negatives with a relative margin of 0.05
among 100 matches. Both are given the vectors and build their own result; ours writes its files too. Printed are seconds of each
way, alternating, the ratio of the medians, whether both chose the same texts, and the peak of memory beyond the vectors.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.clock import clock
from triplets.mining.pool import Pool, make_pool
from triplets.mining.rules import MiningRules
from triplets.mining.search_all import mine_queries
from triplets.mining.teachers import VectorTeacher
from triplets.triplet import Triplet

MATCHES = 100
RULES = MiningRules(negatives=7, relative_margin=0.05, window="survivors")


def random_vectors(count: int, dim: int, seed: int) -> np.ndarray:
    """Return unit vectors ``(count, dim)`` float32."""
    vectors = np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


class StoredVectors:
    """A stand-in for a SentenceTransformer: gives the vectors that were made before."""

    device = torch.device("cpu")

    def __init__(self, vectors: dict[str, np.ndarray]) -> None:
        self.vectors = vectors

    def encode_query(self, texts: list[str], **_: object) -> torch.Tensor:
        """Return the vectors of known texts."""
        return torch.from_numpy(np.stack([self.vectors[text] for text in texts]))

    encode_document = encode_query

    def similarity(self, queries: torch.Tensor, corpus: torch.Tensor) -> torch.Tensor:
        """Return all inner products, as its cosine does for unit vectors."""
        return queries @ corpus.T

    def similarity_pairwise(self, queries: torch.Tensor, positives: torch.Tensor) -> torch.Tensor:
        """Return the inner product of each pair."""
        return (queries * positives).sum(dim=-1)


def ours(pool: Pool, queries: np.ndarray, corpus: np.ndarray) -> list[list[int]]:
    """Return the places of each query's negatives."""
    with tempfile.TemporaryDirectory() as folder:
        results = list(mine_queries(pool, VectorTeacher(queries, corpus), RULES, depth=MATCHES, folder=Path(folder)))
    return [result.negatives for result in results]


def theirs(pool: Pool, model: StoredVectors) -> list[list[int]]:
    """Return the same by sentence-transformers."""
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    positives = [pool.corpus[places[0]] for places in pool.positives]
    pairs = Dataset.from_dict({"query": pool.queries, "positive": positives})
    mined = mine_hard_negatives(
        pairs,
        model,
        corpus=pool.corpus,
        num_negatives=RULES.negatives,
        relative_margin=RULES.relative_margin,
        range_max=MATCHES - 1,
        output_format="n-tuple",
        use_faiss=False,
        verbose=False,
    )
    places: dict[str, int] = {text: place for place, text in enumerate(pool.corpus)}
    rows: dict[str, list[int]] = {}
    for row in mined:
        rows[row["query"]] = [places[row[f"negative_{number}"]] for number in range(1, RULES.negatives + 1)]
    return [rows.get(query, []) for query in pool.queries]


def peak() -> float:
    """Return the largest resident memory so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=3, help="of alternating runs")
    parser.add_argument("--ours", action="store_true", help="only this project's way")
    args = parser.parse_args()
    corpus = random_vectors(args.texts, args.dim, 1)
    queries = random_vectors(args.queries, args.dim, 2)
    positives = np.arange(args.queries) % args.texts
    queries += corpus[positives]  # the positive of each query is near it
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    rows = [Triplet(f"query {row}", f"text {place}", []) for row, place in enumerate(positives)]
    pool = make_pool(rows, (f"text {row}" for row in range(args.texts)))
    seconds: dict[str, list[float]] = {"ours": [], "sentence-transformers": []}
    results: dict[str, list[list[int]]] = {}
    known = dict(zip(pool.queries, queries, strict=True)) | dict(zip(pool.corpus, corpus, strict=True))
    before = peak()
    ways = ["ours"] if args.ours else ["ours", "sentence-transformers"]
    for pair in range(args.pairs):
        for way in ways if pair % 2 == 0 else ways[::-1]:
            began = clock()
            results[way] = ours(pool, queries, corpus) if way == "ours" else theirs(pool, StoredVectors(known))
            seconds[way].append(clock() - began)
            print(
                f"{way:22s} {seconds[way][-1]:7.2f} s, peak so far {peak() - before:.2f} GiB beyond vectors and texts",
                flush=True,
            )
    if not args.ours:
        ratio = statistics.median(seconds["sentence-transformers"]) / statistics.median(seconds["ours"])
        pairs = zip(results["ours"], results["sentence-transformers"], strict=True)
        same = sum(mine == peer for mine, peer in pairs)
        print(f"ours is {ratio:.2f} x as fast; the same negatives for {same:,} of {args.queries:,} queries")
    return 0


if __name__ == "__main__":
    sys.exit(main())
