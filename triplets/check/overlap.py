"""Find texts of evaluation data in the training data, by file and line on both sides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import neighbour
from common.text_hash import text_hashes
from triplets.check.scan import ROLES, Scan
from triplets.check.text_index import Span, TextIndex
from triplets.dataset import TripletRows
from triplets.folders import data_files
from triplets.formats import PlacedRow
from triplets.formats import rows as rows_of

BATCH_ROWS = 2500
SHOWN_CHARACTERS = 80
# Keys of labels, which are texts in some data, and of scores, which are texts in a CSV file.
NO_TEXTS = frozenset(("label", "labels", "label_text", "class", "category", "gold_label", "score"))


@dataclass
class Overlap:
    """Texts that one evaluation file shares with the training data.

    Attributes:
        file: the evaluation file.
        rows: number of its rows.
        texts: number of its texts.
        fields: by field, the number of texts that stand in the training data.
        shared_rows: rows with at least one such text.
        together: rows with two texts that stand in the same training row, such as a pair with its label.
        training_rows: by data set, the number of its rows that hold such a text.
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
    """The index of all training texts, with the role of each.

    Attributes:
        rows: of the training data.
        index: of their texts.
        roles: int8 ``(texts,)``: positions in `ROLES`, in the order of the index.
    """

    def __init__(self, scan: Scan, rows: TripletRows) -> None:
        self.rows = rows
        numbers = np.arange(len(rows))
        hashes = np.concatenate([scan.queries, scan.positives, scan.negatives])
        self.index = TextIndex(hashes, np.concatenate([numbers, numbers, scan.owners]), text_hashes)
        counts = [len(scan.queries), len(scan.positives), len(scan.negatives)]
        self.roles = np.repeat(np.arange(len(ROLES), dtype=np.int8), counts)[self.index.order]

    def occurrence(self, position: int) -> tuple[str, str]:
        """Return the place and the role of the text at a position of the index."""
        place: str = self.rows[int(self.index.owners[position])]["place"]
        return place, ROLES[int(self.roles[position])]


def evaluation_files(paths: list[str]) -> list[Path]:
    """Return the data files behind ``--against``: files, and all those in folders.

    Raises:
        UserError: no such path, or no data in it.
    """
    files: list[Path] = []
    for name in paths:
        path = Path(name).expanduser()
        if not path.exists():
            raise UserError(f"--against {name}: there is no such file or folder{neighbour(path)}")
        files += data_files(path)
    return list(dict.fromkeys(files))


def overlap(file: Path, training: TrainingTexts, examples: int) -> Overlap:
    """Look up every text of an evaluation file in the training data."""
    result = Overlap(str(file))
    is_shared = np.zeros(len(training.rows), dtype=bool)
    lines = rows_of(file)
    while batch := list(islice(lines, BATCH_ROWS)):
        _look_up(batch, training, result, is_shared, examples)
    starts = training.rows.starts
    for number, part in enumerate(training.rows.parts):
        count = int(is_shared[starts[number] : starts[number + 1]].sum())
        if count:
            result.training_rows[part.label] = count
    return result


def _look_up(batch: list[PlacedRow], training: TrainingTexts, result: Overlap, is_shared: np.ndarray, examples: int) -> None:
    """Add some evaluation rows to ``result``, and mark the training rows that share a text in ``is_shared``."""
    occurrences = []  # number of the row in the batch, field, text
    for number, (_, row) in enumerate(batch):
        occurrences += [(number, name, text) for name, text in text_fields(row)]
    spans = training.index.spans(text for _, _, text in occurrences)
    result.rows, result.texts = result.rows + len(batch), result.texts + len(occurrences)
    spans_by_row: dict[int, list[Span]] = {}
    for (number, name, text), (start, end) in zip(occurrences, spans, strict=True):
        if start == end:
            continue
        is_shared[training.index.owners[start:end]] = True
        result.fields[name] = result.fields.get(name, 0) + 1
        spans_by_row.setdefault(number, []).append((start, end))
        if len(result.examples) < examples:
            place, role = training.occurrence(start)
            example = {"evaluation": batch[number][0], "field": name, "training": place, "role": role}
            result.examples.append(example | {"text": " ".join(text.split())[:SHOWN_CHARACTERS]})
    result.shared_rows += len(spans_by_row)
    result.together += sum(map(training.index.share_a_row, spans_by_row.values()))


def text_fields(row: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text in a row with its field, also inside lists and objects; keys of identifiers and labels are left out."""
    if isinstance(row, str):
        if row.strip():
            yield name or "text", row
    elif isinstance(row, list):
        for part in row:
            yield from text_fields(part, name)
    elif isinstance(row, dict):
        for key, value in row.items():
            if not (is_identifier(str(key)) or str(key).lower() in NO_TEXTS):
                yield from text_fields(value, f"{name}.{key}" if name else str(key))


def is_identifier(key: str) -> bool:
    """Whether a key holds a number or name of something, not a text: ``id``, ``_id``, ``query-id``, ``corpus_id``."""
    return key.lower().replace("-", "_").rpartition("_")[2] == "id"


def texts_to_leave_out(files: Iterable[Path]) -> set[int]:
    """Return the hashes of all texts in some files, in lists too, but for identifiers and labels: those of evaluation sets.

    Of a document with a title both are there alone and together, as retrieval reads it.
    """
    hashes: set[int] = set()
    for path in files:
        for file in data_files(path):
            for _, row in rows_of(file):
                texts = [text for _, text in text_fields(row)]
                if isinstance(row, dict) and row.get("title") and isinstance(row.get("text"), str):
                    texts.append(f"{row['title']} {row['text']}")
                hashes.update(text_hashes(texts).tolist())
    return hashes
