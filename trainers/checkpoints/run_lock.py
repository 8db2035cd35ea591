"""One training at a time in an output directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from common.errors import UserError
from common.locks import locked
from trainers.checkpoints.run_files import LOCK_FILE
from trainers.step.distributed import from_first


@contextmanager
def only_run(output_dir: Path) -> Iterator[None]:
    """Hold the output directory for this run inside the block; called on every process, and the first one holds the lock.

    A directory that the run has made and left empty goes with the lock.

    Raises:
        InUseError: another run goes on there.
        UserError: the directory cannot be written.
        SharedError: the same, where there are several processes.
    """
    with ExitStack() as held:
        from_first(lambda: take(held, output_dir))
        yield


def take(held: ExitStack, output_dir: Path) -> None:
    """Take the lock of an output directory until ``held`` is closed."""
    missing = [folder for folder in (output_dir, *output_dir.parents) if not folder.exists()]
    lock = locked(output_dir / LOCK_FILE, f"--output_dir {output_dir}", patience=0, remove=True)
    held.callback(remove_empty, missing)
    try:
        held.enter_context(lock)
    except OSError as error:  # as a UserError it reaches all processes
        reason = error.strerror or error
        raise UserError(f"--output_dir {output_dir} cannot be written: {reason}; give another directory") from error


def remove_empty(folders: list[Path]) -> None:
    """Remove folders, the innermost first, as far as they are empty."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()
