"""Score one adapter in several widths and precisions; its texts are encoded once."""

from __future__ import annotations

import argparse
import csv
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from common.errors import UserError
from common.files import replacing
from common.hashes import digest
from evaluation.evaluate import evaluate
from evaluation.results.outcome import Evaluation
from evaluation.results.record import Record
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

    @property
    def in_steps(self) -> bool:
        """Whether the range of each number is cut into steps."""
        return self.precision in ("int8", "uint8")


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
        ranges: of int8 and uint8, ``(2, dim)``; those of all vectors that the memory knows, where none are given.
    """

    def __init__(self, memory: Memory, setting: Setting, name: str | None = None, ranges: np.ndarray | None = None) -> None:
        self.memory, self.setting = memory, setting
        self.ranges: np.ndarray | None = None
        if setting.in_steps:
            self.ranges = ranges_of(memory.all(setting.dimensions)) if ranges is None else ranges
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
    memory = Memory(model)
    plain = CompressedEncoder(memory, settings[0], args.name)  # float32 of all numbers: it fills the memory
    first = evaluated(plain, tasks, args.output_dir, args.prompts)
    widths = list(dict.fromkeys(setting.dimensions for setting in settings if setting.in_steps))
    ranges = ranges_by_width(plain, first, tasks, widths, args.output_dir, args.prompts)
    rows = [row_of(settings[0], first)]
    print(line_of(rows[0], rows[0]), flush=True)
    for setting in settings[1:]:
        encoder = CompressedEncoder(memory, setting, args.name, ranges.get(setting.dimensions))
        rows.append(row_of(setting, evaluated(encoder, tasks, args.output_dir, args.prompts)))
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


def evaluated(encoder: CompressedEncoder, tasks: list[TaskSpec], output_dir: Path, prompts: str | None = None) -> Evaluation:
    """Score one setting on all tasks; ``prompts`` is that of `EvaluationOptions`.

    Raises:
        UserError: a task failed.
    """
    evaluation = evaluate(encoder, tasks, output_dir, prompts=prompts)
    for task, reason in evaluation.failures.items():
        raise UserError(f"{task} has no score with {encoder.design_name}: {reason}")
    return evaluation


def row_of(setting: Setting, evaluation: Evaluation) -> Row:
    """Return a setting's main scores by task."""
    return Row(setting, {score.name: score.score for score in evaluation.scores})


def ranges_by_width(
    plain: CompressedEncoder,
    first: Evaluation,
    tasks: list[TaskSpec],
    widths: list[int],
    output_dir: Path,
    prompts: str | None = None,
) -> dict[int, np.ndarray]:
    """Return the ranges of int8 by width, ``(2, width)``: those of the vectors of all texts of all tasks.

    They are kept in ``output_dir/ranges``. Without the file, texts that this run took results or stored vectors of are encoded
    again, so that a run that was stopped has the ranges of one that was not.

    Args:
        plain: float32 of all numbers.
        first: its scores.
        tasks: that were scored.
        widths: that ranges are wanted of.
        output_dir: of the results.
        prompts: as `evaluated` takes them.

    Raises:
        UserError: a task failed.
    """
    key = _key_of_texts(first, tasks)
    paths = {width: output_dir / "ranges" / f"{key}-{width}.npy" for width in widths}
    ranges: dict[int, np.ndarray] = {}
    for width, path in paths.items():
        kept = _read_ranges(path, width)
        if kept is not None:
            ranges[width] = kept
    missing = [width for width in widths if width not in ranges]
    unseen = [task for task in tasks if not _encoded_now(first, task.name)]
    if missing and unseen:
        with tempfile.TemporaryDirectory() as scratch:
            evaluated(plain, unseen, Path(scratch), prompts)
    for width in missing:
        ranges[width] = ranges_of(plain.memory.all(width))
        paths[width].parent.mkdir(parents=True, exist_ok=True)
        with replacing(paths[width]) as part, part.open("wb") as file:
            np.save(file, ranges[width])
    return ranges


def _key_of_texts(first: Evaluation, tasks: list[TaskSpec]) -> str:
    """Hash what decides the vectors: the keys of the results, and which parts of the tasks are scored."""
    facts = []
    for spec in tasks:
        task = spec.task()
        record = Record.read(first.folder, spec.name) or Record()
        facts.append([spec.name, record.key, sorted(task.hf_subsets), sorted(task.eval_splits)])
    return digest(sorted(facts), digits=16)


def _encoded_now(first: Evaluation, task: str) -> bool:
    """Return whether this run encoded all texts of a task: neither its result nor a vector was there."""
    cached = any(score.cached for score in first.scores if score.name == task)
    record = Record.read(first.folder, task) or Record()
    return not cached and not any(side.get("reused") for side in record.sides.values())


def _read_ranges(path: Path, width: int) -> np.ndarray | None:
    """Return the ranges in a file; None if it is not there or damaged."""
    try:
        ranges = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return ranges if ranges.shape == (2, width) and np.isfinite(ranges).all() else None


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
