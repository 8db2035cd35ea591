"""Put an adapter on the Hugging Face hub: ``python -m model_loaders.push ADAPTER OWNER/NAME [--format FORMAT]``.

    python -m model_loaders.push runs/model3 me/model3 --results runs/model3-mteb --dry_run
    python -m model_loaders.push runs/model3 me/model3-st --format sentence-transformers --private

Without ``--format`` the adapter goes as it is, for ``model_loaders.load("OWNER/NAME")``; with one it is exported and verified
first. The folder gets a model card. ``--dry_run`` prints the files and the card and sends nothing. The token is that of
``hf auth login`` or ``HF_TOKEN``; another hub is named by ``HF_ENDPOINT``.
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
        prog="python -m model_loaders.push",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("adapter", help="directory of an adapter")
    parser.add_argument("name", help="repository on the hub: OWNER/NAME; made if it is not there")
    parser.add_argument("--format", default="adapter", help="adapter (default), or one of python -m model_loaders.export")
    parser.add_argument("--private", action="store_true", help="a private repository; one that is there and public is refused")
    parser.add_argument("--dry_run", action="store_true", help="print files and card, send nothing")
    parser.add_argument("--results", type=Path, help="the adapter's scores in mteb's layout, for the card")
    parser.add_argument("--licence", default="", help="of the weights, by the hub's name, such as apache-2.0")
    parser.add_argument("--data_licence", default="", help="of the training data, where their own card does not say it")
    parser.add_argument("--base_model", help="where the base model is, if not where the adapter says")
    parser.add_argument("--base_name", default="", help="the base model's name on the hub, where the adapter names a folder")
    parser.add_argument("--lora", choices=("merged", "unmerged"), default="merged", help="as in the export")
    parser.add_argument("--dtype", default="float32", help="of exported weights: float32, bfloat16 or float16")
    parser.add_argument("--device", help="such as cpu or cuda:1; the GPU where there is one")
    parser.add_argument("--cache_dir", help="hub cache")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    args = make_parser().parse_args(argv)

    def work() -> None:
        from model_loaders.push.upload import push  # not for --help

        push(args)

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
