"""Lay out real data for a study: links to task folders, clustering tasks made of classification tasks, a mix for training.

Command::

    python -m study.real_data DATA --output_dir runs/real_data
    python -m study.real_data DATA --output_dir runs/objectives --objectives --most_rows 1000 --most_texts 1000

``DATA/eval`` holds task folders (docs/evaluation.md) and ``DATA/train`` triplets in JSON lines. Nothing is copied but what is
made: the links lead back into ``DATA``. ``--objectives`` adds what the files in configs/studies/objectives train on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError
from study.real_data.layout import MOST_ROWS, lay_out
from study.real_data.objectives import lay_out_objectives


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments and lay out; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m study.real_data", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with eval/ and train/")
    parser.add_argument("--output_dir", type=Path, required=True, help="gets eval/ and mix.yaml")
    parser.add_argument("--most_rows", type=positive, default=MOST_ROWS, help="of each training file (default: %(default)s)")
    parser.add_argument("--most_texts", type=positive, help="rows of a test file, but for retrieval (default: all)")
    parser.add_argument("--objectives", action="store_true", help="also make train.jsonl, and blend.yaml of labelled texts")
    args = parser.parse_args(argv)
    try:
        evaluation, mix = lay_out(args.data, args.output_dir, most_rows=args.most_rows, most_texts=args.most_texts)
        print(f"tasks in {evaluation}, training data in {mix}")
        if args.objectives:
            triplets, blend = lay_out_objectives(args.data, args.output_dir, args.most_rows)
            print(f"triplets in {triplets}, the blend with labelled texts in {blend}")
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def positive(text: str) -> int:
    """Return a whole number above 0, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"it must be above 0, not {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
