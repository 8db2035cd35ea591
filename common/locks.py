"""Files that say that something is in use: a lock is gone when its process is, however that ended."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from common.errors import UserError


class InUseError(UserError):
    """Another process holds the lock."""


@contextmanager
def locked(path: Path, what: str, *, patience: float, shared: bool = False) -> Iterator[None]:
    """Hold a lock file inside the block.

    Args:
        path: of the file, made if missing; it stays.
        what: is in use, for the message.
        patience: seconds to wait for another holder.
        shared: whether other shared holders are no obstacle.

    Raises:
        InUseError: another process still holds it; the message says which.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        until = time.monotonic() + patience
        while not taken(file, shared):
            if time.monotonic() >= until:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise InUseError(f"{what} is in use by another process ({holder}); wait for it, or end it")
            time.sleep(0.2)
        if not shared:
            file.truncate(0)
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {now}\n")
            file.flush()
        yield  # closing the file gives the lock back


def taken(file: IO[str], shared: bool) -> bool:
    """Try to take a lock; on file systems that have none, go on without."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    return True
