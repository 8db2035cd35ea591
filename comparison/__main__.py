"""``python -m comparison DIR DIR … --output_dir OUT``: compare studies of ours and folders in mteb's layout."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from comparison.errors import ComparisonError, nearest

FAILED, USAGE, STOPPED = 1, 2, 130


class Parser(argparse.ArgumentParser):
    """Takes no abbreviations; an unknown flag is an error that names the nearest one."""

    def error(self, message: str) -> NoReturn:
        """Print one line and leave with status 2."""
        self.exit(USAGE, f"{self.prog}: error: {message}\nSee {self.prog} --help.\n")


def parser() -> Parser:
    """Return the command line."""
    made = Parser(prog="python -m comparison", description=__doc__, allow_abbrev=False)
    flag = made.add_argument
    flag("directories", nargs="+", type=Path, metavar="DIR",
         help="output of a study or of run_mteb.py, or a folder with <org>__<model>/<revision>/<Task>.json")  # fmt: skip
    flag(
        "--output_dir",
        type=Path,
        required=True,
        help="gets report.html, comparison.md, .csv and .json, scores.csv, table.tex, plots/",
    )
    which = made.add_mutually_exclusive_group()
    which.add_argument("--baseline", metavar="NAME", help="compare every other system with this one (default: the first)")
    which.add_argument("--all_pairs", action="store_true", help="compare everybody with everybody: more tests, so weaker ones")
    flag("--margin", type=float, default=0.01, help="differences within it count as none (default: %(default)s, one point)")
    flag("--systems", nargs="+", metavar="NAME", help="only these systems")
    flag("--tasks", nargs="+", metavar="TASK", help="only these tasks")
    flag("--families", type=Path, metavar="FILE", help="YAML that says which tasks are related; see comparison/families.yaml")
    flag("--same_revision", action="store_true", help="leave out tasks whose results state different revisions of the data")
    flag("--seed", type=int, default=0, help="of everything random (default: %(default)s)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, print the claims and save everything; returns the exit status: 1 if results cannot be compared, all or some."""
    made = parser()
    args, unknown = made.parse_known_args(argv)
    if unknown:
        name = unknown[0].split("=")[0]
        made.error(f"unknown argument {name!r}{nearest(name, made._option_string_actions)}")
    if not 0 < args.margin < 1:
        made.error(f"--margin {args.margin}: scores are between 0 and 1, so give a fraction such as 0.01 for one point")
    try:
        return run(args)
    except ComparisonError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return STOPPED


def run(args: argparse.Namespace) -> int:
    """Read, compare, print and save; returns the exit status."""
    from comparison.claims.pairs import find_system
    from comparison.compare import Options, compare
    from comparison.places import from_project
    from comparison.reading.families import DEFAULT, read_families
    from comparison.reading.results_folder import read
    from comparison.reading.systems import choose_baseline, only
    from comparison.reading.table import select
    from comparison.report.tables.files import save
    from comparison.report.tables.markdown import as_markdown
    from comparison.report.words.names import printable
    from comparison.report.words.wording import unescape
    from comparison.report.write import write_report

    families = read_families(args.families)
    reading = read(args.directories)
    names = [system.name for system in reading.systems]
    asked = find_system(args.baseline, names) if args.baseline else None
    if args.systems:
        chosen = [find_system(name, names) for name in args.systems]
        reading = only(reading, list(dict.fromkeys([*chosen, *([asked] if asked else [])])))
    baseline = None if args.all_pairs else choose_baseline(reading, asked)
    table = select(reading, families, args.tasks)
    found = compare(table, families, Options(baseline, args.margin, args.same_revision, args.seed))
    about: dict[str, Any] = {
        "directories": [from_project(directory) for directory in args.directories],
        "families_file": from_project(args.families or DEFAULT),
        "seed": args.seed,
        "same_revision": args.same_revision,
    }
    paths = save(found, args.output_dir, about) + write_report(found, reading.studies, args.output_dir, command_line(args))[:3]
    print(printable(unescape(as_markdown(found, whole=False))))
    if args.baseline is None and not args.all_pairs:
        first = "the first" if baseline == reading.systems[0].name else "the first that has scores"
        print(f"Everybody is compared with {baseline}, {first}; choose with --baseline NAME or --all_pairs.")
    print("saved " + ", ".join(str(path) for path in paths))
    for damaged in reading.damaged:
        print(f"error: {damaged}", file=sys.stderr)
    return FAILED if reading.damaged else 0


def command_line(args: argparse.Namespace) -> list[str]:
    """Return the words that make the same again in the project's folder."""
    from comparison.places import from_project

    places = [*map(from_project, args.directories), "--output_dir", from_project(args.output_dir)]
    words = ["python", "-m", "comparison", *places]
    for name in ("baseline", "margin", "systems", "tasks", "families", "seed"):
        value = getattr(args, name)
        if value is not None and value != parser().get_default(name):
            given = from_project(value) if name == "families" else value
            words += [f"--{name}", *map(str, given if isinstance(given, list) else [given])]
    return words + [f"--{name}" for name in ("all_pairs", "same_revision") if getattr(args, name)]


if __name__ == "__main__":
    sys.exit(main())
