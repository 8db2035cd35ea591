"""Memory and time of the search of a corpus, by its size: vectors by a stub, everything else as in an evaluation.

    python benchmarks/search_memory.py                                 # 100,000 and 1,000,000 documents, 1,000 queries
    python benchmarks/search_memory.py --documents 10000 30000 --queries 50

Each size runs in a process of its own: a local task folder of short documents is written, then scored by
`evaluation.evaluate.evaluate`. The encoder makes vectors from a text's hash, in microseconds. Printed are the peak of the
resident memory, of which what a system can take back (files that are mapped: the corpus) is told apart, the seconds of each
part, and the line through the sizes: bytes and seconds a document, and what 100 million documents would take.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

WORDS = ["orbit", "comet", "flour", "dough", "rook", "pawn", "crust", "galaxy", "bishop", "planet", "yeast", "loaf"]


class HashVectors:
    """A unit vector for each text, from its hash alone; about 1 µs a value."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.seconds = 0.0

    def encode(self, texts: list[str], role: str = "document", **_: Any) -> np.ndarray:
        """Return `(len(texts), dim)` float32."""
        began = time.monotonic()
        seeds = np.array([zlib.crc32(text.encode()) for text in texts], dtype=np.uint64)[:, None]
        mixed = (seeds + np.arange(1, self.dim + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        vectors = (mixed >> np.uint64(40)).astype(np.float32) - np.float32(2**23)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        self.seconds += time.monotonic() - began
        return vectors


class Peak:
    """Watches this process's memory: anonymous (needed) and of mapped files (given back when others need it)."""

    def __init__(self) -> None:
        self.anonymous = self.mapped = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            status = Path("/proc/self/status").read_text()
            for name, value in re.findall(r"(RssAnon|RssFile):\s+(\d+) kB", status):
                size = int(value) * 1024
                if name == "RssAnon":
                    self.anonymous = max(self.anonymous, size)
                else:
                    self.mapped = max(self.mapped, size)

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join()


def write_folder(folder: Path, documents: int, queries: int) -> int:
    """Write a retrieval task; document ids are numbers in a shuffled order. Returns the bytes of the corpus."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with (folder / "corpus.jsonl").open("w") as file:
        for begin in range(0, documents, 100_000):
            words = rng.integers(len(WORDS), size=(min(100_000, documents - begin), 8))
            for row, numbers in enumerate(words, begin):
                number = row * 7_919 % documents if documents % 7_919 else row
                text = " ".join(WORDS[word] for word in numbers)
                file.write(json.dumps({"id": str(number), "text": f"{text} {number}"}) + "\n")
    with (folder / "queries.jsonl").open("w") as file:
        file.writelines(json.dumps({"id": f"q{n}", "text": f"query {n}"}) + "\n" for n in range(queries))
    with (folder / "qrels.test.jsonl").open("w") as file:
        file.writelines(json.dumps({"query-id": f"q{n}", "corpus-id": str(n), "score": 1}) + "\n" for n in range(queries))
    return (folder / "corpus.jsonl").stat().st_size


def measure(documents: int, queries: int, dim: int) -> dict[str, float]:
    """Score one corpus in this process; return bytes and seconds."""
    from evaluation.evaluate import evaluate
    from evaluation.tasks.find import TaskSpec, find_tasks

    with tempfile.TemporaryDirectory(prefix="search-memory-") as scratch:
        began = time.monotonic()
        size = write_folder(Path(scratch) / "data/Synthetic", documents, queries)
        written = time.monotonic()
        loading: list[float] = []
        load = TaskSpec.load

        def timed(spec: TaskSpec, task: Any) -> None:
            start = time.monotonic()
            load(spec, task)
            loading.append(time.monotonic() - start)

        TaskSpec.load = timed  # type: ignore[method-assign]
        encoder, specs = HashVectors(dim), find_tasks((), Path(scratch) / "data")
        idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        peak = Peak()
        result = evaluate(encoder, specs, Path(scratch) / "out", name="stub", version="1")
        peak.stop()
        ended = time.monotonic()
        if result.failures:
            raise SystemExit(str(result.failures))
    return {
        "documents": documents,
        "corpus": size,
        "idle": idle,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "needed": peak.anonymous,
        "mapped": peak.mapped,
        "writing": written - began,
        "loading": sum(loading),
        "encoding": encoder.seconds,
        "all": ended - written,
    }


def line(sizes: list[dict[str, float]], key: str) -> tuple[float, float]:
    """Return start and slope a document of the line through the smallest and the largest corpus."""
    first, last = sizes[0], sizes[-1]
    slope = (last[key] - first[key]) / (last["documents"] - first["documents"])
    return first[key] - slope * first["documents"], slope


def main() -> int:
    """Print the table; `--one` measures in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.documents[0], args.queries, args.dim)))
        return 0
    sizes = []
    print(f"{args.queries:,} queries, {args.dim} dimensions; MB are 10^6 bytes")
    print("documents     corpus  peak RSS  needed  mapped      all  loading  encoding  the rest")
    for documents in sorted(args.documents):
        words = ["--one", "--documents", str(documents), "--queries", str(args.queries), "--dim", str(args.dim)]
        done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True)
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return 1
        result = json.loads(done.stdout.splitlines()[-1])
        sizes.append(result)
        megabytes = {name: result[name] / 1e6 for name in ("corpus", "peak", "needed", "mapped")}
        rest = result["all"] - result["loading"] - result["encoding"]
        print(
            f"{documents:>11,} {megabytes['corpus']:6.0f} MB  {megabytes['peak']:8.0f}  {megabytes['needed']:6.0f}  "
            f"{megabytes['mapped']:6.0f} MB  {result['all']:5.1f} s  {result['loading']:5.1f} s  "
            f"{result['encoding']:6.1f} s  {rest:6.1f} s"
        )
    if len(sizes) > 1:
        many = 100_000_000
        for key, what in (("needed", "needed memory"), ("mapped", "mapped files")):
            start, slope = line(sizes, key)
            print(
                f"{what}: {start / 1e6:.0f} MB and {slope:.0f} bytes a document; 100 M: {(start + slope * many) / 1e9:.1f} GB"
            )
        start, slope = line(sizes, "all")
        print(f"time: {slope * 1e6:.0f} µs a document, 100 M: {(start + slope * many) / 3600:.1f} h and a model's encoding")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
