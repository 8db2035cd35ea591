"""Score an adapter by the flags of a script: find the tasks, open the adapter, score, print the table.

The heavy imports of the command line are here; `evaluation/cli.py` imports this module after the flags are parsed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from common.disk import check_writable, not_writable
from common.errors import UserError
from evaluation.encode.distributed import Processes
from evaluation.encode.lazy_model import Loader, open_adapter
from evaluation.encode.prompts_file import read_prompts
from evaluation.encode.rank import Rank
from evaluation.encode.sharded_encoder import TextEncoder, encode_here
from evaluation.evaluate import evaluate
from evaluation.options import EvaluationOptions
from evaluation.rerun import origin, score_again
from evaluation.results.score_table import table, write_csv
from evaluation.stopping import leave_signals_to_the_first_process
from evaluation.tasks.availability import check_rows
from evaluation.tasks.find import TaskSpec, find_tasks, prompt_keys
from evaluation.tasks.listing import listing
from model_loaders import load_design
from model_loaders.backbone.load import choose_device
from model_loaders.create import load_untrained
from model_loaders.hub import pinned
from model_loaders.text.named import named_recipe
from model_loaders.text.prompts import TASK_PROMPTS, template_named

FAILED = 1  # exit status where a task failed


@dataclass(frozen=True)
class Material:
    """The model, and in the first process the tasks and the options."""

    model: TextEncoder
    tasks: list[TaskSpec] = field(default_factory=list)
    options: EvaluationOptions = field(default_factory=EvaluationOptions)


def print_listing(args: argparse.Namespace, types: Collection[str] | None) -> None:
    """Print the tasks that `--list` names."""
    print(listing(args.list, args.data_dir, types))


def score_adapter(
    args: argparse.Namespace, loader: Loader, paper_tasks: Sequence[str], types: Collection[str] | None, rank: Rank
) -> int:
    """Score the adapter and return the exit status; in a process that is not the first of several, encode for it."""
    if args.loader:
        loader = partial(load_design, args.loader)
    if args.recipe:
        loader = partial(load_untrained, args.recipe)
    if rank.size == 1:
        return _score(args, _prepare(args, loader, paper_tasks, types, rank), None)

    failure, material = None, None
    with nullcontext() if rank.first else _silence():
        try:
            material = _prepare(args, loader, paper_tasks, types, rank)
        except UserError as error:
            failure = str(error)
        model: Any = material.model if material else None
        processes = Processes(rank, encode_here(model, batch_tokens=args.batch_tokens, batch_size=args.batch_size))
        processes.agree(getattr(model, "version", None), failure)
        assert material is not None
        if not rank.first:
            processes.serve()
            return 0
    try:
        return _score(args, material, processes)
    finally:
        processes.close()


@contextmanager
def _silence() -> Iterator[None]:
    """Leave talking and signals to the first process; an error that ends this one is still shown."""
    leave_signals_to_the_first_process()
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def _prepare(
    args: argparse.Namespace, loader: Loader, paper_tasks: Sequence[str], types: Collection[str] | None, rank: Rank
) -> Material:
    """Open the model; in the first process before that find the tasks and read the prompts, which takes less time.

    Raises:
        UserError: a flag, a file or the adapter is wrong.
    """
    args.device = rank.device(args.device)
    output_dir = Path(args.output_dir)
    if not rank.first:
        return Material(open_adapter(loader, None, **_loading_options(args)))
    if not (output_dir / "results").is_dir():  # results that are there are shown though none can be added
        check_writable(output_dir)
    for name in ("save_embeddings", "embedding_cache"):
        if isinstance(getattr(args, name), str):
            check_writable(Path(getattr(args, name)), f"--{name}")
    names = args.tasks
    if not names:
        names = [] if args.data_dir else paper_tasks
    tasks = check_rows(find_tasks(names, args.data_dir, types, say), say)
    with suppress(UserError):  # the record has the commit, and a rerun loads it; what cannot be had, the loader says better
        args.adapter_path = args.adapter_path and pinned(str(args.adapter_path), what="adapter", cache_dir=args.cache_dir)
    options = _evaluation_options(args, loader, tasks)
    if args.device is not None:
        choose_device(args.device)
    return Material(open_adapter(loader, output_dir, **_loading_options(args)), tasks, options)


def _loading_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the flags that the loader takes."""
    options = {"base_model": args.base_model, "adapter_path": args.adapter_path}
    for name in ("cache_dir", "dtype", "attn_implementation", "device", "num_heads"):
        if getattr(args, name) is not None:
            options[name] = getattr(args, name)
    return options


def _evaluation_options(args: argparse.Namespace, loader: Loader, tasks: Sequence[TaskSpec]) -> EvaluationOptions:
    """Return the options of the flags.

    Raises:
        UserError: prompts or template are malformed.
    """
    template = None
    if args.prompt_template is not None:
        template = template_named(
            args.prompt_template.replace("\\n", "\n"), several=True
        )  # shells hand on \n as two characters
    prompts = args.prompts
    if prompts is not None and prompts not in TASK_PROMPTS:
        prompts = read_prompts(Path(prompts), prompt_keys(tasks, args.data_dir))
    return EvaluationOptions(
        name=args.name or (named_recipe(args.recipe).name if args.recipe else None),
        prompts=prompts,
        prompt_template=template,
        max_length=args.max_length,
        batch_size=args.batch_size,
        batch_tokens=args.batch_tokens,
        show_progress=sys.stderr.isatty(),
        save_predictions=args.save_predictions,
        save_embeddings=args.save_embeddings or False,
        embedding_cache=args.embedding_cache,
        shard_texts=args.shard_texts,
        origin=origin(args, loader),
    )


def _score(args: argparse.Namespace, material: Material, processes: Processes | None) -> int:
    """Score the tasks, print the table and return the exit status."""
    if args.rerun:
        return score_again(Path(args.rerun), material.model, material.tasks[0], args.output_dir, material.options, processes)
    output_dir = Path(args.output_dir)
    evaluation = evaluate(material.model, material.tasks, output_dir, material.options, processes=processes, log=say)
    print(table(evaluation), flush=True)
    if reason := not_writable(output_dir):
        say(f"scores.csv is left as it was: {reason}")
    else:
        write_csv(evaluation)
    return FAILED if evaluation.failures else 0


def say(line: str) -> None:
    """Print a line about the progress on stderr."""
    print(line, file=sys.stderr, flush=True)
