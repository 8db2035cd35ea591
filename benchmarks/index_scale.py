"""An inverted file with product codes (FAISS, IVF + PQ) over millions of vectors, sharded by process: recall, memory, time.

    python benchmarks/index_scale.py                                   # 10 M vectors of 64 dimensions, 4 shards
    python benchmarks/index_scale.py --vectors 200000 --lists 256 --queries 100 --shards 2

Vectors are synthetic: unit vectors around the centres of topics, whose sizes follow a power law. Each block of them comes from
the seed and its own number, so that no process holds more than one. One process trains the lists' centres and the codebooks.
Then each shard has a process that adds its blocks to a copy of the empty index and writes it, a process that searches all
queries in it, and one that searches them exactly, in blocks. Matches of the shards are merged by their scores.

Recall@k is the share of the k best vectors of the exact search among the k best that were found. It is printed twice: in the
order of the codes, and with the candidates of each shard scored anew by their vectors, which are kept in half precision in a
file beside the index. Seconds are those of the processor, one thread a process; memory is the peak of the resident one.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.files import write_json
from triplets.mining.search import Matches, best_matches, in_order
from triplets.mining.search_index import POINTS_A_LIST, load_faiss

BLOCK = 2**16  # vectors that are made at once
ITERATIONS = 10  # of k-means for codebooks, as FAISS makes for the lists' centres
SAMPLED = 16  # blocks, of which an index is trained
CENTRES, QUERIES = 2**31, 2**31 + 1  # take the place of a block's number
DEPTHS = (10, 100)
Figures = dict[str, float]


@dataclass(frozen=True)
class Plan:
    """Sizes of a corpus and its index.

    Attributes:
        vectors: of the corpus.
        dim: of a vector.
        topics: clusters of the corpus.
        spread: length of a vector's noise beside its topic's centre of length 1.
        queries: made as the vectors are.
        lists: of the inverted file.
        codes: bytes of a vector's code.
        shards: parts of the corpus, each with a process.
        candidates: of a query in each shard.
        seed: of all numbers.
    """

    vectors: int = 10_000_000
    dim: int = 64
    topics: int = 10_000
    spread: float = 0.7
    queries: int = 500
    lists: int = 2048
    codes: int = 16
    shards: int = 4
    candidates: int = 250
    seed: int = 0

    def rows(self, shard: int) -> range:
        """Return the rows of a shard: whole blocks, but for the last one."""
        blocks = -(-self.vectors // BLOCK)
        first, last = (blocks * number // self.shards * BLOCK for number in (shard, shard + 1))
        return range(first, min(last, self.vectors))


def around_topics(plan: Plan, number: int, count: int) -> np.ndarray:
    """Return unit vectors ``(count, dim)`` float32 of a block, or of the queries."""
    centres = np.random.default_rng([plan.seed, CENTRES]).standard_normal((plan.topics, plan.dim), dtype=np.float32)
    rng = np.random.default_rng([plan.seed, number])
    topics = np.minimum(plan.topics * rng.random(count) ** 2, plan.topics - 1).astype(np.int64)  # the first ones are large
    vectors = rng.standard_normal((count, plan.dim), dtype=np.float32)
    vectors *= plan.spread
    vectors += centres[topics]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def blocks(plan: Plan, rows: range) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first row and the vectors of each block of a shard."""
    for first in range(rows.start, rows.stop, BLOCK):
        yield first, around_topics(plan, first // BLOCK, min(BLOCK, rows.stop - first))


def train(plan: Plan, folder: Path, _: int) -> Figures:
    """Compute centres and codebooks of a sample of blocks that are spread over the corpus; writes an empty index."""
    faiss = load_faiss()
    wanted, whole = POINTS_A_LIST * max(plan.lists, 256), plan.vectors // BLOCK
    chosen = range(0, max(1, whole), max(1, whole // SAMPLED))
    parts = []
    for number in chosen:
        block = around_topics(plan, number, min(BLOCK, plan.vectors))
        parts.append(block[: -(-wanted // len(chosen))])
    sample = np.concatenate(parts)
    index = faiss.index_factory(plan.dim, f"IVF{plan.lists},PQ{plan.codes}", faiss.METRIC_INNER_PRODUCT)
    index.do_polysemous_training = False  # an order of codes that only its Hamming filter reads, and most of the time
    index.pq.cp.niter, index.pq.cp.max_points_per_centroid = ITERATIONS, POINTS_A_LIST
    begin = time.process_time()
    index.train(sample)
    seconds = time.process_time() - begin
    faiss.write_index(index, str(folder / "empty.faiss"))
    return {"sample": len(sample), "train": seconds}


def add(plan: Plan, folder: Path, shard: int) -> Figures:
    """Add a shard's vectors to its index and keep them in half precision; writes both."""
    faiss, rows = load_faiss(), plan.rows(shard)
    index = faiss.read_index(str(folder / "empty.faiss"))
    kept = np.lib.format.open_memmap(folder / f"{shard}.npy", "w+", np.float16, (len(rows), plan.dim))
    seconds = 0.0
    for first, block in blocks(plan, rows):
        begin = time.process_time()
        index.add(block)
        seconds += time.process_time() - begin
        kept[first - rows.start : first - rows.start + len(block)] = block
    kept.flush()
    path = folder / f"{shard}.faiss"
    faiss.write_index(index, str(path))
    return {"add": seconds, "index_bytes": path.stat().st_size, "vector_bytes": (folder / f"{shard}.npy").stat().st_size}


def search(plan: Plan, folder: Path, shard: int, probes: Sequence[int]) -> Figures:
    """Search all queries in a shard; writes the matches of each number of lists that are probed, by codes and by vectors."""
    faiss, rows = load_faiss(), plan.rows(shard)
    index = faiss.read_index(str(folder / f"{shard}.faiss"))
    vectors, queries = np.load(folder / f"{shard}.npy", mmap_mode="r"), around_topics(plan, QUERIES, plan.queries)
    figures = {}
    for probed in probes:
        index.nprobe = probed
        begin = time.process_time()
        scores, places = index.search(queries, min(plan.candidates, len(rows)))
        searched = time.process_time()
        exact = scored_by_vectors(queries, vectors, places)
        figures |= {f"search {probed}": searched - begin, f"score {probed}": time.process_time() - searched}
        for name, values in (("codes", scores), ("vectors", exact)):
            keep(folder / f"{shard}-{probed}-{name}.npz", Matches(values, np.where(places < 0, -1, places + rows.start)))
    return figures


def scored_by_vectors(queries: np.ndarray, vectors: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the inner products of queries with the vectors at their places; minus infinity where there is no match."""
    scores = np.empty(places.shape, np.float32)
    for row, (query, own) in enumerate(zip(queries, places, strict=True)):
        scores[row] = np.where(own < 0, -np.inf, vectors[own].astype(np.float32) @ query)
    return scores


def exact(plan: Plan, folder: Path, shard: int) -> Figures:
    """Search all queries exactly in a shard, block by block; writes the matches."""
    queries, depth = around_topics(plan, QUERIES, plan.queries), max(DEPTHS)
    parts, seconds = [], 0.0
    for first, block in blocks(plan, plan.rows(shard)):
        begin = time.process_time()
        best = best_matches(queries, block, depth)
        parts = [merged([*parts, Matches(best.scores, best.places + first)], depth)]
        seconds += time.process_time() - begin
    keep(folder / f"{shard}-exact.npz", parts[0])
    return {"exact": seconds}


def merged(parts: Sequence[Matches], depth: int) -> Matches:
    """Return the best matches of several shards."""
    scores, places = (np.concatenate([getattr(part, name) for part in parts], axis=1) for name in ("scores", "places"))
    best = in_order(scores, places)
    return Matches(best.scores[:, :depth], best.places[:, :depth])


def keep(path: Path, matches: Matches) -> None:
    """Write matches to a file."""
    np.savez(path, scores=matches.scores, places=matches.places)


def matches_of(folder: Path, shards: int, name: str) -> Matches:
    """Read and merge the matches of all shards."""
    parts = []
    for shard in range(shards):
        with np.load(folder / f"{shard}-{name}.npz") as arrays:
            parts.append(Matches(arrays["scores"], arrays["places"]))
    return merged(parts, max(DEPTHS))


def recall(found: np.ndarray, wanted: np.ndarray, depth: int) -> float:
    """Return the mean share of the ``depth`` best rows that are among the ``depth`` first ones that were found."""
    shares = []
    for own, best in zip(found[:, :depth], wanted[:, :depth], strict=True):
        shares.append(len(np.intersect1d(own, best)) / len(best))
    return float(np.mean(shares))


def in_process(phase: str, plan: Plan, folder: Path, shard: int, probes: Sequence[int]) -> Figures:
    """Run a phase in a process of its own; returns its figures.

    Raises:
        SystemExit: it failed.
    """
    words = [sys.executable, __file__, "--phase", phase, "--folder", str(folder), "--shard", str(shard)]
    words += ["--probes", *map(str, probes), "--plan", json.dumps(asdict(plan))]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{phase} of shard {shard} failed:\n{done.stderr[-2000:]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def be_process(args: argparse.Namespace) -> None:
    """Run one phase, and print its figures with the process's seconds and memory."""
    torch.set_num_threads(1)
    load_faiss().omp_set_num_threads(1)
    phases: dict[str, Callable[[Plan, Path, int], Figures]] = {
        "train": train, "add": add, "exact": exact,
        "search": lambda plan, folder, shard: search(plan, folder, shard, args.probes),
    }  # fmt: skip
    figures = phases[args.phase](Plan(**json.loads(args.plan)), args.folder, args.shard)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(figures | {"process": time.process_time(), "peak": peak}))


def measure(plan: Plan, folder: Path, probes: Sequence[int], at_once: int) -> dict[str, Any]:
    """Run all phases, print what they took and what they found, and return it."""
    phases: dict[str, Figures] = {}
    for phase in ("train", "add", "search", "exact"):
        shards = range(1 if phase == "train" else plan.shards)
        with ThreadPoolExecutor(at_once) as pool:
            parts = list(pool.map(lambda shard, phase=phase: in_process(phase, plan, folder, shard, probes), shards))
        whole = phases[phase] = {name: sum(part[name] for part in parts) for name in parts[0]}
        whole["peak"] = max(part["peak"] for part in parts)
        details = ", ".join(f"{name} {value:,.1f}" for name, value in whole.items() if name != "peak")
        print(f"{phase}: peak of a process {whole['peak'] / 2**20:,.0f} MiB; {details}", flush=True)
    wanted, recalls = matches_of(folder, plan.shards, "exact").places, {}
    print("lists probed  recall@10, @100 by codes   with candidates scored anew   ms a query (codes, scoring)")
    for probed in probes:
        columns = []
        for name in ("codes", "vectors"):
            found = matches_of(folder, plan.shards, f"{probed}-{name}").places
            columns += [recall(found, wanted, depth) for depth in DEPTHS]
        recalls[probed] = columns
        times = [1e3 * phases["search"][f"{part} {probed}"] / plan.queries for part in ("search", "score")]
        cells = [f"{value:.3f}" for value in columns] + [f"{value:.2f}" for value in times]
        print(f"{probed:12} {cells[0]:>10}, {cells[1]} {cells[2]:>22}, {cells[3]} {cells[4]:>22}, {cells[5]}", flush=True)
    return {"plan": asdict(plan), "phases": phases, "recall": recalls}


def main() -> None:
    """Measure, or be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = Plan()
    for name in ("vectors", "dim", "topics", "queries", "lists", "codes", "shards", "candidates", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(usual, name), help=f"default: {getattr(usual, name):,}")
    parser.add_argument("--spread", type=float, default=usual.spread, help=f"default: {usual.spread}")
    parser.add_argument("--probes", type=int, nargs="+", default=[8, 32, 128], help="lists that are searched")
    parser.add_argument("--at_once", type=int, default=1, help="processes at a time (default: 1)")
    parser.add_argument("--folder", type=Path, help="for shards and matches (default: a temporary one)")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    for name, kind in (("phase", str), ("shard", int), ("plan", str)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.phase:
        be_process(args)
        return
    names = list(asdict(usual))
    plan = Plan(**{name: getattr(args, name) for name in names})
    print(", ".join(f"{name} {value:,}" for name, value in asdict(plan).items()))
    with tempfile.TemporaryDirectory(prefix="index-scale-") as scratch:
        folder = args.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        figures = measure(plan, folder, args.probes, args.at_once)
    if args.out:
        write_json(figures, args.out)


if __name__ == "__main__":
    main()
