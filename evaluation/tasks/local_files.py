"""Local task folders: which files a folder holds, what type of task they make, and their rows.

The files are JSON lines, plain or gzip-compressed. Their names and columns say what the task is:

| type             | files                                                         | columns                              |
|------------------|---------------------------------------------------------------|--------------------------------------|
| `sts`            | `test`                                                        | `sentence1, sentence2, score`        |
| `pair`           | `test`                                                        | `sentence1, sentence2, label` (0, 1) |
| `classification` | `train`, `test`                                               | `text, label`                        |
| `clustering`     | `test`                                                        | `sentence, label`                    |
| `reranking`      | `test`                                                        | `query, positive[], negative[]`      |
| `retrieval`      | `corpus` (`id, text`, maybe `title`), `queries` (`id, text`), | `query-id, corpus-id, score`         |
|                  | `qrels.test` or BEIR's `qrels/test.tsv`                       |                                      |

Texts may be empty. The split is `test`; a folder with the name of one of mteb's tasks has the split that the task is scored
on, such as `qrels.dev` for MSMARCO. A subset goes before or after the split's name (`en.test.jsonl.gz`,
`test.en-en.jsonl`). `test.mteb_tok`, where there is one, stands for `test`: it is the tokenised copy that mteb distributes
and published scores are made with.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, cast

from common.errors import UserError, nearest

Row = dict[str, Any]

COLUMNS: dict[str, tuple[str, ...]] = {
    "reranking": ("query", "positive", "negative"),
    "sts": ("sentence1", "sentence2", "score"),
    "pair": ("sentence1", "sentence2", "label"),
    "classification": ("text", "label"),
    "clustering": ("sentence", "label"),
    "retrieval": ("query-id", "corpus-id", "score"),
}
TEXTS = ("text", "title", "sentence", "sentence1", "sentence2", "query")
LISTS = ("positive", "negative")
IDS = ("id", "query-id", "corpus-id")
MTEB_TYPES = {
    "reranking": "Reranking",
    "sts": "STS",
    "pair": "PairClassification",
    "classification": "Classification",
    "clustering": "Clustering",
    "retrieval": "Retrieval",
}
EVALUATED = ("test", "dev", "validation")
SPLITS = ("train", *EVALUATED)
FILE_NAME = re.compile(r"[^./\\\x00-\x1f\x7f\ud800-\udfff][^/\\\x00-\x1f\x7f\ud800-\udfff]*")
MOST_BYTES = 230  # of a name, so that it names files with a suffix
TAKEN = "model_meta"  # mteb's own file beside the results
SETTINGS = ("name", "type", "main_score", "description")
PIECE = 1 << 24  # bytes read at once
SUFFIXES = (".jsonl.gz", ".jsonl", ".tsv")


def stem(path: Path) -> str:
    """Return the file's name without its data suffix (`test` of `test.jsonl.gz`), or "" if it is no data file."""
    return next((path.name.removesuffix(s) for s in SUFFIXES if path.name.endswith(s)), "")


def data_files(folder: Path) -> list[Path]:
    """Return the data files of a task folder, `qrels/*.tsv` included, sorted by path."""
    return sorted(p for p in [*folder.glob("*.jsonl*"), *folder.glob("qrels/*.tsv")] if p.is_file() and stem(p))


def content_hash(folder: Path) -> str:
    """Hash names and bytes of a folder's data files and `task.json`: another document, another hash (16 hex digits)."""
    digest = hashlib.sha256()
    for path in [*data_files(folder), folder / "task.json"]:
        if path.is_file():
            digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                while piece := file.read(PIECE):
                    digest.update(piece)
    return digest.hexdigest()[:16]


def read_settings(folder: Path) -> dict[str, str]:
    """Return the folder's `task.json` (`name`, `type`, `main_score`, `description`; all optional), or {}."""
    path = folder / "task.json"
    if not path.is_file():
        return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(settings, dict):
        raise UserError(f"{path} must hold one JSON object, with the keys {', '.join(SETTINGS)}")
    for key in settings:
        if key not in SETTINGS:
            raise UserError(f"{path}: unknown key {key!r}{nearest(key, SETTINGS)}; valid keys are {', '.join(SETTINGS)}")
        if not isinstance(settings[key], str) or not settings[key]:
            raise UserError(f"{path}: {key} must be a string that is not empty")
    if fault := name_fault(settings.get("name", "task")):
        raise UserError(f"{path}: the name {settings['name'][:60]!r} {fault}")
    if "type" in settings:
        kind = str({mteb: own for own, mteb in MTEB_TYPES.items()}.get(settings["type"], settings["type"]))
        if kind not in COLUMNS:
            raise UserError(f"{path}: unknown type {kind!r}{nearest(kind, COLUMNS)}; valid types are {', '.join(COLUMNS)}")
        settings["type"] = kind
    return settings


def name_fault(name: str) -> str:
    """Return why results cannot be filed under a name, or ""."""
    if not FILE_NAME.fullmatch(name):
        return "cannot name a file: no slash, control character, half a character or dot in front"
    if len(name.encode()) > MOST_BYTES:
        return f"cannot name a file: it has {len(name.encode())} bytes, {MOST_BYTES} are the most"
    return "is that of a file that mteb writes beside the results" if name.lower() == TAKEN else ""


def task_type(folder: Path) -> str:
    """Return a key of `COLUMNS`: what `task.json` says, else what the files' names and columns say.

    Raises:
        UserError: the files make no task; the message lists them and the columns found.
    """
    stated = read_settings(folder).get("type")
    if stated:
        return stated
    stems = [stem(path) for path in data_files(folder)]
    if "corpus" in stems:
        return "retrieval"
    subsets = next((found for split in EVALUATED if (found := split_files(folder, [split]))), {})
    if not subsets:
        raise UserError(f"{folder} is no task: it needs test.jsonl(.gz) or corpus.jsonl(.gz), and has {stems or 'none'}")
    files = next(iter(subsets.values()))
    path = next(files[split] for split in EVALUATED if split in files)
    first = next(iter_rows(path), None)
    if first is None:
        raise UserError(f"{path} is empty")
    for kind, columns in COLUMNS.items():
        if set(columns) <= set(first):
            return kind
    wanted = "; ".join(f"{kind}: {', '.join(columns)}" for kind, columns in COLUMNS.items() if kind != "retrieval")
    raise UserError(f"{path}: the columns {', '.join(first) or '(none)'} fit no task type ({wanted})")


def split_files(folder: Path, needed: Sequence[str] = ("test",)) -> dict[str, dict[str, Path]]:
    """Return the files by subset and split (`{"en": {"test": …}}`), for subsets that have all `needed` splits."""
    subsets: dict[str, dict[str, Path]] = {}
    for path in data_files(folder):
        parts = stem(path).split(".")
        split = next((part for part in parts if part in SPLITS), None)
        if split is None or "queries" in parts or "qrels" in parts or path.parent != folder:
            continue
        subset = ".".join(part for part in parts if part != split) or "default"
        there = subsets.setdefault(subset, {}).setdefault(split, path)
        if there != path:
            raise UserError(f"{folder} has {there.name} and {path.name}: which one is meant? Remove one")
    if "mteb_tok" in subsets:
        subsets["default"] = {**subsets.get("default", {}), **subsets.pop("mteb_tok")}
    return {subset: splits for subset, splits in subsets.items() if set(needed) <= set(splits)}


def iter_rows(path: Path, columns: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the rows of a JSON lines or TSV file.

    Raises:
        UserError: the file is missing, a line is no JSON object or lacks one of `columns`; the message names file and line.
    """
    try:
        with _open(path) as lines:
            if path.suffix == ".tsv":
                table = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
                missing = [column for column in columns if column not in (table.fieldnames or ())]
                if missing:
                    raise UserError(f"{path}: the first line must name the columns {', '.join(columns)}")
                yield from table
                return
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _parse(line, columns, f"{path}:{number}")
    except FileNotFoundError:
        raise UserError(f"{path} is missing; the folder has {[p.name for p in data_files(path.parent)]}") from None
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def _open(path: Path) -> TextIO:
    """Open a file as text; the mark that some editors put in front of UTF-8 is no part of it."""
    if path.suffix == ".gz":
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8-sig"))
    return path.open(encoding="utf-8-sig", newline="")


def _parse(line: str, columns: Sequence[str], where: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not valid JSON ({error})") from None
    if not isinstance(row, Mapping):
        raise UserError(f"{where}: a line must be one JSON object, this is a {type(row).__name__}")
    row = dict(row)
    if "_id" in row:  # BEIR's name
        row.setdefault("id", row.pop("_id"))
    missing = [column for column in columns if row.get(column) is None]
    if missing:
        raise UserError(f"{where}: no {' and no '.join(missing)}; the keys are {', '.join(row)}")
    for column in (*columns, "title", *(("id",) if "positive" in columns else ())):
        if row.get(column) is not None and (fault := _fault(column, row[column])):
            raise UserError(f"{where}: {column} {fault}, found {json.dumps(row[column])[:60]}")
    return row


def _is_id(value: Any) -> bool:
    """Whether a value names a row; 7.0 is how pandas writes whole numbers of a column with gaps."""
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _fault(column: str, value: Any) -> str:
    """Return what is wrong with the value of a column, or ""."""
    if column in TEXTS and not isinstance(value, str):
        return "must be a text"
    if column in IDS and not _is_id(value):
        return "must be a text that is not empty, or a whole number"
    if column in LISTS and not (isinstance(value, list) and all(isinstance(text, str) for text in value)):
        example = json.dumps([value if isinstance(value, str) else "a text"], ensure_ascii=False)
        return f"must be a list of texts: write {example[:60]}"
    try:
        for text in value if column in LISTS else [value]:
            str(text).encode()
    except UnicodeEncodeError:
        return "has half a character (a lone surrogate)"
    if column == "label" and not isinstance(value, str | int):
        return "must be a text or a whole number"
    if column == "label" and isinstance(value, int) and not -(2**63) <= value < 2**63:  # Arrow's and numpy's largest integers
        return "must fit 64 bits: write it as a text"
    if column == "score":
        try:
            return "" if math.isfinite(float(value)) else "must be a finite number"
        except (TypeError, ValueError):
            return "must be a number"
    return ""
