"""One session: load the adapters, index the corpus, answer on the terminal or in the page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

from common.errors import UserError
from evaluation.search.answers import answers_of, lines_of
from evaluation.search.index import Index, build, read_corpus
from evaluation.search.page import Server
from model_loaders import load


def start(args: argparse.Namespace) -> None:
    """Run a session until its end.

    Raises:
        UserError: corpus or adapter cannot be read, or the port is taken.
    """
    documents = read_corpus(args.corpus)
    indexes = []
    for adapter, base in ((args.adapter, args.base_model), (args.against, None)):
        if adapter is None:
            continue
        model = load(adapter, base, cache_dir=args.cache_dir, device=args.device, dtype=args.dtype)
        folder = Path(adapter).name
        name = folder if folder == model.design_name else f"{folder} ({model.design_name})"
        indexes.append(build(model, name, documents, args.index, bar=sys.stderr.isatty()))
    if len({index.name for index in indexes}) < len(indexes):  # two folders of one name
        for index, adapter in zip(indexes, (args.adapter, args.against), strict=True):
            index.name = str(adapter)
    print(f"{len(documents):,} documents are indexed", file=sys.stderr)
    if args.page:
        serve(args.port, indexes, args.top)
    else:
        ask(indexes, args.top)


def ask(indexes: Sequence[Index], top: int) -> None:
    """Answer the lines of standard input; an empty one ends."""
    interactive = sys.stdin.isatty()
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # of a terminal that does not write UTF-8
    while True:
        if interactive:
            print("query> ", end="", flush=True)
        query = sys.stdin.readline().strip()
        if not query:
            return
        for line in lines_of(answers_of(indexes, query, top), indexes[0].documents):
            print(line)
        sys.stdout.flush()


def serve(port: int, indexes: Sequence[Index], top: int) -> None:
    """Serve the page until Ctrl-C."""
    try:
        server = Server(port, indexes, top)
    except OSError as error:
        raise UserError(f"port {port} cannot be had ({error.strerror}): give another one with --port, or 0") from error
    print(f"open {server.address} (Ctrl-C ends)", flush=True)
    with server:
        server.serve_forever()
