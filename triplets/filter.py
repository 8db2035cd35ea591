r"""Leave rows of triplets out: repeated ones, texts of evaluation sets, texts too short or too long, useless negatives.

::

    python -m triplets.filter triplets.jsonl filtered.jsonl --leave_out sts_test.jsonl --max_characters 4000

A positive that equals its query, and a negative that equals query, positive or another negative, go in any case. The ranking
consistency filter, which needs a teacher, is `python -m triplets.mine --consistency_rank`. The output is written whole or not
at all, in the order of the input. A killed command goes on when it is given again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from common.disk import check_apart
from common.errors import exit_status
from triplets.check.overlap import texts_to_leave_out
from triplets.conversion.filtering import FilteredRows, FilterRules
from triplets.conversion.result import ConversionReport, Row, write_rows
from triplets.conversion.store import working
from triplets.data_sets import DataSet


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    args = make_parser().parse_args(argv)
    return exit_status(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Filter, and print the counts.

    Raises:
        UserError: the triplets cannot be read, the rules contradict each other, or the output cannot be written.
    """
    report = ConversionReport()
    facts: Row = {name: str(value) for name, value in vars(args).items()}
    leave_out = frozenset(texts_to_leave_out(args.leave_out))
    rules = FilterRules(
        args.min_characters, args.max_characters, args.unique, args.max_negatives, args.min_negatives, leave_out
    )
    from triplets.prepare import prepared_data, prepared_triplets  # after --help and wrong rules: imports datasets

    check_apart(args.output, [Path(args.input)])
    prepared = prepared_data(DataSet(args.input, label=args.input, repeat=1.0), "error", args.cache_dir)
    with working(args.output, {**facts, "content": prepared.content}, args.leave_out) as store:
        maker = FilteredRows(partial(prepared_triplets, prepared.rows), rules, store, report)
        write_rows(maker, store, args.output, report, facts)
    print(report.as_text())
    print(f"\nwrote {args.output}, and the counts to {args.output}.report.json")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m triplets.filter", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", help="file, folder or hub name of the triplets")
    parser.add_argument("output", type=Path, help="JSON lines to write")
    parser.add_argument("--leave_out", nargs="+", type=Path, default=[], help="evaluation sets, none of whose texts is used")
    parser.add_argument("--min_characters", type=int, default=1, help="least length of query and positive")
    parser.add_argument("--max_characters", type=int, help="most of query and positive")
    parser.add_argument("--unique", choices=("pair", "query", "none"), default="pair", help="what comes once (default: pair)")
    parser.add_argument("--min_negatives", type=int, default=0, help="rows with fewer are left out")
    parser.add_argument("--max_negatives", type=int, help="the first so many are kept")
    parser.add_argument("--cache_dir", help="of prepared triplets and of the hub")
    return parser


if __name__ == "__main__":
    sys.exit(main())
