"""Which texts of evaluation data stand in the training data, by file and line on both sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from common.files import neighbour
from common.text_hash import text_hashes
from triplets.check.scan import ROLES, Scan
from triplets.dataset import TripletRows
from triplets.formats import data_files
from triplets.formats import rows as rows_of

BATCH_TEXTS = 10_000
MOST_ROWS = 1000  # training rows of one text that are compared with those of the others in its row


@dataclass
class Overlap:
    """What one evaluation file shares with the training data.

    Attributes:
        file: the evaluation file.
        rows: how many it has.
        texts: how many texts they have.
        fields: texts that stand in the training data, by the field they are in.
        shared_rows: rows with at least one such text.
        together: rows of which two texts or more stand in one training row: a pair with its label, say.
        training_rows: by data set, how many of its rows hold such a text.
        examples: evaluation place, field, training place, role there, the text's beginning.
    """

    file: str
    rows: int = 0
    texts: int = 0
    fields: dict[str, int] = field(default_factory=dict)
    shared_rows: int = 0
    together: int = 0
    training_rows: dict[str, int] = field(default_factory=dict)
    examples: list[dict[str, str]] = field(default_factory=list)


class TrainingTexts:
    """The hashes of all training texts, sorted, each with its row and role."""

    def __init__(self, found: Scan, rows: TripletRows) -> None:
        self.rows = rows
        hashes = np.concatenate([found.queries, found.positives, found.negatives])
        numbers = np.arange(len(rows))
        order = np.argsort(hashes, kind="stable")
        self.hashes = hashes[order]
        self.owners = np.concatenate([numbers, numbers, found.owners])[order]
        counts = [len(found.queries), len(found.positives), len(found.negatives)]
        self.roles = np.repeat(np.arange(3, dtype=np.int8), counts)[order]

    def find(self, texts: list[str]) -> list[tuple[int, int]]:
        """Return for each text where its training texts begin and end in the sorted order."""
        wanted = text_hashes(texts)
        starts, ends = (np.searchsorted(self.hashes, wanted, side=side) for side in ("left", "right"))
        return list(zip(starts.tolist(), ends.tolist(), strict=True))


def evaluation_files(paths: list[str]) -> list[Path]:
    """Return the data files behind ``--against``: files, and all that lie in folders.

    Raises:
        UserError: no such path, or no data in it.
    """
    found: list[Path] = []
    for name in paths:
        path = Path(name).expanduser()
        if not path.exists():
            raise UserError(f"--against {name}: there is no such file or folder{neighbour(path)}")
        found += data_files(path)
    return list(dict.fromkeys(found))


def overlap(file: Path, training: TrainingTexts, examples: int) -> Overlap:
    """Look up every text of an evaluation file in the training data."""
    result = Overlap(str(file))
    hit = np.zeros(len(training.rows), dtype=bool)
    lines = rows_of(file)
    while batch := list(islice(lines, BATCH_TEXTS // 4)):
        texts = [(number, name, text) for number, (_, row) in enumerate(batch) for name, text in text_fields(row)]
        result.rows, result.texts = result.rows + len(batch), result.texts + len(texts)
        by_row: dict[int, list[tuple[int, int]]] = {}
        for (number, name, text), (start, end) in zip(texts, training.find([text for *_, text in texts]), strict=True):
            if start == end:
                continue
            hit[training.owners[start:end]] = True
            result.fields[name] = result.fields.get(name, 0) + 1
            by_row.setdefault(number, []).append((start, end))
            if len(result.examples) < examples:
                there = training.rows[int(training.owners[start])]["place"]
                role = ROLES[int(training.roles[start])]
                result.examples.append({"evaluation": batch[number][0], "field": name, "training": there, "role": role,
                                        "text": " ".join(text.split())[:80]})  # fmt: skip
        result.shared_rows += len(by_row)
        result.together += sum(_together(training, spans) for spans in by_row.values())
    starts = training.rows.starts
    for number, part in enumerate(training.rows.parts):
        count = int(hit[starts[number] : starts[number + 1]].sum())
        if count:
            result.training_rows[part.label] = count
    return result


def _together(training: TrainingTexts, spans: list[tuple[int, int]]) -> bool:
    """Whether two texts of one evaluation row stand in the same training row; two equal ones must stand there twice."""
    seen: set[int] = set()
    for (start, end), times in Counter(spans).items():
        owners, counts = np.unique(training.owners[start : min(end, start + MOST_ROWS)], return_counts=True)
        if times > 1 and (counts > 1).any():
            return True
        rows = set(owners.tolist())
        if seen & rows:
            return True
        seen |= rows
    return False


def text_fields(row: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text in a row, lists and objects inside it included, with its field; keys that are identifiers left out."""
    if isinstance(row, str):
        if row.strip():
            yield name or "text", row
    elif isinstance(row, list):
        for part in row:
            yield from text_fields(part, name)
    elif isinstance(row, dict):
        for key, value in row.items():
            if not is_identifier(str(key)):
                yield from text_fields(value, f"{name}.{key}" if name else str(key))


def is_identifier(key: str) -> bool:
    """Whether a key holds a number or name of something, not a text: ``id``, ``_id``, ``query-id``, ``corpus_id``."""
    return key.lower().replace("-", "_").rpartition("_")[2] == "id"
