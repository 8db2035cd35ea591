"""Simulate studies with the structure of real ones, to count wrong marks, effects that are found, and intervals that cover.

``python -m comparison.simulate --repetitions 1000`` prints tables of docs/statistics.md (half an hour, one thread), and
``python -m comparison.simulate --edges --repetitions 500`` those of the edges (an hour and a half).

Every repetition goes through the functions that the command uses, from differences to marks; at the edges through the whole
comparison.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from comparison.compare import BEST
from comparison.simulation import edges
from comparison.simulation.counts import count_claims, shares_of
from comparison.simulation.items import coverage_within, print_within
from comparison.simulation.shares import coverage, share_equivalent, share_with_marks
from comparison.simulation.worlds import BROKEN, CATEGORIES, POWER, WORLDS, World

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
    for world in (*WORLDS[:3], BROKEN[2], *WORLDS[4:]):
        for (kind, category), share in coverage(world, count, seed).items():
            rows.setdefault(f"{kind}; {world.name}", {})[category] = share
    print_table("Intervals with the truth in them, %", [*CATEGORIES, "overall"], list(rows.items()))


TOTALS = ("*", "**", "overall")


def print_edges(count: int, seed: int) -> None:
    """Print what is wrong and what is covered at the edges."""
    worlds: list[tuple[World, str | None]] = []
    for world in (*edges.SCATTER, *edges.SEEDS, *edges.UNMAPPED, edges.LOPSIDED):
        worlds.append((world, "model1"))
    worlds += [(edges.TEN_PAIRS, None), (edges.BEST_OF_5, BEST), (edges.BEST_OF_15, BEST)]
    wrong: Rows = []
    covered: Rows = []
    together: Rows = []
    for world, baseline in worlds:
        shares = count_claims(world, count, seed, baseline)
        wrong.append((world.name, shares_of(shares, "wrong")))
        covered.append((world.name, shares_of(shares, "covered")))
        together.append((world.name, shares_of(shares, "together")))
        print(f"{world.name}: {shares}", file=sys.stderr, flush=True)
    kinds = list(CATEGORIES)
    print_table(f"Studies with a wrong star, no design differing, % of {count}", [*kinds, *TOTALS], wrong)
    print_table("95 % intervals with the truth in them, %", [*kinds, "overall"], covered)
    print_table("Studies in which all simultaneous intervals hold the truth, %", [*kinds, "overall"], together)
    margins = [(world.name, shares_of(count_claims(world, count, seed), "equivalent")) for world in edges.EQUIVALENCE]
    print_table(f"Studies with a wrong `equivalent`, every design the margin away, % of {count}", kinds, margins)
    print_found(count, seed)


def print_found(count: int, seed: int) -> None:
    """Print how often one design out of four that is better gets a star, and how much too large a star then says it is."""
    found: Rows = []
    sizes: Rows = []
    for runs, run_sd in ((1, 0.0), (3, 0.006)):
        for size in edges.SIZES:
            world = edges.better_by(size, f"+{100 * size:.0f} points, {runs} run(s), seed sd {run_sd}", (runs,) * 5, run_sd)
            shares = count_claims(world, count, seed)
            found.append((world.name, shares_of(shares, "found")))
            sizes.append((world.name, shares_of(shares, "size")))
    kinds = list(CATEGORIES)
    print_table("Studies in which the design that is better has a star, %", [*kinds, "overall"], found)
    print_table("Size that a star says, % of the true one", kinds, sizes)


def main(argv: Sequence[str] | None = None) -> int:
    """Print all tables."""
    parser = argparse.ArgumentParser(description="simulate studies and count wrong marks, found effects and coverage")
    parser.add_argument("--repetitions", type=int, default=1000, help="studies in each world (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--edges", action="store_true", help="the tables of the edges instead")
    args = parser.parse_args(argv)
    if args.edges:
        print_edges(args.repetitions, args.seed)
        return 0
    for print_tables in (print_stars, print_equivalent, print_power, print_coverage):
        print_tables(args.repetitions, args.seed)
    print_within(coverage_within(args.repetitions, args.seed), args.repetitions)
    return 0


if __name__ == "__main__":
    sys.exit(main())
