"""Probe what vectors notice: ``python -m study.probes ADAPTER … --corpus FILE --output_dir OUT``.

No labels are needed: any corpus will do. FILE is JSON lines, Parquet, CSV or TSV (``.gz`` too), or has a text on each line; a
few hundred texts of some sentences each are enough. OUT gets ``probes.json``, ``probes.md`` and a plot of each probe.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import exit_status
from study.probes import FEWEST_TEXTS, NAMES


def make_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m study.probes",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("adapters", nargs="+", metavar="ADAPTER", help="adapter directories or hub names")
    parser.add_argument("--corpus", type=Path, required=True, help="file of texts")
    parser.add_argument("--output_dir", type=Path, required=True, help="gets the results")
    parser.add_argument("--key", default="text", help="of rows: the key that holds the text (default: %(default)s)")
    parser.add_argument("--probes", nargs="+", default=[], metavar="PROBE", help=f"some of {', '.join(NAMES)}; all")
    parser.add_argument("--untrained", action="store_true", help="also each adapter's design on its base LLM without training")
    parser.add_argument("--texts", type=int, default=100, help="texts of a probe at most (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=42, help="of sentences, intervals, untrained poolings (default: %(default)s)"
    )
    parser.add_argument("--max_length", type=int, help="tokens a text at most; 2,048, or what the base LLM takes")
    parser.add_argument("--base_model", help="where the base model is, if not where the manifest says")
    parser.add_argument("--cache_dir", help="hub cache")
    parser.add_argument("--device", help="such as cpu or cuda:1; the GPU where there is one")
    parser.add_argument("--dtype", help="of the base model, such as bfloat16; the adapter's")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the probes; returns the exit status."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.texts < FEWEST_TEXTS:
        parser.error(f"--texts must be at least {FEWEST_TEXTS}: intervals over fewer texts say nothing")
    if args.max_length is not None and args.max_length < 1:
        parser.error("--max_length must be at least 1")

    def work() -> None:
        from study.probes.command import probe  # not for --help

        probe(args)

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
