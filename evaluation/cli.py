"""The command line of `run_mteb.py` and `run_mteb_retrieval.py`.

The flags (`evaluation/flags.py`) are parsed before the module with the heavy imports (`evaluation/score_adapter.py`) is
imported.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from common.errors import UserError
from evaluation.encode.rank import ProcessLost, first_process, launched
from evaluation.flags import make_parser, settings_of_record
from evaluation.stopping import Terminated, sigterm_stops
from model_loaders import get_design

if TYPE_CHECKING:
    from evaluation.encode.sharded_encoder import TextEncoder

FAILED, STOPPED, TERMINATED = 1, 130, 143
GO_ON = "What is finished is kept: the same command goes on after it"


def main(
    description: str,
    *,
    loader: Callable[..., TextEncoder],
    paper_tasks: Sequence[str],
    types: Collection[str] | None = None,
    defaults: Mapping[str, object] | None = None,
    arguments: Sequence[str] | None = None,
) -> int:
    """Score one adapter and print a table.

    Args:
        description: the script's docstring.
        loader: makes the model from `base_model`, `adapter_path` and options; `--loader` goes before it.
        paper_tasks: names of mteb's tasks that are scored when neither tasks nor a data folder are given.
        types: mteb's names of the types to keep; None for all.
        defaults: the constants at the top of the script, by flag.
        arguments: the command line; None for `sys.argv`.

    Returns:
        0 if all tasks were scored, 1 if one failed, 2 if the arguments are wrong, 130 if stopped by the keyboard, 143 by
        SIGTERM.
    """
    constants = defaults or {}
    parser = make_parser(description, constants)
    args = parser.parse(arguments)
    try:
        if args.list is not None:
            from evaluation.score_adapter import print_listing

            print_listing(args, types)
            return 0
        with sigterm_stops(), settings_of_record(args, constants):
            _check(args)
            from evaluation.score_adapter import score_adapter

            return score_adapter(args, loader, paper_tasks, types, launched())
    except UserError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"{error}. {GO_ON}")
    except (KeyboardInterrupt, ProcessLost) as stop:
        if first_process():
            print(f"\n{_reason(stop)}. {GO_ON}.", file=sys.stderr)
        if isinstance(stop, Terminated):
            return TERMINATED
        return STOPPED if isinstance(stop, KeyboardInterrupt) else FAILED


def _check(args: argparse.Namespace) -> None:
    """Check the flags whose faults are seen without a heavy import.

    Raises:
        UserError: a flag is missing, or has a value that it cannot have.
    """
    if not args.adapter_path and not args.recipe:
        raise UserError("give the adapter with --adapter_path, or as ADAPTER_PATH at the top of the script")
    if args.recipe:
        for name in ("adapter_path", "loader", "num_heads"):
            if getattr(args, name):
                raise UserError(f"--{name} goes with an adapter, --recipe with a base LLM as it is: leave one of them out")
        if not args.base_model:
            raise UserError("--recipe scores a base LLM: give it with --base_model")
    if args.loader:
        get_design(args.loader)
    if isinstance(args.tasks, str):
        raise UserError(f"TASKS must be a list of names, such as [{args.tasks!r}]")


def _reason(stop: BaseException) -> str:
    """Return why a run was stopped; a launcher sends SIGTERM to all processes when one has ended."""
    if isinstance(stop, Terminated) and "WORLD_SIZE" in os.environ:
        return f"{stop}, as launchers do when another process has ended: see their report"
    return str(stop) or "Stopped"
