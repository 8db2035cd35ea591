"""``bundle.json``: what a bundle holds, with the hash of every file; what is used of a bundle is compared with it.

The hashes find damage and mixed-up copies. They are no signature: who can change a file can change the list too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from common.build import build
from common.errors import UserError
from common.file_hashes import Notes, file_hash, file_state
from common.files import read_json, write_json

BUNDLE, CHECKED = "bundle.json", "checked.json"
FORMAT = "pooling-and-attention bundle 1"
# Hidden files, locks, the notes of this module, and contents of the hub's cache that are listed by their names in a snapshot.
NOT_LISTED = (BUNDLE, CHECKED, "blobs")
AGAIN = "make the bundle again (python -m study.prefetch), or copy it again"


@dataclass(frozen=True)
class Entry:
    """One thing in a bundle.

    Attributes:
        kind: ``model``, ``data`` or ``task``.
        name: by which a command line names it: a hub name, or its path below the bundle.
        path: where it lies below the bundle.
        revision: commit on the hub; empty for what was local.
        licence: as the hub states it; empty where that is unknown.
    """

    kind: str
    name: str
    path: str
    revision: str = ""
    licence: str = ""


@dataclass(frozen=True)
class Bundle:
    """The content of ``bundle.json``.

    Attributes:
        format: of the file.
        entries: what is in the bundle.
        files: SHA-256 by path below the bundle.
        versions: of the libraries that made it.
    """

    entries: tuple[Entry, ...]
    files: dict[str, str]
    versions: dict[str, str] = field(default_factory=dict)
    format: str = FORMAT

    def write(self, root: Path) -> None:
        """Write ``bundle.json``."""
        write_json(asdict(self), root / BUNDLE)


def listed_files(root: Path) -> Iterator[Path]:
    """Yield the files of a folder that a bundle lists, in order."""
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        hidden = any(part.startswith(".") for part in parts)
        if path.is_file() and not hidden and path.suffix != ".lock" and not set(parts) & set(NOT_LISTED):
            yield path


def bundle_above(path: Path) -> Path | None:
    """Return the bundle that a path lies in, or ``None``."""
    place = path.expanduser().absolute()
    for folder in (place, *place.parents):
        if (folder / BUNDLE).is_file() and read_json(folder / BUNDLE).get("format") == FORMAT:
            return folder
    return None


def check_bundled(path: Path, *, alone: bool = False) -> None:
    """Compare the files at and below a path with the list of the bundle that it lies in; elsewhere do nothing.

    Args:
        path: a file or folder that is about to be used.
        alone: whether a file that is not listed is an error too.

    Raises:
        UserError: a file is missing, has changed, or is not listed.
    """
    root = bundle_above(path)
    if root is None:
        return
    bundle = build(Bundle, read_json(root / BUNDLE), str(root / BUNDLE))
    start = path.expanduser().absolute().relative_to(root)
    notes, new = Notes(root / CHECKED), {}
    for name, expected in bundle.files.items():
        if Path(name) != start and start not in Path(name).parents:
            continue
        file = root / name
        if not file.is_file():
            raise UserError(f"the bundle {root} lacks {name}, which {BUNDLE} lists: {AGAIN}")
        state = file_state(file)
        known = notes.get(state)
        if known is None:
            known = new[state] = file_hash(file)
        if known != expected:
            raise UserError(
                f"{file} is not the file that the bundle was made with (SHA-256 {known[:16]}…, not {expected[:16]}…): {AGAIN}"
            )
    notes.add(new)
    if alone and path.is_dir():
        for file in listed_files(path):
            if (start / file.relative_to(path)).as_posix() not in bundle.files:
                raise UserError(f"{file} is not in the list of the bundle {root}: remove it, or {AGAIN}")
