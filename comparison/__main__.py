"""``python -m comparison DIR DIR … --output_dir OUT``: compare studies of ours and folders in mteb's layout."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from comparison.errors import ComparisonError, nearest

FAILED, USAGE, STOPPED = 1, 2, 130


class ComparisonParser(argparse.ArgumentParser):
    """Takes no abbreviations; an unknown flag is an error that names the nearest one."""

    def error(self, message: str) -> NoReturn:
        """Print one line and leave with status 2."""
        self.exit(USAGE, f"{self.prog}: error: {message}\nSee {self.prog} --help.\n")


def parser() -> ComparisonParser:
    """Return the command line."""
    command = ComparisonParser(prog="python -m comparison", description=__doc__, allow_abbrev=False)
    flag = command.add_argument
    flag(
        "directories",
        nargs="*",
        type=Path,
        metavar="DIR",
        help="output of a study or of run_mteb.py, or a folder with <org>__<model>/<revision>/<Task>.json",
    )
    flag(
        "--output_dir",
        type=Path,
        required=True,
        help="gets report.html, comparison.md, .csv and .json, scores.csv, table.tex, plots/",
    )
    pairs = command.add_mutually_exclusive_group()
    pairs.add_argument(
        "--baseline",
        metavar="NAME",
        help="compare every other system with this one, or with `best`, the best mean (default: the first)",
    )
    pairs.add_argument("--all_pairs", action="store_true", help="compare everybody with everybody: more tests, so weaker ones")
    flag("--margin", type=float, default=0.01, help="differences within it count as none (default: %(default)s, one point)")
    flag(
        "--models",
        nargs="+",
        metavar="NAME",
        default=[],
        help="models of a leaderboard by hub name, from mteb's cache of results",
    )
    flag("--cache", type=Path, metavar="DIR", help="mteb's cache for --models (default: $MTEB_CACHE, else ~/.cache/mteb)")
    flag("--systems", nargs="+", metavar="NAME", help="only these systems")
    chosen = command.add_mutually_exclusive_group()
    chosen.add_argument("--tasks", nargs="+", metavar="TASK", help="only these tasks")
    chosen.add_argument("--benchmark", metavar="NAME", help="only the tasks of a benchmark of mteb, such as 'MTEB(eng, v2)'")
    flag("--families", type=Path, metavar="FILE", help="YAML that says which tasks are related; see comparison/families.yaml")
    flag("--unrelated", action="store_true", help="declare that tasks in no map of families are related to no other task")
    flag("--same_revision", action="store_true", help="leave out tasks whose results state different revisions of the data")
    flag("--texts", nargs="+", type=Path, metavar="DIR", default=[], help="folders of task folders, for the texts of items")
    flag(
        "--diagrams",
        nargs="+",
        choices=("critical_difference", "matrix"),
        default=[],
        help="drawn beside the other plots, with their caveats; matrix: of all pairs",
    )
    flag("--seed", type=int, default=0, help="of everything random (default: %(default)s)")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, print the claims and save everything; returns the exit status: 1 if results cannot be compared, all or some."""
    command = parser()
    args, unknown = command.parse_known_args(argv)
    if unknown:
        name = unknown[0].split("=")[0]
        command.error(f"unknown argument {name!r}{nearest(name, command._option_string_actions)}")
    if not args.directories and not args.models:
        command.error("give directories with results, or models of a leaderboard by name with --models")
    if args.cache is not None and not args.models:
        command.error("--cache is for --models: name models of it")
    if not 0 < args.margin < 1:
        command.error(f"--margin {args.margin}: scores are between 0 and 1, so give a fraction such as 0.01 for one point")
    try:
        from comparison.run import run  # scipy, matplotlib and jinja2: not for --help

        return run(args)
    except ComparisonError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return STOPPED


if __name__ == "__main__":
    sys.exit(main())
