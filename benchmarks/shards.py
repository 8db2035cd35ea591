"""The cost of vectors on the disk: the time to write and to read a shard, beside its bytes.

python benchmarks/shards.py --folder runs --dims 192 4096
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evaluation.encode.vector_store import SHARD_TEXTS, Shard, ShardStore, key_of

TEXT = "word " * 250  # characters of a SciFact abstract


def seconds(dim: int, store: ShardStore, number: int) -> tuple[float, float, float]:
    """Return the time to hash the texts of a shard, to write its vectors and to read them."""
    rng = np.random.default_rng(number)
    counts = np.full(SHARD_TEXTS, 300, dtype=np.int32), np.zeros(SHARD_TEXTS, dtype=bool)
    shard = Shard(rng.standard_normal((SHARD_TEXTS, dim), dtype=np.float32), *counts)
    moments = [time.perf_counter()]
    key = key_of(f"{dim}", (f"{number} {row} {TEXT}" for row in range(SHARD_TEXTS)))
    moments.append(time.perf_counter())
    assert store.save("benchmark", key, shard)
    moments.append(time.perf_counter())
    assert store.load("benchmark", key, SHARD_TEXTS) is not None
    moments.append(time.perf_counter())
    hashing, writing, reading = np.diff(moments)
    return float(hashing), float(writing), float(reading)


def main() -> None:
    """Print a line for each width."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", help="on the disk that is to be measured (default: the system's folder of temporary files)")
    parser.add_argument("--dims", nargs="+", type=int, default=[192, 4096])
    parser.add_argument("--times", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for dim in args.dims:
            store = ShardStore(Path(folder))
            times = np.array([seconds(dim, store, number) for number in range(args.times)])
            hashing, writing, reading = 1000 * np.median(times, axis=0)
            print(
                f"{SHARD_TEXTS} texts, vectors of {dim}: {4 * dim * SHARD_TEXTS / 1e6:.1f} MB; "
                f"hash {hashing:.0f} ms, write {writing:.0f} ms, read {reading:.0f} ms"
            )


if __name__ == "__main__":
    main()
