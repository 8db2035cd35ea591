"""Encode the texts of a file: ``python -m evaluation.encode_file ADAPTER TEXTS OUT.npy``.

TEXTS is a file with a text on each line, or JSON lines (``.jsonl``) whose key ``text`` holds it; both may be packed
(``.gz``). OUT.npy gets float32 vectors of unit length, ``(texts, dimensions)``, in the order of the file;
``numpy.load`` reads it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError, exit_status
from common.lines import DAMAGED, iter_lines, json_rows
from model_loaders import load


def make_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("adapter", help="adapter directory or hub name")
    parser.add_argument("texts", type=Path, help="file of texts")
    parser.add_argument("output", type=Path, help="file that gets the vectors; its name ends in .npy")
    parser.add_argument("--role", choices=("query", "document"), default="document", help="whose prompt is used")
    parser.add_argument("--key", default="text", help="of JSON lines: the key that holds the text (default: %(default)s)")
    parser.add_argument("--base_model", help="where the base model is, if not where the manifest says")
    parser.add_argument("--cache_dir", help="hub cache")
    parser.add_argument("--device", help="such as cpu or cuda:1; the GPU where there is one")
    parser.add_argument("--dtype", help="of the base model, such as bfloat16; the adapter's")
    parser.add_argument("--max_length", type=int, help="tokens a text at most; the adapter's")
    parser.add_argument("--batch_size", type=int, help="texts of one forward pass at most")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Encode a file; returns the exit status."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.output.suffix != ".npy":
        parser.error(f"{args.output}: the file of vectors must end in .npy")
    for name in ("max_length", "batch_size"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1")
    return exit_status(lambda: encode_file(args))


def encode_file(args: argparse.Namespace) -> None:
    """Read the texts, encode them and write the vectors, whole or not at all.

    Raises:
        UserError: texts, adapter or base model cannot be read.
    """
    texts = read_texts(args.texts, args.key)
    args.output.parent.mkdir(parents=True, exist_ok=True)  # better an error now than after the texts are encoded
    import numpy as np  # not for --help

    from common.files import replacing

    options = {"cache_dir": args.cache_dir, "device": args.device, "dtype": args.dtype}
    model = load(args.adapter, args.base_model, **options)
    vectors = model.encode(
        texts, args.role, max_length=args.max_length, batch_size=args.batch_size, show_progress=sys.stderr.isatty()
    )
    with replacing(args.output) as part, part.open("wb") as file:
        np.save(file, vectors)
    print(f"wrote {args.output}: {vectors.shape[0]:,} vectors of {vectors.shape[1]:,} numbers")


def read_texts(path: Path, key: str) -> list[str]:
    """Return the texts of a file; an empty line of a plain file is an empty text.

    Args:
        path: of the file.
        key: of JSON lines, the one that holds the text.

    Raises:
        UserError: the file cannot be read, is empty, or a row has no such text; the message names its line.
    """
    texts = []
    if path.name.lower().endswith((".jsonl", ".jsonl.gz")):
        for place, row in json_rows(path):
            texts.append(text_of(row, key, place))
    else:
        try:
            for _, line in iter_lines(path):
                texts.append(line.rstrip("\n"))
        except DAMAGED as error:
            raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not texts:
        raise UserError(f"{path}: the file has no texts")
    return texts


def text_of(row: dict[str, object], key: str, place: str) -> str:
    """Return the text that a row holds under a key.

    Raises:
        UserError: it has no such key, or the value is no string.
    """
    if key not in row:
        raise UserError(f"{place}: the row has no key {key!r}, but {', '.join(map(repr, row))}; name one with --key")
    value = row[key]
    if not isinstance(value, str):
        raise UserError(f"{place}: {key!r} is no text, but {type(value).__name__}")
    return value


if __name__ == "__main__":
    sys.exit(main())
