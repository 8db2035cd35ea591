"""Run a study: train what is missing, score what is missing, compare, and write the report.

``python run_study.py configs/quickstart.yaml`` runs the embedded default, which needs no download. Run the same command
again after an interruption: it goes on where it was. ``--plan`` shows what would run; ``--cell K`` runs one cell, for
schedulers, and ``--compare`` ends such a study (docs/studies.md).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# flags that override keys of the study file
OVERRIDES = ("base_model", "output_dir", "seeds", "jobs", "train_file", "eval_dir")
STATUSES = (
    "exit status: 0 everything that was asked for is done; 1 cells failed, diverged or are missing; 2 wrong arguments; "
    "75 (--cell) another process runs the cell; 130, 143 stopped"
)


def make_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=STATUSES,
    )
    parser.add_argument("study", type=Path, help="the study file, such as configs/quickstart.yaml")
    parser.add_argument("--base_model", help="hub name or directory, instead of the study file's")
    parser.add_argument("--output_dir", help="instead of the study file's")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of the study file's")
    parser.add_argument("--jobs", type=int, help="cells at a time (default: one for each share of the GPUs, two on the CPU)")
    parser.add_argument("--train_file", help="training triplets, instead of the study file's")
    parser.add_argument("--eval_dir", help="folder of task folders, instead of the study file's")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--cell", metavar="K", help="run this one cell and stop: its number in --plan, or its name")
    mode.add_argument("--plan", action="store_true", help="print the cells, what is done, expected time and memory")
    mode.add_argument("--compare", action="store_true", help="run no cell: compare what is there and write the report")
    parser.add_argument("--tuning", action="store_true", help="with --cell or --plan: of the search that the key tune asks for")
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)  # of a cell's process: it ends with that one
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study, one of its cells, or a part; return the exit status."""
    args = make_parser().parse_args(argv)
    overrides = {}
    for name in OVERRIDES:
        if getattr(args, name) is not None:
            overrides[name] = getattr(args, name)
    from study import command  # torch, transformers and mteb: not before the arguments are parsed

    return command.run(args, overrides)


if __name__ == "__main__":
    sys.exit(main())
