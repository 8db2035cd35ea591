"""Tell whether the rows of mteb's own tasks can be had, in seconds and before a model is loaded.

The hub is asked once, and only where a task without a local folder is to be scored. If it cannot be reached, tasks whose data
are in no cache are marked as missing, and the hub's libraries are told that they are offline: each would try for half a minute.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import datasets
from huggingface_hub import constants, get_session

from evaluation.tasks.find import TaskSpec
from evaluation.tasks.mteb_tasks import data_path
from model_loaders.bundle.prepared_data import prepared_folder

logger = logging.getLogger(__name__)
SECONDS = 3.0  # to wait for the hub
MOST_NAMES = 5  # of tasks, in one line


def check_rows(specs: Sequence[TaskSpec], log: Callable[[str], None] = logger.info) -> list[TaskSpec]:
    """Return the tasks, those whose rows cannot be had with the reason; one line to `log` names them."""
    remote = [spec.name for spec in specs if spec.folder is None and not spec.missing]
    if not remote or hub_reachable():
        return list(specs)
    reasons = {name: reason(name) for name in remote if not in_cache(name)}
    if reasons:
        names = ", ".join([*reasons][:MOST_NAMES])
        if len(reasons) > MOST_NAMES:
            names = f"{names} and {len(reasons) - MOST_NAMES} more"
        log(f"{len(reasons)} of {len(specs)} tasks have no rows here, and {offline()}: {names}")
    return [replace(spec, missing=reasons.get(spec.name, spec.missing)) for spec in specs]


def reason(name: str) -> str:
    """Say why a task has no rows, and what to do."""
    if hub_reachable():
        return f"the hub does not give its data ({data_path(name)}): they may need an account, or be gone"
    advice = "run it once with a network, or put its rows into a folder of its name in --data_dir"
    return f"its data are not in the local cache and {offline()}: {advice}"


def offline() -> str:
    """Say why the hub is not asked for data."""
    if offline_by_user():
        return "HF_HUB_OFFLINE is set"
    return f"the hub ({constants.ENDPOINT}) cannot be reached"


@cache
def offline_by_user() -> bool:
    """Return whether the libraries were offline before `hub_reachable` made them so."""
    return bool(constants.HF_HUB_OFFLINE)


@cache
def hub_reachable() -> bool:
    """Return whether the hub answers within seconds; asked once a process, and never with `HF_HUB_OFFLINE`.

    If it does not, the hub's libraries are offline for the rest of the process.
    """
    if offline_by_user():
        return False
    answers: list[int] = []
    request = threading.Thread(target=lambda: _ask(answers), daemon=True)  # a name server may take longer than any timeout
    request.start()
    request.join(SECONDS)
    if not answers:
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    return bool(answers)


def _ask(answers: list[int]) -> None:
    """Ask the hub for its front page; the status of its answer goes into `answers`."""
    try:
        answers.append(get_session().head(constants.ENDPOINT, timeout=SECONDS).status_code)
    except Exception as error:  # of any HTTP library, proxy or name server
        logger.info("the hub does not answer: %s", error)


def in_cache(name: str) -> bool:
    """Return whether data of a task are in the hub's cache, in that of `datasets`, or in a folder."""
    path = data_path(name)
    if path is None or Path(path).is_dir():
        return path is not None
    downloaded = Path(constants.HF_HUB_CACHE) / f"datasets--{path.replace('/', '--')}" / "snapshots"
    return any(downloaded.glob("*/*")) or any(prepared_folder(path).glob("*/*/*"))
