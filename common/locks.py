"""Files that say that something is in use: a lock is gone when its process is, however that ended.

Worker processes that the holder has forked would keep the lock after its end, so they let go of it when they begin.
"""

from __future__ import annotations

import contextlib
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

HELD: set[IO[str]] = set()  # files whose locks this process holds


def let_go() -> None:
    """Close the lock files of the parent, in a process that was just forked; the parent's locks stay.

    The descriptors stay open on nothing: their file objects would close them a second time.
    """
    if HELD:
        nothing = os.open(os.devnull, os.O_RDWR)
        for file in HELD:
            os.dup2(nothing, file.fileno(), inheritable=False)
        os.close(nothing)
        HELD.clear()


os.register_at_fork(after_in_child=let_go)


class InUseError(UserError):
    """Another process holds the lock."""


@contextmanager
def locked(path: Path, what: str, *, patience: float, shared: bool = False, remove: bool = False) -> Iterator[None]:
    """Hold a lock file inside the block.

    Args:
        path: of the file, made if missing.
        what: is in use, for the message.
        patience: seconds to wait for another holder.
        shared: whether other shared holders are no obstacle.
        remove: whether the file goes when the block ends; it stays otherwise.

    Raises:
        InUseError: another process still holds it; the message says which.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = wait_for(path, what, time.monotonic() + patience, shared)
    HELD.add(file)
    try:
        if not shared:
            file.truncate(0)
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            with contextlib.suppress(OSError):  # a full disk: the lock holds without the name; a buffer would fail again below
                os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()} since {now}\n".encode())
        yield
    finally:
        if file in HELD:  # a forked process has let go of it
            HELD.remove(file)
            if remove:
                path.unlink(missing_ok=True)
            file.close()  # gives the lock back


def wait_for(path: Path, what: str, until: float, shared: bool) -> IO[str]:
    """Return the open lock file once its lock is taken.

    Raises:
        InUseError: another process still holds it at the time ``until``.
    """
    while True:
        file = path.open("a+", encoding="utf-8")
        if taken(file, shared):
            if is_file_of(path, file):
                return file
            file.close()  # its holder removed it meanwhile: the lock is that of no file
            continue
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        if time.monotonic() >= until:
            raise InUseError(f"{what} is in use by another process ({holder}); wait for it, or end it")
        time.sleep(0.2)


def is_file_of(path: Path, file: IO[str]) -> bool:
    """Whether the open file is the one that has the name ``path``."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


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
