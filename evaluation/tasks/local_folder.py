"""A local task folder, read once: its files, its `task.json`, the kind of task that it is, and the hash of its content."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

from common.build import build
from common.errors import UserError, nearest
from common.json_text import json_fault, parse_json
from common.lines import read_bytes
from evaluation.tasks.local_files import SUFFIXES, data_files, iter_rows, stem
from evaluation.tasks.schemas import EVALUATED, SCHEMAS, SPLITS, Layout, TaskSchema, schema_named, schema_of_columns

SETTINGS_FILE = "task.json"
DEFAULT_SUBSET = "default"
TOKENISED_SUBSET = "mteb_tok"  # mteb's tokenised copy, which stands for the default subset
FILE_NAME = re.compile(r"[^./\\\x00-\x1f\x7f-\x9f\ud800-\udfff][^/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]*")
MOST_BYTES = 230  # of a name, so that it names files with a suffix
RESERVED = "model_meta"  # mteb's own file beside the results
PIECE = 1 << 24  # bytes read at once

FilesBySplit = dict[str, Path]


@dataclass(frozen=True)
class FolderSettings:
    """The content of a folder's `task.json`; None for what it does not say.

    Raises:
        ValueError: a text is empty, the name files no result, or there is no such type.
    """

    name: str | None = None
    type: str | None = None
    main_score: str | None = None
    description: str | None = None

    def __post_init__(self) -> None:
        for key, text in vars(self).items():
            if text == "":
                raise ValueError(f"{key} is empty")
        if self.name is not None and (fault := name_fault(self.name)):
            raise ValueError(f"the name {self.name[:60]!r} {fault}")
        if self.type is not None and schema_named(self.type) is None:
            hint = nearest(self.type, SCHEMAS)
            raise ValueError(f"unknown type {self.type!r}{hint}; valid types are {', '.join(SCHEMAS)}")


@dataclass(frozen=True)
class FileState:
    """A file as it was when its folder was listed."""

    path: Path
    size: int
    changed_ns: int


@dataclass(frozen=True)
class LocalFolder:
    """A task folder as it was when it was listed. Settings, kind and hash are read when they are first needed.

    Attributes:
        path: of the folder.
        states: of its data files, sorted by path, and of its `task.json`.
    """

    path: Path
    states: tuple[FileState, ...]

    @property
    def content(self) -> list[Path]:
        """The data files, and `task.json` where there is one: all that scores depend on."""
        return [state.path for state in self.states]

    @property
    def files(self) -> list[Path]:
        """The data files, sorted by path."""
        return [path for path in self.content if path.name != SETTINGS_FILE]

    @property
    def names(self) -> list[str]:
        """Names of the data files from the folder on, such as `qrels/test.tsv`."""
        return [path.relative_to(self.path).as_posix() for path in self.files]

    @property
    def size(self) -> int:
        """Bytes of the data files."""
        return sum(state.size for state in self.states if state.path.name != SETTINGS_FILE)

    def current(self) -> LocalFolder:
        """Return this listing if no file has changed since, else a new one: no stale hash stands for new data."""
        listing = list_folder(self.path)
        if listing == self:
            return self
        return listing

    @cached_property
    def hash(self) -> str:
        """Hash of names and bytes of the content (16 hex digits): another document, another hash."""
        digest = hashlib.sha256()
        for state in self.states:
            digest.update(f"{state.path.relative_to(self.path)}\0{state.size}\0".encode())
            with state.path.open("rb") as file:
                while piece := file.read(PIECE):
                    digest.update(piece)
        return digest.hexdigest()[:16]

    @cached_property
    def settings(self) -> FolderSettings:
        """The folder's `task.json`.

        Raises:
            UserError: it is malformed, or has an unknown key, type or a name that files no result.
        """
        path = self.path / SETTINGS_FILE
        return read_settings(path) if path in self.content else FolderSettings()

    @cached_property
    def schema(self) -> TaskSchema:
        """The kind of task: what `task.json` says, else what the names and columns of the files say.

        Raises:
            UserError: the files make no task; the message lists them and the columns of the first row.
        """
        if self.settings.type is not None and (stated := schema_named(self.settings.type)):
            return stated
        stems = list(map(stem, self.files))
        if "corpus" in stems:
            return SCHEMAS["retrieval"]
        path = self._scored_file()
        if path is None:
            raise UserError(f"{self.path} is no task: it needs test.jsonl(.gz) or corpus.jsonl(.gz), and has {stems or 'none'}")
        row = next(iter_rows(path), None)
        if row is None:
            raise UserError(f"{path} is empty")
        schema = schema_of_columns(row)
        if schema is None:
            raise UserError(f"{path}: the columns {', '.join(row) or '(none)'} fit no task type ({_columns_of_kinds()})")
        return schema

    def _scored_file(self) -> Path | None:
        """Return a file of the split that is scored, to tell the kind by."""
        for split in EVALUATED:
            for files in self.subsets(split).values():
                return files[split]
        return None

    def subsets(self, *needed: str) -> dict[str, FilesBySplit]:
        """Return the files by subset and split (`{"en": {"test": …}}`), for subsets that have all `needed` splits."""
        complete = {}
        for subset, files in self._files_by_subset.items():
            if files.keys() >= set(needed):
                complete[subset] = files
        return complete

    @cached_property
    def _files_by_subset(self) -> dict[str, FilesBySplit]:
        subsets: dict[str, FilesBySplit] = {}
        for path in self.files:
            words = stem(path).split(".")
            split = next((word for word in words if word in SPLITS), None)
            if split is None or "queries" in words or "qrels" in words or path.parent != self.path:
                continue
            subset = ".".join(word for word in words if word != split) or DEFAULT_SUBSET
            first = subsets.setdefault(subset, {}).setdefault(split, path)
            if first != path:
                raise UserError(f"{self.path} has {first.name} and {path.name}: which one is meant? Remove one")
        if TOKENISED_SUBSET in subsets:
            tokenised = subsets.pop(TOKENISED_SUBSET)
            subsets[DEFAULT_SUBSET] = {**subsets.get(DEFAULT_SUBSET, {}), **tokenised}
        return subsets

    def names_of(self, *stems: str) -> list[str]:
        """Return the names of the data files, from the folder on, that have one of these stems (`corpus`, `qrels/test`)."""
        candidates = [f"{wanted}{suffix}" for wanted, suffix in product(stems, SUFFIXES)]
        return [name for name in candidates if name in self.names]

    def file(self, *stems: str) -> Path:
        """Return the only data file with one of these stems. Other files are no part of the hash, and are not read.

        Raises:
            UserError: there is none, or there are several.
        """
        names = self.names_of(*stems)
        if len(names) > 1:
            raise UserError(f"{self.path} has {' and '.join(names)}: which one is meant? Remove the others")
        if not names:
            raise UserError(f"{self.path} has no {' or '.join(_possible_names(stems))}; it has {self.names}")
        return self.path / names[0]


def list_folder(path: Path) -> LocalFolder:
    """List a task folder; nothing is read yet."""
    states = []
    for file in [*data_files(path), path / SETTINGS_FILE]:
        if file.is_file():
            status = file.stat()
            states.append(FileState(file, status.st_size, status.st_mtime_ns))
    return LocalFolder(path, tuple(states))


def read_settings(path: Path) -> FolderSettings:
    """Read a `task.json`.

    Raises:
        UserError: it is malformed, or has an unknown key, type or a name that files no result.
    """
    try:
        content = parse_json(read_bytes(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not valid JSON: {json_fault(error)}") from None
    return build(FolderSettings, content, str(path))


def name_fault(name: str) -> str:
    """Return why results cannot be filed under a name, or ""."""
    if not FILE_NAME.fullmatch(name):
        return "cannot name a file: no slash, control character, half a character or dot in front"
    size = len(name.encode())
    if size > MOST_BYTES:
        return f"cannot name a file: it has {size} bytes, {MOST_BYTES} are the most"
    if name.lower() == RESERVED:
        return "is that of a file that mteb writes beside the results"
    return ""


def _columns_of_kinds() -> str:
    kinds = []
    for schema in SCHEMAS.values():
        if schema.layout is not Layout.CORPUS:
            kinds.append(f"{schema.kind}: {', '.join(schema.needed)}")
    return "; ".join(kinds)


def _possible_names(stems: tuple[str, ...]) -> list[str]:
    names = []
    for wanted in stems:
        if "/" in wanted:
            names.append(f"{wanted}.tsv")
        else:
            names += [f"{wanted}.jsonl", f"{wanted}.jsonl.gz"]
    return names
