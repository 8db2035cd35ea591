"""Turn an adapter or checkpoint of another layout into ours: ``python -m model_loaders.convert FOLDER OUT``.

Any folder that ``model_loaders.load`` takes can be given. What does not say its design or base LLM is told them: ``--design
model3 --base_model mistralai/Mistral-7B-v0.1`` for the published adapters of the paper (whose trainers wrote the pooling as
``<dir>attn_pool.pt`` beside the directory; it is found there too), ``--base_model FIRST_ADAPTER`` for a second adapter of
LLM2Vec.

The result has a manifest with fingerprints, so that it loads by itself (``model_loaders.load(OUT)``). The base LLM is not
copied: of a whole checkpoint, such as NV-Embed, it is the checkpoint's own folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError
from model_loaders import DESIGNS, load_design


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m model_loaders.convert", description=__doc__, allow_abbrev=False)
    parser.add_argument("adapter", help="hub name or folder of an adapter or checkpoint")
    parser.add_argument("output", type=Path, help="directory to write; must not exist, or be empty")
    parser.add_argument("--design", help=f"where the folder does not say it; one of: {', '.join(DESIGNS)}")
    parser.add_argument("--base_model", help="hub name or directory of the base model, where the folder does not say it")
    parser.add_argument("--num_heads", type=int, help="heads of the trainable pooling (default: 32, as published)")
    parser.add_argument("--dtype", help="dtype in which the fingerprints are computed (default: float32 on the CPU)")
    parser.add_argument("--cache_dir", help="hub cache")
    args = parser.parse_args(argv)
    try:
        convert(args)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {args.output}; load it with model_loaders.load({str(args.output)!r})")
    return 0


def convert(args: argparse.Namespace) -> None:
    """Load an adapter or checkpoint and save it in our layout."""
    from model_loaders.saving import save

    if args.output.exists() and (not args.output.is_dir() or any(args.output.iterdir())):
        raise UserError(f"{args.output} exists and is not empty; give a new directory")
    args.output.mkdir(parents=True, exist_ok=True)  # better an error now than after the base model was loaded
    model = load_design(args.design, args.base_model, args.adapter, args.cache_dir, num_heads=args.num_heads, dtype=args.dtype)
    save(model, args.output)


if __name__ == "__main__":
    sys.exit(main())
