"""Score one adapter in several widths and precisions; its texts are encoded once."""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from common.errors import UserError
from common.files import replacing
from common.hashes import digest
from evaluation.evaluate import evaluate
from evaluation.tasks.find import TaskSpec, find_tasks
from model_loaders import load
from model_loaders.embed_model import EmbedModel
from model_loaders.text.prompts import Role
from model_loaders.vectors.compress import Precision, bytes_of, check_precision, compress, ranges_of, restore, unit


@dataclass(frozen=True)
class Setting:
    """A width and a precision of vectors.

    Attributes:
        dimensions: numbers of a vector.
        precision: of ``PRECISIONS``.
    """

    dimensions: int
    precision: Precision

    @property
    def bytes(self) -> int:
        """Bytes of a vector."""
        return bytes_of(self.dimensions, self.precision)


@dataclass(frozen=True)
class Row:
    """The scores of a setting.

    Attributes:
        setting: width and precision.
        scores: main score by task.
    """

    setting: Setting
    scores: dict[str, float]

    @property
    def mean(self) -> float:
        """Mean of the tasks' main scores."""
        return float(np.mean(list(self.scores.values())))


class Memory:
    """An encoder that keeps each text's vector.

    Attributes:
        model: encodes.
        vectors: by text, role, prompt and maximum length; float32 ``(dim,)``, unit.
    """

    def __init__(self, model: EmbedModel) -> None:
        self.model = model
        self.vectors: dict[tuple[str, Role, str | None, int | None], np.ndarray] = {}

    def encode(self, texts: list[str], role: Role, prompt: str | None, max_length: int | None) -> np.ndarray:
        """Return the vectors of texts, ``(len(texts), dim)``; those that are known are not encoded again."""
        keys = [(text, role, prompt, max_length) for text in texts]
        new = list(dict.fromkeys(key for key in keys if key not in self.vectors))
        if new:
            vectors = self.model.encode([key[0] for key in new], role, prompt=prompt, max_length=max_length)
            self.vectors.update(zip(new, vectors, strict=True))
        return np.stack([self.vectors[key] for key in keys])

    def all(self, dimensions: int) -> np.ndarray:
        """Return all vectors that are known, cut to ``dimensions`` and unit: what ranges of int8 are taken from."""
        return unit(np.stack(list(self.vectors.values()))[:, :dimensions])


class CompressedEncoder:
    """An encoder whose vectors score as compressed ones do.

    Attributes:
        dim: width of the vectors.
        recipe: of the model.
        design_name: name of the results, such as ``model3_64_int8``, or what ``name`` makes of the setting.
        version: of the vectors.
    """

    def __init__(self, memory: Memory, setting: Setting, name: str | None = None) -> None:
        self.memory, self.setting = memory, setting
        self.ranges: np.ndarray | None = None
        if setting.precision in ("int8", "uint8"):
            self.ranges = ranges_of(memory.all(setting.dimensions))
        model = memory.model
        self.dim, self.recipe, self.dtype = setting.dimensions, model.recipe, model.dtype
        self.design_name = name_of(name or f"{model.design_name}_{{dimensions}}_{{precision}}", setting)
        ranges = None if self.ranges is None else self.ranges.tolist()
        self.version = digest([model.version, setting.dimensions, setting.precision, ranges], digits=16)

    def encode(
        self,
        texts: list[str],
        role: Role = "document",
        *,
        prompt: str | None = None,
        max_length: int | None = None,
        batch_size: int = 32,
        **options: Any,
    ) -> np.ndarray:
        """Return unit float32 vectors ``(len(texts), dim)`` whose cosines are the scores of the compressed ones."""
        setting = self.setting
        vectors = unit(self.memory.encode(texts, role, prompt, max_length)[:, : setting.dimensions])
        codes = compress(vectors, setting.precision, self.ranges)
        return unit(restore(codes, setting.precision, setting.dimensions, self.ranges))


def name_of(name: str, setting: Setting) -> str:
    """Return the name of a setting's results.

    >>> name_of("cut-{dimensions}-seed1", Setting(64, "int8"))
    'cut-64-seed1'
    """
    return name.replace("{dimensions}", str(setting.dimensions)).replace("{precision}", setting.precision)


def check_name(name: str | None, settings: list[Setting]) -> None:
    """Raise a UserError where two settings have one name: the results of one would stand for both."""
    if name is not None and len({name_of(name, setting) for setting in settings}) < len(settings):
        raise UserError(f"name: {name!r} is the same for two settings: put {{dimensions}} or {{precision}} into it, or both")


def score_settings(args: argparse.Namespace) -> None:
    """Score the adapter in all settings and write table and plot.

    Raises:
        UserError: adapter or tasks cannot be read, a setting makes no sense, or a task fails.
    """
    model = load(args.adapter, args.base_model, cache_dir=args.cache_dir, device=args.device, dtype=args.dtype)
    settings = settings_of(model.dim, args.dimensions, args.precisions)
    check_name(args.name, settings)
    tasks = find_tasks(args.tasks, args.data_dir)
    rows, memory = [], Memory(model)
    for setting in settings:  # the first is float32 of all numbers: it fills the memory
        rows.append(score(CompressedEncoder(memory, setting, args.name), tasks, args.output_dir, args.prompts))
        print(line_of(rows[-1], rows[0]), flush=True)
    write_table(rows, args.output_dir / "compression.csv", Path(args.adapter).name)
    draw(rows, args.output_dir / "compression.svg")
    print(f"wrote {args.output_dir / 'compression.csv'} and {args.output_dir / 'compression.svg'}")


def settings_of(width: int, dimensions: list[int], precisions: list[str]) -> list[Setting]:
    """Return all pairs of a width and a precision, float32 of all numbers first."""
    for wanted in dimensions:
        if not 1 <= wanted <= width:
            raise UserError(f"dimensions is {wanted}; the vectors have {width} numbers")
    for precision in precisions:
        check_precision(precision)
    settings = []
    for wanted in dict.fromkeys([width, *sorted(dimensions, reverse=True)]):
        settings += [Setting(wanted, precision) for precision in dict.fromkeys(["float32", *precisions])]  # type: ignore[arg-type]
    return settings


def score(encoder: CompressedEncoder, tasks: list[TaskSpec], output_dir: Path, prompts: str | None = None) -> Row:
    """Score one setting; ``prompts`` is that of `EvaluationOptions`."""
    evaluation = evaluate(encoder, tasks, output_dir, prompts=prompts)
    scores = {}
    for task in tasks:
        value = evaluation.score(task.name)
        if value is None:
            raise UserError(f"{task.name} has no score with {encoder.design_name}; its reason is in {output_dir}")
        scores[task.name] = value
    return Row(encoder.setting, scores)


def line_of(row: Row, first: Row) -> str:
    """Return a setting's score as a line."""
    setting = row.setting
    change = f" ({row.mean - first.mean:+.4f})" if row is not first else ""
    return f"{setting.dimensions:6} × {setting.precision:8} {setting.bytes:7} bytes  mean score {row.mean:.4f}{change}"


def write_table(rows: list[Row], path: Path, model: str) -> None:
    """Write one line for each setting: width, precision, bytes, mean, each task's score, and the model's name."""
    tasks = list(rows[0].scores)
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["dimensions", "precision", "bytes", "mean", *tasks, "model"])
        for row in rows:
            setting, scores = row.setting, [f"{row.scores[task]:.6f}" for task in tasks]
            table.writerow([setting.dimensions, setting.precision, setting.bytes, f"{row.mean:.6f}", *scores, model])


def draw(rows: list[Row], path: Path) -> None:
    """Draw mean score against bytes, one line for each precision."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for precision in dict.fromkeys(row.setting.precision for row in rows):
        points = sorted((row.setting.bytes, row.mean) for row in rows if row.setting.precision == precision)
        axes.plot([point[0] for point in points], [point[1] for point in points], marker="o", label=precision)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("bytes of a vector")
    axes.set_ylabel(f"mean main score of {len(rows[0].scores)} tasks")
    axes.legend()
    with replacing(path) as part:
        figure.savefig(part, format="svg")
