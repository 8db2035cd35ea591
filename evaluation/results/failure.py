"""A task that failed: the reason in one line, and the traceback in a file."""

from __future__ import annotations

import contextlib
import traceback
from pathlib import Path

from common.disk import chain
from common.errors import UserError
from common.files import one_line
from evaluation.tasks.availability import reason as reason_without_rows

NO_DATA = {"OfflineModeIsEnabled", "ConnectionError", "ConnectError", "LocalEntryNotFoundError", "DatasetNotFoundError"}


def failure_path(folder: Path, task_name: str) -> Path:
    """Return the file of a failed task's traceback in the results folder of a model and revision."""
    return folder / "failures" / f"{task_name}.txt"


def note_failure(folder: Path, task_name: str, error: Exception) -> str:
    """Keep the traceback in a file, where one can be written, and return the reason as one line."""
    path = failure_path(folder, task_name)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    if isinstance(error, UserError):
        return str(error)
    return f"{reason(error, task_name)} (traceback: {path})"


def reason(error: BaseException, task_name: str) -> str:
    """Return one line on why a task failed, and for data that cannot be had what to do."""
    names = {type(link).__name__ for link in chain(error)}
    if names & NO_DATA:
        return reason_without_rows(task_name)
    return f"{type(error).__name__}: {one_line(str(error))[:300]}"
