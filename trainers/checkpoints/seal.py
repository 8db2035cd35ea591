"""The seal of a checkpoint: ``checkpoint.json`` with the size and SHA-256 of every file, the processes and the data of its run.

It is the last file that is written. A file that is cut, changed or missing is noticed before a run goes on from it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

SEAL = "checkpoint.json"
FORMAT = 1


def write_seal(directory: Path, *, step: int, processes: int, data: str, **more: Any) -> None:
    """Describe all files of ``directory``, and the run that they are of.

    Args:
        directory: the checkpoint.
        step: number of steps that it is of.
        processes: of the run.
        data: hash of its training data.
        more: what else it is known by (``ContrastiveTrainer.known_by``), and what it has counted (``Seen.whole``).
    """
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path != directory / SEAL)
    entries = {str(path.relative_to(directory)): {"bytes": path.stat().st_size, "sha256": digest(path)} for path in files}
    content = {"format": FORMAT, "step": step, "processes": processes, "data": data, **more, "files": entries}
    (directory / SEAL).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_seal(directory: Path) -> dict[str, Any]:
    """Return what ``checkpoint.json`` says.

    Raises:
        ValueError: it is missing or damaged.
    """
    try:
        content = json.loads((directory / SEAL).read_text(encoding="utf-8"))
        {name: (entry["bytes"], entry["sha256"]) for name, entry in content["files"].items()}
        (content["step"], content["processes"], content["data"])
    except FileNotFoundError:
        raise ValueError(f"{SEAL} is missing") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(f"{SEAL} cannot be read") from None
    if content.get("format") != FORMAT:
        raise ValueError(f"{SEAL} has format {content.get('format')!r}, this version reads {FORMAT}")
    return dict(content)


def damage(directory: Path) -> str | None:
    """Return what is wrong with a checkpoint's files, or None. Reads them all.

    Files that the seal does not know are none of its business.
    """
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
            if digest(path) != entry["sha256"]:
                return f"{name} is not what was written (its checksum differs)"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror or error})"
    return None
