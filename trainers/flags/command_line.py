"""A command line, or a YAML file that the command line overrides, in; a checked `TrainConfig` out.

``parse(sys.argv[1:], design="model3")`` is all that a trainer script needs. A mistake is one message on stderr and exit code 2.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from common.errors import UserError, tell_launcher
from trainers.flags import help_text

if TYPE_CHECKING:
    from trainers.flags.train_config import TrainConfig

FIRST_PROCESS_SECONDS = 30


def parse(
    argv: Sequence[str], *, design: str | None = None, objective: str | None = None, needs_data: bool = True
) -> TrainConfig:
    """Turn a command line into a checked configuration.

    Args:
        argv: the arguments without the script's name.
        design: the row of the table of designs that the script stands for; None adds the flag ``--design``.
        objective: the value of ``--objective`` that the script stands for; None leaves it to the flag.
        needs_data: False for a command that reads no triplets: data may be given and need not.

    Raises:
        SystemExit: with 0 after ``--help``; with 2 after one message on stderr when the arguments are wrong.
    """
    everything = "--help_all" in argv or "--help-all" in argv
    if not everything and ("--help" in argv or "-h" in argv):
        _show(help_text.short(design))
    # From here on torch and transformers are needed.
    from trainers.flags.resolve import resolve
    from trainers.flags.training_arguments import inherited_flags

    if everything:
        _show(help_text.full(design, inherited_flags()))
    try:
        return resolve(argv, design, objective, needs_data=needs_data)
    except UserError as error:
        if os.environ.get("LOCAL_RANK", "0") != "0":
            # The machine's first process reports the same mistake, and the launcher ends the others when it exits. A process
            # that left earlier would have the launcher end the first one before it has spoken. If the first one found no
            # mistake, this process reports its own.
            time.sleep(FIRST_PROCESS_SECONDS)
        tell_launcher(f"error: {error}")
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _show(text: str) -> NoReturn:
    """Print a help text and leave; the reader may stop in the middle (``--help | head``)."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(0)
