"""Search a file of texts with an adapter: ``python -m evaluation.search ADAPTER --corpus FILE.jsonl``.

    python -m evaluation.search runs/model3 --corpus documents.jsonl
    python -m evaluation.search runs/model3 --corpus documents.jsonl --against runs/model1 --page

Queries are read from the terminal, one a line, and an empty line ends. ``--page`` answers them in a page on this machine alone.
``--against`` shows a second adapter beside the first: what both find, and what only one finds. The corpus is JSON lines with
the key ``text`` and, if you like, ``title`` and ``id``, or a plain file with a text on each line; both may be packed (``.gz``).
The search is exact; it uses FAISS where that is installed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import exit_status


def make_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.search",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("adapter", help="adapter directory or hub name")
    parser.add_argument("--corpus", type=Path, required=True, help="file of texts")
    parser.add_argument("--against", help="a second adapter, shown beside the first")
    parser.add_argument("--page", action="store_true", help="serve a page on this machine, not the terminal")
    parser.add_argument("--port", type=int, default=8765, help="of the page; 0 takes a free one (default: %(default)s)")
    parser.add_argument("--top", type=int, default=10, help="documents that are shown (default: %(default)s)")
    parser.add_argument("--index", type=Path, help="folder that keeps the documents' vectors for the next start")
    parser.add_argument("--base_model", help="where the base model of the first adapter is, if not where its manifest says")
    parser.add_argument("--cache_dir", help="hub cache")
    parser.add_argument("--device", help="such as cpu or cuda:1; the GPU where there is one")
    parser.add_argument("--dtype", help="of the base model, such as bfloat16; the adapter's")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.top < 1:
        parser.error("--top must be at least 1")
    if not 0 <= args.port <= 65535:
        parser.error("--port is a number from 0 to 65535")

    def work() -> None:
        from evaluation.search.session import start  # not for --help

        start(args)

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
