"""Facts of a study beside its scores, as plain data: how cells went, what they cost, how training ran, what to beware of.

It is read from `study.json` in a study's folder (`comparison/reading/study_file.py`), which docs/report_data.md describes field
by field. Nothing of it enters a test; the report shows it. Whatever is unknown is None, or an empty list or mapping.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from comparison.findings import Finding, check_rows

DONE, FAILED, DIVERGED, UNFINISHED = "done", "failed", "diverged", "unfinished"
TOLERANCE = 0.01  # of the sum of a row of attention mass
COUNTS = (
    "step",
    "trainable_parameters",
    "training_seconds",
    "evaluation_texts_per_second",
    "evaluation_tokens_per_second",
    "peak_memory_bytes",
    "count",
    "total",
    "texts",
    "cut",
    "max_length",
)


class _Counted:
    """Facts of which some are counts, which are not negative."""

    def __post_init__(self) -> None:
        """Check the fields that are counts.

        Raises:
            ValueError: a count is negative.
        """
        for name in COUNTS:
            value = getattr(self, name, None)
            if isinstance(value, int | float) and value < 0:
                raise ValueError(f"{name}: {value} is negative")


@dataclass(frozen=True)
class CurvePoint(_Counted):
    """One step of a run's `metrics.jsonl` that has a loss or scores; figures that it lacks, or that are not finite, are None.

    Attributes:
        step: optimizer steps so far.
        loss: mean over the steps since the line before.
        grad_norm: before clipping.
        learning_rate: at this step.
        accuracy: share of queries whose positive scores highest in the batch.
        mean_cosine: of two different queries; near 1 with `margin` near 0 the vectors have collapsed.
        margin: mean cosine of a query with its own positive minus that with others'.
        effective_rank: along how many directions the queries vary.
        eval_mean: mean main score of the tasks that were scored while training.
    """

    step: int
    loss: float | None = None
    grad_norm: float | None = None
    learning_rate: float | None = None
    accuracy: float | None = None
    mean_cosine: float | None = None
    margin: float | None = None
    effective_rank: float | None = None
    eval_mean: float | None = None


@dataclass(frozen=True)
class CellData(_Counted):
    """One cell: a design trained with one seed, or a baseline.

    Attributes:
        name: unique, such as ``model3-seed42``.
        design: such as ``model3``.
        system: the name under which it is compared; cells of one system are its runs. Empty: the design.
        folder: below ``cells/``; empty: the newest that has the cell's name.
        kind: ``design``, ``system`` (trained by a file of its own; no cell of the grid) or ``baseline``.
        attention: such as ``causal``.
        pooling: such as ``multi-layer trainable``.
        base_model: its name.
        setting: what a design was trained with that chose its own settings on development data; empty for the study's own.
        seed: None for a baseline that has none.
        status: ``done``, ``failed``, ``diverged`` or ``unfinished``.
        reason: why it is not done, in one line.
        trainable_parameters: all that are trained: LoRA or the base LLM's own, and the pooling.
        training_seconds: wall clock, all attempts together.
        evaluation_texts_per_second: over all its tasks.
        evaluation_tokens_per_second: the same in tokens.
        peak_memory_bytes: of training, on the device.
        device: what it ran on, such as ``NVIDIA H200`` or ``CPU, 2 threads``.
        curve: training curve, by step.
    """

    name: str
    design: str
    system: str = ""
    folder: str = ""
    kind: Literal["design", "system", "baseline"] = "design"
    attention: str = ""
    pooling: str = ""
    base_model: str = ""
    setting: str = ""
    seed: int | None = None
    status: Literal["done", "failed", "diverged", "unfinished"] = "done"
    reason: str = ""
    trainable_parameters: int | None = None
    training_seconds: float | None = None
    evaluation_texts_per_second: float | None = None
    evaluation_tokens_per_second: float | None = None
    peak_memory_bytes: int | None = None
    device: str = ""
    curve: list[CurvePoint] = field(default_factory=list)

    @property
    def compared_as(self) -> str:
        """The system that it is a run of."""
        return self.system or self.design

    @property
    def run_label(self) -> str:
        """Its run's label; empty for a baseline without a seed."""
        if self.seed is None:
            return ""
        return f"seed {self.seed}"


@dataclass(frozen=True)
class AttentionMass(_Counted):
    """Attention of a multi-layer pooling over layers, averaged over texts, ``(rows, layers)``, each row adding up to 1.

    Attributes:
        cell: its name.
        texts: the texts that were read, such as a task's name.
        by: ``head`` (mean over latents) or ``latent`` (mean over heads).
        mass: rows x layers 1..L, the first layer after the embeddings first.
        count: number of texts.
    """

    cell: str
    texts: str
    by: Literal["head", "latent"]
    mass: list[list[float]]
    count: int | None = None

    def __post_init__(self) -> None:
        """Check the rows, too.

        Raises:
            ValueError: rows of several lengths, or a row that is no distribution.
        """
        super().__post_init__()
        widths = {len(row) for row in self.mass}
        if len(widths) != 1 or 0 in widths:
            raise ValueError("mass: expected rows of equal length, one number a layer")
        for number, row in enumerate(self.mass):
            if min(row) < 0 or abs(sum(row) - 1) > TOLERANCE:
                raise ValueError(f"mass[{number}]: a row's masses are positive and add up to 1, not {sum(row):.4g}")


@dataclass(frozen=True)
class LeakedTexts(_Counted):
    """Texts of an evaluation task that stand in the training data.

    Attributes:
        training_file: where they stand.
        task: the task's name.
        count: number of the task's test texts or pairs that stand there.
        total: number of all its test texts or pairs.
        unit: ``texts`` or ``pairs``; ``parts`` for texts of which a training text holds at least half, by sequences of 13
            words; ``source`` where the names say that training data and task are of one source, and ``count`` is 1.
        examples: a few of them, shortened as you like.
    """

    training_file: str
    task: str
    count: int
    total: int | None = None
    unit: Literal["texts", "pairs", "parts", "source"] = "texts"
    examples: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check the count against the total, too.

        Raises:
            ValueError: more texts than there are.
        """
        super().__post_init__()
        if self.total is not None and self.count > self.total:
            raise ValueError(f"{self.count} of {self.total} {self.unit} are found")


@dataclass(frozen=True)
class Truncation(_Counted):
    """Texts that were cut.

    Attributes:
        task: a task's name, or ``training``.
        side: such as ``query`` or ``document``.
        texts: number of texts that were read.
        cut: number of texts that were cut.
        max_length: in tokens.
    """

    task: str
    side: str
    texts: int
    cut: int
    max_length: int | None = None

    def __post_init__(self) -> None:
        """Check the cut texts against all, too.

        Raises:
            ValueError: more texts were cut than read.
        """
        super().__post_init__()
        if self.cut > self.texts:
            raise ValueError(f"{self.cut} of {self.texts} texts are cut")


@dataclass(frozen=True)
class TextTable:
    """A table as it is shown.

    Attributes:
        title: what it shows.
        head: titles of the columns, the system's first.
        rows: a text for each column.
        notes: sentences on what the figures mean and do not mean.
    """

    title: str
    head: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check the rows.

        Raises:
            ValueError: a row has more or fewer texts than there are columns.
        """
        check_rows(self.head, self.rows)


@dataclass(frozen=True)
class DataFile:
    """Something that results depend on.

    Attributes:
        name: a training file, a task's data, a base model.
        role: such as ``training``, ``evaluation`` or ``base model``.
        hash: of its content.
        rows: number of examples or texts.
    """

    name: str
    role: str
    hash: str
    rows: int | None = None


@dataclass(frozen=True)
class Command:
    """A command line that made something, and what it makes."""

    what: str
    line: str


@dataclass(frozen=True)
class StudyData:
    """Everything that `study.json` says.

    Attributes:
        title: the study's name.
        cells: all of them, also those that failed or are not there yet.
        gains: absolute scores by task, and gains of trained over untrained designs; None where no headline task was named.
        attention: of multi-layer poolings.
        findings: what was measured beside scores, such as a search of settings.
        leakage: found between training and test texts; None where nobody looked.
        truncation: by task and side.
        warnings: further sentences that a reader should know, such as settings that differ between cells.
        recipe: training settings, nested as they are in the study file.
        versions: of libraries, the driver, the machine.
        data: files and models that results depend on, with hashes.
        commands: to make everything again.
    """

    title: str = ""
    cells: list[CellData] = field(default_factory=list)
    gains: TextTable | None = None
    attention: list[AttentionMass] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    leakage: list[LeakedTexts] | None = None
    truncation: list[Truncation] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    recipe: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    data: list[DataFile] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
