"""Turn an adapter into a folder that other programs load: ``python -m model_loaders.export ADAPTER OUT --format FORMAT``.

    python -m model_loaders.export runs/model3 exported/model3 --format sentence-transformers
    python -m model_loaders.export --format list

LoRA is merged in float32. Before the command says done, the folder is read in a process that does not have this project, and
64 texts (long, empty, in many scripts, with both prompts) must get the adapter's vectors and rank alike. A folder that does
not pass is removed, and the exit status is 1.
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
        prog="python -m model_loaders.export",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("adapter", nargs="?", help="directory or hub name of an adapter or model")
    parser.add_argument("output", nargs="?", type=Path, help="folder to make; must not exist, or be empty")
    parser.add_argument("--format", required=True, help="sentence-transformers, merged, peft, …; list shows them all")
    parser.add_argument(
        "--lora", choices=("merged", "unmerged"), default="merged", help="into the base model's weights, or not"
    )
    parser.add_argument("--dtype", default="float32", help="of the written weights: float32, bfloat16 or float16")
    parser.add_argument("--base_model", help="where the base model is, if not where the adapter says")
    parser.add_argument("--base_name", default="", help="name by which others find the base model of unmerged LoRA")
    parser.add_argument("--device", help="such as cpu or cuda:1; the GPU where there is one")
    parser.add_argument("--results", type=Path, help="the adapter's scores in mteb's layout, for the card")
    parser.add_argument("--licence", default="", help="of the weights, for the card, by the hub's name, such as apache-2.0")
    parser.add_argument("--data_licence", default="", help="of the training data, where their own card does not say it")
    parser.add_argument("--cache_dir", help="hub cache")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.format == "list":
        from model_loaders.export.table import listed

        print(listed())
        return 0
    if args.adapter is None or args.output is None:
        parser.error("give the adapter and the folder to make")
    return exit_status(lambda: export_and_say(args))


def export_and_say(args: argparse.Namespace) -> int:
    """Export, and print how near the folder is to the model."""
    from model_loaders.export.run import Order, export

    order = Order(**vars(args))
    done = export(order)
    for note in done.notes:
        print(f"note: {note}")
    like = done.likeness
    print(
        f"verified in a process of its own: {like.texts} vectors, smallest cosine {like.cosine:.7f}, largest difference "
        f"{like.difference:.1e}"
    )
    print(f"wrote {args.output}; its README.md says how to load it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
