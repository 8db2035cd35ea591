"""The command's work: read the corpus, run the probes, write and print. It imports all that this needs."""

from __future__ import annotations

from argparse import Namespace

from common.errors import UserError
from comparison.report.tables.terminal import for_terminal, terminal_width
from evaluation.encode.rank import launched
from model_loaders import LoadOptions
from study.probes.models import Asked
from study.probes.output import as_markdown, save
from study.probes.run import Settings, chosen_probes, corpus_for, facts_of, kept_in, run


def probe(args: Namespace) -> None:
    """Run the probes that the command line asks for.

    Raises:
        UserError: corpus or adapter cannot be read, or no probe could be made on any model.
    """
    rank = launched()
    chosen = chosen_probes(args.probes)
    if args.output_dir.exists() and not args.output_dir.is_dir():
        raise UserError(f"--output_dir: {args.output_dir} is no folder; give another one")
    corpus = corpus_for(args.corpus, args.key, args.texts)
    options = LoadOptions(cache_dir=args.cache_dir, device=rank.device(args.device), dtype=args.dtype)
    asked = Asked(args.adapters, args.adapters if args.untrained else [], args.base_model, args.seed, options)
    asked.check()
    settings = Settings(chosen, args.texts, args.seed, args.max_length)
    outcomes = run(asked, corpus, settings, rank, args.output_dir)
    if not rank.first:
        return
    if all(outcome.result is None for outcome in outcomes):
        raise UserError(f"no probe could be made: {outcomes[0].failure}")
    files = save(outcomes, facts_of(settings, args.corpus, corpus), args.output_dir)
    kept_in(args.output_dir, corpus, settings).remove()
    print(for_terminal(as_markdown(outcomes), terminal_width()))
    print("saved " + ", ".join(str(file) for file in files))
