"""Simulate studies with the structure of real ones, to count wrong marks, effects that are found, and intervals that cover.

``python -m comparison.simulate --repetitions 1000`` prints the tables of docs/statistics.md (half an hour, one thread).

Every repetition goes through the functions that the command uses, from differences to marks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from comparison.simulation.items import coverage_within, print_within
from comparison.simulation.shares import coverage, share_equivalent, share_with_marks
from comparison.simulation.studies import BROKEN, CATEGORIES, POWER, WORLDS

EQUIVALENT = [  # name, runs of each design, seed sd, whether claim C is asked as the command does
    ("one run each, no seed noise", 1, 0.0, True),
    ("three runs each, seed sd .003", 3, 0.003, True),
    ("three runs each, seed sd .006", 3, 0.006, True),
    ("three runs each, seed sd .010", 3, 0.010, True),
    ("three runs each, seed sd .006, over families alone", 3, 0.006, False),
]

Rows = list[tuple[str, dict[str, float]]]  # name of a row, shares by column


def print_table(title: str, columns: Sequence[str], rows: Rows) -> None:
    """Print shares in per cent as a Markdown table, a missing share as a dash."""
    print(f"\n{title}\n\n| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, row in rows:
        cells = []
        for column in columns:
            cells.append(f"{100 * row[column]:.1f}" if column in row else "–")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


PAIRS: dict[str, str | None] = {"4 with model1": "model1", "10 pairs": None}  # name -> baseline


def print_stars(count: int, seed: int) -> None:
    """Print how often a star is wrong, where the assumptions hold and where they do not."""
    columns = [*CATEGORIES, "** in the table", "overall"]
    rows: Rows = []
    for world in WORLDS:
        for name, baseline in PAIRS.items():
            rows.append((f"{world.name}; {name}", share_with_marks(world, baseline, count, seed)))
    print_table(f"Studies with at least one wrong star, no design differing, % of {count}", columns, rows)
    rows = [(world.name, share_with_marks(world, "model1", count, seed)) for world in BROKEN]
    print_table("The same where an assumption does not hold, 4 with model1, %", columns, rows)


def print_equivalent(count: int, seed: int) -> None:
    """Print how often "equivalent" is wrong."""
    rows = [(name, share_equivalent(count, seed, runs, sd, over)) for name, runs, sd, over in EQUIVALENT]
    title = "Studies with a wrong `equivalent`, every design the margin away, 4 with model1, sd .008, %"
    print_table(title, list(CATEGORIES), rows)


def print_power(count: int, seed: int) -> None:
    """Print how often the paper's effects get a star."""
    rows: Rows = []
    for world in POWER:
        for name, baseline in PAIRS.items():
            shares = share_with_marks(world, baseline, count, seed)
            rows.append((f"{world.name}; {name}", {category: shares[f"model5 {category}"] for category in CATEGORIES}))
    print_table("Studies in which model5 - model1 has a star, %", list(CATEGORIES), rows)


def print_coverage(count: int, seed: int) -> None:
    """Print how often intervals hold the truth."""
    rows: dict[str, dict[str, float]] = {}
    for world in (*WORLDS[:3], BROKEN[2], *WORLDS[4:8]):
        for (kind, category), share in coverage(world, count, seed).items():
            rows.setdefault(f"{kind}; {world.name}", {})[category] = share
    print_table("Intervals with the truth in them, %", [*CATEGORIES, "overall"], list(rows.items()))


def main(argv: Sequence[str] | None = None) -> int:
    """Print all tables."""
    parser = argparse.ArgumentParser(description="simulate studies and count wrong marks, found effects and coverage")
    parser.add_argument("--repetitions", type=int, default=1000, help="studies in each world (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    for print_tables in (print_stars, print_equivalent, print_power, print_coverage):
        print_tables(args.repetitions, args.seed)
    print_within(coverage_within(args.repetitions, args.seed), args.repetitions)
    return 0


if __name__ == "__main__":
    sys.exit(main())
