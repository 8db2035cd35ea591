"""Score an adapter with fewer numbers and bits a vector: ``python -m evaluation.compression ADAPTER --data_dir TASKS``.

    python -m evaluation.compression runs/model3 --data_dir data/eval --dimensions 256 64 --precisions int8 binary

Each text is encoded once. The output directory gets ``compression.csv`` and ``compression.svg``: the mean of the tasks' main
scores against the bytes of a vector. The results of each setting are beside them, in mteb's layout.
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
        prog="python -m evaluation.compression",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("adapter", help="adapter directory or hub name")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/compression"), help="default: %(default)s")
    parser.add_argument("--data_dir", help="folder of task folders")
    parser.add_argument("--tasks", nargs="+", default=[], help="names of tasks; all folders of --data_dir by default")
    parser.add_argument("--dimensions", type=int, nargs="*", default=[], help="fewer numbers a vector, beside all of them")
    parser.add_argument("--precisions", nargs="*", default=["int8", "binary"], help="beside float32 (default: int8 binary)")
    parser.add_argument(
        "--name", help="of the results, with {dimensions} and {precision} (default: DESIGN_{dimensions}_{precision})"
    )
    parser.add_argument("--prompts", choices=("mteb", "own", "none"), help="as in run_mteb.py (default: the manifest decides)")
    parser.add_argument("--base_model", help="where the base model is, if not where the manifest says")
    parser.add_argument("--cache_dir", help="hub cache")
    parser.add_argument("--device", help="such as cpu or cuda:1; the GPU where there is one")
    parser.add_argument("--dtype", help="of the base model, such as bfloat16; the adapter's")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.data_dir is None and not args.tasks:
        parser.error("give --data_dir or --tasks")

    def work() -> None:
        from evaluation.compressed import score_settings  # not for --help

        score_settings(args)

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
