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

from common.errors import UserError
from common.json_text import json_fault, parse_json
from common.lines import DAMAGED, iter_lines
from model_loaders import load

FAILED, STOPPED = 1, 130
MOST_BYTES = 1 << 32  # of a file of texts, which are all in memory


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
    try:
        encode_file(args)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return STOPPED
    return 0


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
    is_json = path.name.lower().endswith((".jsonl", ".jsonl.gz"))
    texts = []
    try:
        for number, line in iter_lines(path, MOST_BYTES):
            if not is_json:
                texts.append(line.rstrip("\r\n"))
            elif line.strip():
                texts.append(text_of(line, key, f"{path}:{number}"))
    except DAMAGED as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not texts:
        raise UserError(f"{path}: the file has no texts")
    return texts


def text_of(line: str, key: str, place: str) -> str:
    """Return the text that a JSON line holds under a key.

    Raises:
        UserError: it is no JSON object with that key, or the value is no string.
    """
    try:
        row = parse_json(line)
    except ValueError as error:
        raise UserError(f"{place}: no valid JSON: {json_fault(error)}") from error
    if not isinstance(row, dict):
        raise UserError(f"{place}: the line holds no JSON object")
    if key not in row:
        raise UserError(f"{place}: the row has no key {key!r}, but {', '.join(map(repr, row))}; name one with --key")
    value = row[key]
    if not isinstance(value, str):
        raise UserError(f"{place}: {key!r} is no text, but {type(value).__name__}")
    return value


if __name__ == "__main__":
    sys.exit(main())
