"""The seal of a checkpoint: ``checkpoint.json`` with the size and SHA-256 of every file, and the identity of its run.

It is the last file that is written. A file that is cut, changed or missing is noticed before a run goes on from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.files import write_json
from common.json_text import parse_json
from common.lines import read_bytes
from trainers.checkpoints.run_files import SEAL_FILE

FORMAT = 1


@dataclass(frozen=True)
class RunIdentity:
    """Facts by which a run is recognised, whatever its files are called.

    Attributes:
        processes: of the run.
        data: hash of its training data; None where a checkpoint's need not be the same, as for the next two.
        start: hash of the adapter that it started from, empty without one.
        dtype: of the base LLM.
        evaluations: what its loss was evaluated on, in this start and those before: hash of the data, and the batch size that
            decides the loss.
    """

    processes: int = 1
    data: str | None = None
    start: str | None = None
    dtype: str | None = None
    evaluations: tuple[str, ...] = ()

    def after(self, earlier: Iterable[str]) -> RunIdentity:
        """Return the identity of a run that goes on, with what was evaluated before."""
        return replace(self, evaluations=tuple(dict.fromkeys([*earlier, *self.evaluations])))


def write_seal(
    directory: Path, *, step: int, identity: RunIdentity, seen: list[int] | None = None, sums: Mapping[str, Any] | None = None
) -> None:
    """Describe all files of a checkpoint, and its run.

    Args:
        directory: the checkpoint.
        step: number of steps that led to it.
        identity: of the run.
        seen: counts of `trainers.monitor.metrics.RunningMetrics.whole`.
        sums: of the losses and of the batches since the last line of metrics (`trainers.run.loss_sums`).
    """
    entries = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path != directory / SEAL_FILE:
            entries[str(path.relative_to(directory))] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    content = {
        "format": FORMAT,
        "step": step,
        "processes": identity.processes,
        "data": identity.data,
        "seen": seen,
        "sums": sums,
        "start": identity.start,
        "dtype": identity.dtype,
        "evaluations": list(identity.evaluations),
        "files": entries,
    }
    write_json(content, directory / SEAL_FILE)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_seal(directory: Path) -> dict[str, Any]:
    """Return the content of ``checkpoint.json``.

    Raises:
        ValueError: it is missing or damaged.
    """
    try:
        content = parse_json(read_bytes(directory / SEAL_FILE))
        for entry in content["files"].values():
            (entry["bytes"], entry["sha256"])
        (content["step"], content["processes"], content["data"])
    except FileNotFoundError:
        raise ValueError(f"{SEAL_FILE} is missing") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(f"{SEAL_FILE} cannot be read") from None
    if content.get("format") != FORMAT:
        raise ValueError(f"{SEAL_FILE} has format {content.get('format')!r}, this version reads {FORMAT}")
    return dict(content)


def damage(directory: Path) -> str | None:
    """Return the first damage to a checkpoint's files, or None. Reads them all; files not listed in the seal are ignored."""
    try:
        entries = read_seal(directory)["files"]
    except ValueError as error:
        return str(error)
    for name, entry in entries.items():
        path = directory / name
        try:
            size = path.stat().st_size
            if size != entry["bytes"]:
                return f"{name} has {size} bytes, {entry['bytes']} were written"
            if sha256_of(path) != entry["sha256"]:
                return f"{name} differs from the file that was written (its checksum is another one)"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror or error})"
    return None
