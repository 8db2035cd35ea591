"""Train a design on triplets; ``trainers/model1_trainer.py`` … ``model5_trainer.py`` call this with their design.

One GPU or the CPU::

    python trainers/train.py --design model3 --model_name_or_path BASE --dataset_name triplets.jsonl --output_dir runs/model3

Several GPUs::

    accelerate launch --config_file accelerate_config.yaml trainers/train.py --design model3 ...

``--help`` shows the flags of the toolkit, ``--help_all`` those of ``transformers.TrainingArguments`` too, and
``--config file.yaml`` takes them from a file. `trainers.run.train_run` is the run itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script's own folder is on sys.path, the root is not

from common.errors import SharedError, UsageError, UserError, tell_launcher
from trainers.flags.command_line import parse
from trainers.run.stopping import Stopped, stop_requests


def main(argv: Sequence[str] | None = None, *, design: str | None = None, objective: str | None = None) -> int:
    """Parse the arguments and train; returns the exit status."""
    rank = os.environ.get("RANK", "0")
    try:
        with stop_requests():
            config = parse(sys.argv[1:] if argv is None else argv, design=design, objective=objective)
            from trainers.run.train_run import train  # after --help: imports torch and transformers
        train(config)
    except Stopped as stopped:
        if rank == "0":
            print(f"\n{stopped}", file=sys.stderr)
        return stopped.exit_code
    except KeyboardInterrupt:
        print("\nstopped; go on from the last checkpoint with --resume_from_checkpoint true", file=sys.stderr)
        return 130
    except (UserError, OSError) as error:
        if hasattr(error, "speaks"):  # another process is gone: the group's threads would wait for it at the end
            leave(str(error) if error.speaks else "")
        tell_launcher(f"error: {error}")
        if rank == "0":
            print(f"error: {error}", file=sys.stderr)
        elif not isinstance(error, SharedError):
            print(f"process {rank}: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


def leave(message: str) -> NoReturn:
    """Print an error, and end this process without waiting for anything."""
    if message:
        print(f"error: {message}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
