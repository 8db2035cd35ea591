"""The record of a result, `recipes/<Task>.json`: what decided the scores, what they cost, and what makes them again.

The record is written last: without it the other files of a result do not count.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any

from common.errors import UserError
from common.files import write_whole
from common.json_text import json_fault, parse_json
from common.lines import read_bytes
from common.number_check import is_number

LIBRARIES = ("mteb", "torch", "transformers", "peft", "tokenizers", "numpy", "scipy", "scikit-learn", "datasets")
# What a record must say so that its task can be scored again.
NEEDED = (
    "task",
    "model",
    "origin",
    "recipe",
    "sides",
    "encoder",
    "scores",
    "dataset",
    "subsets",
    "splits",
    "evaluation_version",
    "main_score",
)
FIGURES = ("texts", "tokens", "cut", "reused", "again", "seconds")  # of a side
Scores = Mapping[str, Mapping[str, float]]  # the main score by subset and split


def library_versions() -> dict[str, str]:
    """Return the installed versions of what vectors and scores are computed with."""
    import platform  # these two are slow, and --help reads this module
    from importlib import metadata

    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def record_path(folder: Path, task_name: str) -> Path:
    """Return the path of a task's record in the results folder of a model and revision."""
    return folder / "recipes" / f"{task_name}.json"


@dataclass(frozen=True)
class Totals:
    """Sums over the sides of a task; None where the encoder did not count."""

    texts: int = 0
    tokens: int | None = None
    cut: int | None = None
    again: int = 0


@dataclass(frozen=True)
class Record:
    """A result's record; a field that an older version did not write has its default.

    Attributes:
        task: name of the task.
        type: mteb's name of its type.
        model: mteb's name of the model.
        revision: the folder of the result.
        key: hash of everything that the scores depend on.
        evaluation_version: `evaluation.encode.mteb_encoder.EVALUATION_VERSION` of the time.
        recipe: maximum length, prompts and further facts as the user gave them.
        encoder: design, dtype, base LLM and so on (`evaluation/encode/encoder_facts.py`).
        sides: by name, the fields of `evaluation.encode.counts.Side`.
        encoded_again: texts that were encoded a second time because runs had been killed.
        dataset: mteb's path and revision of the data.
        splits: that were scored.
        subsets: that were scored.
        main_score: mteb's name of it.
        scores: the main score by subset and split.
        all_scores: hash of all scores in mteb's result file.
        items: hash of the file of items.
        mteb_version: that scored.
        libraries: versions.
        processes: that encoded side by side.
        seconds: of encoding and scoring.
        seconds_encoding: of these, in which vectors were made or read.
        seconds_scoring: the others.
        texts_per_second: of the sides whose texts were all encoded.
        tokens_per_second: of the same sides.
        origin: where adapter, base LLM and data were.
        computed_as_revision: the folder from which the result was copied.
    """

    task: str = ""
    type: str = ""
    model: str = ""
    revision: str = ""
    key: str = ""
    evaluation_version: int = 0
    recipe: dict[str, Any] = field(default_factory=dict)
    encoder: dict[str, Any] = field(default_factory=dict)
    sides: dict[str, dict[str, Any]] = field(default_factory=dict)
    encoded_again: int = 0
    dataset: dict[str, Any] = field(default_factory=dict)
    splits: list[str] = field(default_factory=list)
    subsets: list[str] = field(default_factory=list)
    main_score: str = ""
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    all_scores: str | None = None
    items: str | None = None
    mteb_version: str | None = None
    libraries: dict[str, str] = field(default_factory=dict)
    processes: int = 1
    seconds: float = 0.0
    seconds_encoding: float = 0.0
    seconds_scoring: float = 0.0
    texts_per_second: float | None = None
    tokens_per_second: float | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    computed_as_revision: str | None = None

    @classmethod
    def read(cls, folder: Path, task_name: str) -> Record | None:
        """Return the record of a task in a results folder; None if there is none that can be read."""
        try:
            content = parse_json(read_bytes(record_path(folder, task_name)))
        except (OSError, ValueError):
            return None
        if not isinstance(content, dict) or misshapen(content):
            return None
        return cls.from_json(content)

    @classmethod
    def read_complete(cls, path: Path) -> Record:
        """Return the record at `path`, which says everything that scoring the task again needs.

        Raises:
            UserError: it is missing, no record, or one that does not say enough.
        """
        try:
            content = parse_json(read_bytes(path))
        except OSError as error:
            where = "give a file recipes/TASK.json of a results folder"
            raise UserError(f"the record {path} cannot be read ({error.strerror}): {where}") from None
        except ValueError as error:
            raise UserError(f"{path} is no valid JSON ({json_fault(error)})") from None
        missing = [key for key in NEEDED if not isinstance(content, dict) or key not in content]
        if missing:
            raise UserError(f"{path} is no record of a result that can be made again: it does not say {', '.join(missing)}")
        if odd := misshapen(content):
            raise UserError(f"{path} was changed or damaged: {', '.join(odd)} cannot be read")
        return cls.from_json(content)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Record:
        """Return a record of JSON values that have their types; null stands for a default."""
        values = {}
        for entry in fields(cls):
            if content.get(entry.name) is not None:
                values[entry.name] = content[entry.name]
        return cls(**values)

    def write(self, folder: Path) -> None:
        """Write the record into a results folder, whole or not at all: it makes the result valid."""
        content = dict(vars(self))
        if self.computed_as_revision is None:
            del content["computed_as_revision"]
        path = record_path(folder, self.task)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")

    def is_of(self, all_scores: str, items: str | None) -> bool:
        """Return whether the record was written with a result of these hashes; older records have none of the scores."""
        return self.all_scores in (None, all_scores) and self.items == items

    def totals(self) -> Totals:
        """Return the sums over the sides."""
        return Totals(self._total("texts") or 0, self._total("tokens"), self._total("cut"), self.encoded_again)

    def _total(self, name: str) -> int | None:
        counts = [side.get(name) for side in self.sides.values()]
        if not counts or None in counts:
            return None
        return sum(counts)  # type: ignore[arg-type]

    def compare(self, scores: Scores, tolerance: float) -> tuple[list[str], bool]:
        """Return a table of these scores beside the record's, and whether they are equal to `tolerance`."""
        lines = [f"{self.task}, {self.main_score}", f"  {'subset, split':<28}  {'then':>9}  {'now':>9}  difference"]
        equal = True
        for subset, splits in self.scores.items():
            for split, then in splits.items():
                now = scores.get(subset, {}).get(split, float("nan"))
                equal = equal and abs(now - then) <= tolerance
                where = f"{subset}, {split}"
                lines.append(f"  {where:<28}  {then:9.6f}  {now:9.6f}  {now - then:+.1e}")
        return lines, equal

    def changed_libraries(self) -> list[str]:
        """Return the libraries whose versions are not those of the record, each as `NAME THEN -> NOW`."""
        now = library_versions()
        changes = []
        for name in sorted({*now, *self.libraries}):
            if now.get(name) != self.libraries.get(name):
                changes.append(f"{name} {self.libraries.get(name)} -> {now.get(name)}")
        return changes


def misshapen(content: Mapping[str, Any]) -> list[str]:
    """Return the keys of a record whose values have another type than they are written with."""
    odd = []
    for name, default in vars(Record()).items():
        value = content.get(name)
        kind: type | UnionType = type(default)
        if isinstance(default, float):
            kind = int | float
        if value is None:
            if name in NEEDED and name in content:
                odd.append(name)
        elif default is not None and not isinstance(value, kind):
            odd.append(name)
    for name in ("sides", "scores"):
        entries = content.get(name)
        if isinstance(entries, dict) and not all(
            isinstance(entry, dict) and _has_numbers(name, entry) for entry in entries.values()
        ):
            odd.append(name)
    return odd


def _has_numbers(name: str, entry: Mapping[str, Any]) -> bool:
    """Whether the figures of a side, where there are some, or the scores of a subset are numbers."""
    if name == "scores":
        return all(map(is_number, entry.values()))
    return all(entry.get(figure) is None or is_number(entry[figure]) for figure in FIGURES)


def speeds(sides: Mapping[str, Mapping[str, Any]]) -> tuple[float | None, float | None]:
    """Return texts and tokens a second of the sides that were encoded whole; None where vectors were in the store."""
    fresh = [side for side in sides.values() if not side["reused"]]
    seconds = sum(side["seconds"] for side in fresh)
    if not seconds:
        return None, None
    texts_per_second = round(sum(side["texts"] for side in fresh) / seconds, 1)
    token_counts = [side["tokens"] for side in fresh]
    if None in token_counts:
        return texts_per_second, None
    return texts_per_second, round(sum(token_counts) / seconds, 1)
