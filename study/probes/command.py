"""The command's work: read the corpus, run the probes, write and print. It imports all that this needs."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from common.errors import UserError
from common.file_hashes import file_hash
from comparison.report.tables.terminal import for_terminal, terminal_width
from evaluation.encode.rank import launched
from model_loaders import LoadOptions
from model_loaders.layouts.manifest import library_versions
from study.probes.models import Asked
from study.probes.output import as_markdown, save
from study.probes.run import Settings, chosen_probes, run
from study.probes.texts import read_corpus

CORPUS_TIMES = 20  # as many texts as a probe has are read at most: the others give sentences to put around


def probe(args: Namespace) -> None:
    """Run the probes that the command line asks for.

    Raises:
        UserError: corpus or adapter cannot be read, or no probe could be made on any model.
    """
    rank = launched()
    chosen = chosen_probes(args.probes)
    if args.output_dir.exists() and not args.output_dir.is_dir():
        raise UserError(f"--output_dir: {args.output_dir} is no folder; give another one")
    corpus = read_corpus(args.corpus, args.key, CORPUS_TIMES * args.texts)
    options = LoadOptions(cache_dir=args.cache_dir, device=rank.device(args.device), dtype=args.dtype)
    asked = Asked(args.adapters, args.untrained, args.base_model, args.seed, options)
    outcomes = run(asked, corpus, Settings(chosen, args.texts, args.seed, args.max_length), rank)
    if not rank.first:
        return
    if all(outcome.result is None for outcome in outcomes):
        raise UserError(f"no probe could be made: {outcomes[0].failure}")
    facts: dict[str, Any] = {
        "corpus": {"file": args.corpus.name, "hash": file_hash(args.corpus), "texts": len(corpus.texts)},
        "seed": args.seed,
        "texts": args.texts,
        "max_length": args.max_length,
        "versions": library_versions(),
    }
    files = save(outcomes, facts, args.output_dir)
    print(for_terminal(as_markdown(outcomes), terminal_width()))
    print("saved " + ", ".join(str(file) for file in files))
