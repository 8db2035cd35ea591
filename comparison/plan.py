"""``python -m comparison.plan DIR … --difference 0.02 --power 0.8``: how many unrelated tasks and how many runs a study needs.

The results are a pilot: from them come the spread over families of tasks, by kind of task, and the noise between runs where
runs were repeated (``--run_sd`` gives it where they were not). Studies with that spread are simulated and judged as the
comparison does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from comparison.__main__ import FAILED, ComparisonParser
from comparison.claims.outcome import Category, Comparison
from comparison.claims.prospects import spread_of
from comparison.compare import Options, compare
from comparison.errors import ComparisonError, nearest
from comparison.reading.families import read_families
from comparison.reading.results_folder import read
from comparison.reading.selection import select
from comparison.reading.systems import choose_baseline
from comparison.reading.table import Table
from comparison.report.tables.lines import table as markdown_table
from comparison.report.words.marks import any_decidable
from comparison.report.words.relations import unknown_sentence, unknown_tasks
from comparison.report.words.wording import escape, hundredths
from comparison.stats.planning import MOST, Spread, families_needed, prospect

RUNS = (1, 3, 5, 10)


def plan_rows(spread: Spread, difference: float, power: float, studies: int, seed: int) -> list[list[str]]:
    """Return a row for each number of runs: families needed, power and exaggeration at that size."""
    rows = []
    for runs in RUNS:
        if runs > 1 and not spread.runs:
            break
        needed = families_needed(spread, difference, power, runs, studies, seed)
        if needed is None:
            rows.append([str(runs), f"more than {MOST}", "–", "–"])
            continue
        found = prospect(spread, difference, needed, runs, studies, seed + 1)
        rows.append([str(runs), str(needed), f"{found.power:.0%}", f"{found.exaggeration or 0:.2f}"])
    return rows


def print_plan(table: Table, category: Category, args: argparse.Namespace) -> None:
    """Print what a kind of tasks needs."""
    spread = spread_of(table, category, args.run_sd, args.comparisons)
    if spread is None:
        print(f"\n## {escape(category.name)}\n\nA spread over tasks needs two families of tasks on which systems differ.")
        return
    if not any_decidable(category.contrasts) and unknown_tasks(category.contrasts):
        print(f"\n## {escape(category.name)}\n\nNothing can be planned: {unknown_sentence(category.contrasts)}")
        return
    families = len(category.families)
    now = prospect(spread, args.difference, families, max(table.runs.values()), args.studies, args.seed)
    points = hundredths(args.difference)
    print(f"\n## {escape(category.name)}\n")
    print(
        f"The pilot has {families} families. A difference varies over them by {hundredths(spread.families)} points (sd), a "
        f"mean score over runs by {hundredths(spread.runs)}; {spread.comparisons} comparisons are corrected for together."
    )
    if now.exaggeration is None:
        print(f"At this size a true difference of {points} points never gets a star.")
    else:
        print(
            f"At this size a true difference of {points} points gets a star in {now.power:.0%} of studies, and a star says "
            f"{now.exaggeration:.2f} times the truth on average."
        )
    if not spread.runs:
        print("The noise between runs is not known, so only checkpoints can be planned: --run_sd gives it.")
    head = ["runs of each design", f"families for {args.power:.0%}", "power, simulated again", "a star says, times the truth"]
    rows = plan_rows(spread, args.difference, args.power, args.studies, args.seed)
    print()
    print("\n".join(markdown_table(head, rows)))


def _check_categories(comparison: Comparison, chosen: Sequence[str]) -> None:
    """Check that there is something to plan, and that the chosen kinds of tasks are among it.

    Raises:
        ComparisonError: there is not, or a kind is none of the results'.
    """
    names = [category.name for category in comparison.categories]
    if not names:
        reasons = "; ".join(comparison.notes[:1])
        raise ComparisonError(f"no two systems have scores on a common task, so there is no spread to plan from ({reasons})")
    for name in chosen:
        if name not in names:
            raise ComparisonError(f"--categories {name}: the results have {', '.join(names)}{nearest(name, names)}")


def run(args: argparse.Namespace) -> int:
    """Read the pilot and print the plan of each kind of tasks.

    Raises:
        ComparisonError: the results cannot be read, or vary over nothing.
    """
    families = read_families(args.families, args.unrelated)
    reading = read(args.directories)
    baseline = choose_baseline(reading, args.baseline)
    table = select(reading, families)
    comparison = compare(table, families, Options(baseline))
    _check_categories(comparison, args.categories or [])
    print(f"# Plan: a difference of {hundredths(args.difference)} points, power {args.power:.0%}")
    for category in comparison.categories:
        if args.categories and category.name not in args.categories:
            continue
        print_plan(table, category, args)
    print(
        "\nOne run each speaks of checkpoints only. A pilot's spread is an estimate: with six families it may be off by a "
        "third, and the number of tasks then by two thirds."
    )
    return 0


def parser() -> ComparisonParser:
    """Return the command line."""
    command = ComparisonParser(prog="python -m comparison.plan", description=__doc__, allow_abbrev=False)
    flag = command.add_argument
    flag("directories", nargs="+", type=Path, metavar="DIR", help="results as `python -m comparison` takes them: the pilot")
    flag("--difference", type=float, default=0.02, help="true difference in score units (default: %(default)s, two points)")
    flag("--power", type=float, default=0.8, help="share of studies that should find it (default: %(default)s)")
    flag("--comparisons", type=int, help="comparisons of the planned study (default: the pilot's)")
    flag("--run_sd", type=float, help="sd over training runs of a mean score (default: the pilot's; 0 without repeated runs)")
    flag("--categories", nargs="+", metavar="NAME", help="only these kinds of tasks")
    flag("--baseline", metavar="NAME", help="as in the comparison (default: the first)")
    flag("--families", type=Path, metavar="FILE", help="YAML that says which tasks are related")
    flag("--unrelated", action="store_true", help="declare that tasks in no map of families are related to no other task")
    flag("--studies", type=int, default=400, help="simulated studies for each size (default: %(default)s)")
    flag("--seed", type=int, default=0, help="of everything random (default: %(default)s)")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Print the plan; returns the exit status."""
    command = parser()
    args = command.parse_args(argv)
    if not 0 < args.difference < 1:
        command.error(
            f"--difference {args.difference}: scores are between 0 and 1, so give a fraction such as 0.02 for two points"
        )
    if not 0 < args.power < 1:
        command.error(f"--power {args.power}: give a share such as 0.8")
    if args.run_sd is not None and not 0 <= args.run_sd < 1:
        command.error(f"--run_sd {args.run_sd}: a standard deviation in score units, such as 0.005 for half a point")
    if args.studies < 1 or (args.comparisons is not None and args.comparisons < 1):
        command.error("--studies and --comparisons: at least 1")
    try:
        return run(args)
    except ComparisonError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
