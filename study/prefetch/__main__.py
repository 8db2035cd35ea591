"""Put models, data and tasks into one folder for a machine without a network: ``python -m study.prefetch BUNDLE …``.

    python -m study.prefetch bundle --models Qwen/Qwen2-0.5B me/model3 --data me/triplets own.jsonl --tasks STSBenchmark
    HF_HOME=bundle HF_HUB_OFFLINE=1 python trainers/train.py --design model3 --model_name_or_path Qwen/Qwen2-0.5B …

The folder is a Hugging Face home (``HF_HOME``): with it, names of the hub work without a network as they do with one. An
adapter brings its base model. ``NAME@REVISION`` takes a branch, tag or commit; the commit is recorded. Files and folders of
this machine are copied. ``bundle.json`` lists every file with its SHA-256, and what is used of the bundle is compared with it.
The bundle is written whole or not at all.
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
        prog="python -m study.prefetch",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("bundle", type=Path, help="folder to make; must not exist, or be empty")
    add("--models", nargs="+", default=[], metavar="NAME", help="base models and adapters: hub names or folders")
    add("--data", nargs="+", default=[], metavar="NAME", help="triplets: hub names (or NAME:CONFIGURATION), files, folders")
    add("--tasks", nargs="+", default=[], metavar="TASK", help="as run_mteb.py takes them: names of tasks, benchmarks, lists")
    add("--data_dir", type=Path, metavar="DIR", help="folder of task folders; all of them, unless --tasks names some")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if not (args.models or args.data or args.tasks or args.data_dir):
        parser.error("give --models, --data, --tasks or --data_dir")

    def work() -> int:
        from study.prefetch.make import make_bundle  # not for --help

        return make_bundle(args)

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
