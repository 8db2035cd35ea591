"""Lay out real data for a study: links to task folders, clustering tasks made of classification tasks, a mix for training.

Command::

    python -m study.real_data DATA --output_dir runs/real_data

``DATA/eval`` holds task folders (docs/evaluation.md) and ``DATA/train`` triplets in JSON lines. Nothing is copied but what is
made: the links lead back into ``DATA``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from common.errors import UserError
from evaluation.tasks.local_files import iter_rows
from evaluation.tasks.schemas import SCHEMAS

# Texts with labels are a clustering task too; fewer than five have sources of their own.
CLUSTERINGS = {"NewsClustering": "NewsClassification"}
# Rows of each training file at most: no source is more than a few times as large as another one.
MOST_ROWS = 6000
# Too small to fill a batch, or the same texts as another file.
WITHOUT = ("covid_faq", "stackexchange_title_body", "wikisplit", "gsm8k")


def lay_out(data: Path, output_dir: Path) -> tuple[Path, Path]:
    """Make the folder of tasks and the mix of training files; what is there is made anew.

    Args:
        data: holds ``eval`` and ``train``.
        output_dir: gets ``eval`` and ``mix.yaml``.

    Returns:
        The folder of tasks and the mix.

    Raises:
        UserError: ``data`` holds something else.
    """
    tasks = sorted((data / "eval").glob("*/"))
    files = sorted((data / "train").glob("*.jsonl*"))
    if not tasks or not files:
        raise UserError(f"{data} has no eval/<task> folders or no train/*.jsonl files")
    evaluation = output_dir / "eval"
    evaluation.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        link(evaluation / task.name, task)
    for name, source in CLUSTERINGS.items():
        if (data / "eval" / source).is_dir():
            make_clustering(evaluation / name, data / "eval" / source)
    entries = []
    for file in files:
        label = file.name.partition(".")[0]
        if label not in WITHOUT:
            entry = {"name": str(file.resolve()), "label": label, "max_train_samples": MOST_ROWS, "max_negatives": 1}
            entries.append(entry)
    mix = output_dir / "mix.yaml"
    mix.write_text(yaml.safe_dump(entries, sort_keys=False), encoding="utf-8")
    return evaluation, mix


def link(place: Path, target: Path) -> None:
    """Make a link, in place of an older one."""
    if place.is_symlink():
        place.unlink()
    place.symlink_to(target.resolve(), target_is_directory=True)


def make_clustering(folder: Path, source: Path) -> None:
    """Write a clustering task of a classification task's test texts; equal rows make equal files."""
    text = ""
    for row in iter_rows(source / "test.jsonl.gz", SCHEMAS["classification"].columns):
        text += json.dumps({"sentence": row["text"], "label": row["label"]}, ensure_ascii=False) + "\n"
    folder.mkdir(exist_ok=True)
    (folder / "test.jsonl.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments and lay out; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with eval/ and train/")
    parser.add_argument("--output_dir", type=Path, required=True, help="gets eval/ and mix.yaml")
    args = parser.parse_args(argv)
    try:
        evaluation, mix = lay_out(args.data, args.output_dir)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"tasks in {evaluation}, training data in {mix}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
