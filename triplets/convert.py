r"""Make triplets of labelled texts, scored pairs or entailment data.

::

    python -m triplets.convert classes banking.jsonl triplets.jsonl --by example --each_label 100
    python -m triplets.convert classes topics.jsonl triplets.jsonl --by label
    python -m triplets.convert sts sts_train.jsonl triplets.jsonl --leave_out sts_test.jsonl
    python -m triplets.convert nli nli.jsonl triplets.jsonl

Rows: classes ``{text, label}``, sts ``{text1, text2, score}`` (or sentence1, sentence2), nli ``{premise, hypothesis, label}``.
The same input and seed give the same output, which is written whole or not at all. A killed command goes on when it is given
again. Triplets of classes share positives: train on them with --in_batch_negatives false.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import exit_status
from triplets.check.overlap import texts_to_leave_out
from triplets.conversion.classes import ClassRows, Draws, read_classes
from triplets.conversion.entailment import EntailedRows, read_premises
from triplets.conversion.result import ConversionReport, Row, RowMaker, write_rows
from triplets.conversion.similarity import Limits, SimilarRows, read_pairs
from triplets.conversion.store import Store, working


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    args = make_parser().parse_args(argv)
    return exit_status(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Convert, and print the counts.

    Raises:
        UserError: the input cannot be read, or the output not written.
    """
    report = ConversionReport(skip_invalid=args.on_invalid_rows == "skip")
    facts: Row = {name: str(value) for name, value in vars(args).items() if (name, value) != ("on_invalid_rows", "error")}
    with working(args.output, facts, [args.input, *args.leave_out]) as store:
        write_rows(maker_of(args, store, report), store, args.output, report, facts)
    print(report.as_text())
    if args.kind == "classes":
        print("\nrows of a class share positives: train on them with --in_batch_negatives false")
    print(f"\nwrote {args.output}, and the counts to {args.output}.report.json")


def maker_of(args: argparse.Namespace, store: Store, report: ConversionReport) -> RowMaker:
    """Read what a command line names, and return the maker of its rows."""
    leave_out = texts_to_leave_out(args.leave_out)
    if args.kind == "classes":
        classes = read_classes(args.input, store, report, leave_out)
        return ClassRows(classes, Draws(args.by, args.negatives, args.each_label, args.seed), report)
    if args.kind == "sts":
        pairs = read_pairs(args.input, store, report, leave_out)
        return SimilarRows(pairs, Limits(args.positive_score, args.negative_score, args.negatives), report)
    read_premises(args.input, store, report, leave_out)
    return EntailedRows(store, report)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m triplets.convert", description=__doc__, formatter_class=layout)
    kinds = parser.add_subparsers(dest="kind", required=True)
    classes = kinds.add_parser("classes", help="texts with labels")
    classes.add_argument("--by", choices=("label", "example"), default="example", help="the positive (default: example)")
    classes.add_argument("--each_label", type=positive, help="rows of a label at most, drawn at random (default: all)")
    classes.add_argument("--seed", type=int, default=0, help="of all draws")
    sts = kinds.add_parser("sts", help="pairs with a score; negatives by BM25, which needs bm25s")
    sts.add_argument("--positive_score", type=finite, default=4.0, help="least score of a positive (default: 4)")
    sts.add_argument("--negative_score", type=finite, default=2.5, help="most of a negative, where it is known (default: 2.5)")
    nli = kinds.add_parser("nli", help="premises and hypotheses")
    for kind in (classes, sts, nli):
        kind.add_argument("input", type=Path, help="file or folder: JSON lines, Parquet, CSV or TSV")
        kind.add_argument("output", type=Path, help="JSON lines to write")
        kind.add_argument("--leave_out", nargs="+", type=Path, default=[], help="evaluation sets, none of whose texts is used")
        kind.add_argument("--on_invalid_rows", choices=("error", "skip"), default="error", help="stop, or leave out and count")
    for kind in (classes, sts):
        kind.add_argument("--negatives", type=not_negative, default=7, help="of each row at most (default: 7)")
    return parser


def positive(text: str) -> int:
    """Return a whole number above 0, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"it must be above 0, not {text}")
    return value


def not_negative(text: str) -> int:
    """Return a whole number from 0, for argparse."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"it must be 0 or more, not {text}")
    return value


def finite(text: str) -> float:
    """Return a finite number, for argparse."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"it must be a finite number, not {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
