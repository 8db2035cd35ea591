"""Time and memory of an epoch's batch plan for many rows in three data sets, homogeneous and blended.

    python benchmarks/batch_plan.py [--rows 10000000] [--batch_size 64]

Memory is what the operating system gave the process above what it had before: its peak while the plan was made.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from triplets.batch_plan import BatchPlan, EpochShare
from triplets.mixing import Mixing


def measure(rows: int, batch_size: int, mixing: Mixing) -> None:
    """Make the plan of one epoch and print what it took."""
    sizes = [rows // 2, rows // 3, rows - rows // 2 - rows // 3]
    before, start = resident(), time.monotonic()
    order = BatchPlan([EpochShare(size, size) for size in sizes], batch_size, seed=1, mixing=mixing).order(0)
    seconds, memory = time.monotonic() - start, resident() - before
    print(f"{mixing!s:>12} {len(order.rows):10,} {len(order.starts):9,} {seconds:8.1f} {memory:7.0f}")


def resident() -> float:
    """Return the most memory that this process had so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    """Measure each way of mixing in its own process and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000_000, help="of all three data sets")
    parser.add_argument("--batch_size", type=int, default=64, help="queries of a batch")
    args = parser.parse_args()
    print("      mixing       rows   batches  seconds      MB", flush=True)
    for mixing in ("homogeneous", "blended", 0.7):
        process = multiprocessing.get_context("spawn").Process(target=measure, args=(args.rows, args.batch_size, mixing))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
