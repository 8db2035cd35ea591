r"""Mine hard negatives: for each query, texts that a teacher finds near it and that are no known positive of it.

::

    python -m triplets.mine triplets.jsonl mined.jsonl --teacher runs/model1 --relative_margin 0.05
    python -m triplets.mine triplets.jsonl mined.jsonl --teacher bm25 --corpus passages.jsonl
    python -m triplets.mine triplets.jsonl mined.jsonl --teacher runs/model1 --first_rank 50 --last_rank 100 \
        --sampling random --consistency_rank 50

The corpus is every positive and negative of the triplets, and the texts of --corpus. A known positive of a query, its own text,
and texts that differ from those only in case or white space are never mined. BM25 finds texts with a word of the query alone.
The negatives that a row has are candidates like all others. The search is exact; --search faiss looks through a part of a large
corpus for each query and may miss a match. A killed run continues with the same command. BM25 needs bm25s, --search faiss needs
faiss-cpu.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import exit_status
from triplets.mining.rules import MiningRules

if TYPE_CHECKING:
    from triplets.mining.run import Mined


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    args = make_parser().parse_args(argv)
    return exit_status(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Mine, and print the figures.

    Raises:
        UsageError: the rules contradict each other.
        UserError: data, teacher or output cannot be used.
    """
    names = [field.name for field in dataclasses.fields(MiningRules)]
    rules = MiningRules(**{name: getattr(args, name) for name in names})
    rules.check_depth(args.depth)
    from triplets.mining.run import MiningOptions, mine  # after --help: imports torch and transformers

    options = MiningOptions(
        triplets=args.triplets,
        output=args.output,
        teacher=args.teacher,
        corpus=tuple(args.corpus),
        leave_out=tuple(args.leave_out),
        query_prompt=args.query_prompt,
        document_prompt=args.document_prompt,
        search=args.search,
        depth=args.depth,
        too_few=args.too_few,
        cache_dir=args.cache_dir,
    )
    mined = mine(options, rules)
    print(as_text(mined))
    print(f"\nwrote {args.output}, and the figures to {args.output}.report.json")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m triplets.mine",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("triplets", help="file, folder or hub name of the triplets")
    parser.add_argument("output", type=Path, help="JSON lines to write")
    parser.add_argument("--teacher", required=True, help="adapter, published model or folder of one; or bm25")
    parser.add_argument("--corpus", nargs="+", type=Path, default=[], help="more texts: rows with the key text (and title)")
    parser.add_argument(
        "--leave_out", nargs="+", type=Path, default=[], help="texts that must not be mined, such as a test set's"
    )
    parser.add_argument("--negatives", type=int, default=7, help="wanted for each query (default: 7)")
    parser.add_argument("--absolute_margin", type=float, help="a negative scores at least so much less than the positive")
    parser.add_argument("--relative_margin", type=float, help="the same as a share of the positive's score; 0.05 is published")
    parser.add_argument("--max_score", type=float, help="a negative scores at most so much")
    parser.add_argument("--min_score", type=float, help="a negative scores at least so much")
    parser.add_argument("--first_rank", type=int, default=0, help="first rank of the window, from 0 (default: 0)")
    parser.add_argument("--last_rank", type=int, help="end of the window, not in it (default: the whole corpus)")
    parser.add_argument("--window", choices=("corpus", "survivors"), default="corpus", help="what ranks are counted in")
    parser.add_argument("--sampling", choices=("first", "random"), default="first", help="of the window (default: first)")
    parser.add_argument("--seed", type=int, default=0, help="of --sampling random")
    parser.add_argument("--consistency_rank", type=int, help="drop queries whose positives score below the text of this rank")
    parser.add_argument("--search", choices=("exact", "faiss"), default="exact", help="of all texts, or by an index of FAISS")
    parser.add_argument("--depth", type=int, help="matches of a query to look at (default: as many as are needed)")
    parser.add_argument("--too_few", choices=("keep", "drop"), default="keep", help="rows with fewer negatives than wanted")
    parser.add_argument("--query_prompt", help="instead of the teacher's own")
    parser.add_argument("--document_prompt", help="instead of the teacher's own")
    parser.add_argument("--cache_dir", help="of prepared triplets and of the hub")
    return parser


def as_text(mined: Mined) -> str:
    """Format the figures of a mining, and its sample."""
    report = mined.report
    lines = [f"{report.queries:,} queries, {report.corpus:,} texts searched; {mined.rows:,} rows written"]
    if report.dropped:
        lines.append(f"dropped by --consistency_rank: {report.dropped:,} queries")
    short = sum(count for number, count in report.by_number.items() if number < report.wanted)
    lines.append(f"queries with fewer than {report.wanted} negatives: {short:,}")
    if report.positives_apart:
        lines.append(
            f"queries that share no word with a positive, so that a margin leaves them none: {report.positives_apart:,}"
        )
    if report.negatives_apart:
        lines.append(f"negatives drawn that share no word with their query: {report.negatives_apart:,}")
    lines.append("rejected: " + (", ".join(f"{count:,} {reason}" for reason, count in report.rejected.items()) or "none"))
    lines.append("scores              least    10%    25% median    75%    90%   most")
    for name, values in (("of positives", report.positive_scores), ("of negatives", report.negative_scores)):
        numbers = " ".join(f"{value:6.3f}" for value in values)
        lines.append(f"  {name:16s} {numbers}")
    for row in mined.sample:
        lines += ["", f"query     {_shown(row['query'])}", f"positive  {_shown(row['positive'])}"]
        negatives = row["negative"]
        if isinstance(negatives, list):
            lines += [f"negative  {_shown(text)}" for text in negatives[:3]]
    return "\n".join(lines)


def _shown(text: object) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= 100 else line[:99] + "…"


if __name__ == "__main__":
    sys.exit(main())
