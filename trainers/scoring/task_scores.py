"""The scores of tasks with a model in training, the same as those of its checkpoint.

This is the one module of the room that imports `evaluation`: it is imported by runs with ``--eval_tasks`` alone, since mteb
takes seconds.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from common.errors import UserError
from common.files import first_line, read_json_or_empty, write_json
from evaluation.encode.distributed import Processes
from evaluation.encode.lazy_model import NOTES
from evaluation.encode.rank import ProcessLost, Rank
from evaluation.encode.sharded_encoder import OnBatch, encode_here
from evaluation.encode.vector_store import Shard
from evaluation.evaluate import evaluate
from evaluation.options import EvaluationOptions
from evaluation.results.outcome import Evaluation
from evaluation.results.score_task import quiet_libraries
from evaluation.tasks.availability import check_rows
from evaluation.tasks.find import TaskSpec, find_tasks
from evaluation.tasks.local_folder import list_folder
from model_loaders.embed_model import EmbedModel
from model_loaders.encoding import Encoded
from model_loaders.fingerprints import as_loaded
from model_loaders.layouts.source import open_base
from model_loaders.text.prompts import Role
from model_loaders.version import content_hash
from trainers.scoring.evaluation import Stop
from trainers.scoring.selection import OWN_NAMES
from trainers.step.distributed import from_first
from trainers.step.random_state import get_random_state, set_random_state

FOLDER = "eval_tasks"  # in the output directory: step-N, each as an output directory of run_mteb.py
DATA_FILE = "data.json"  # in that folder: the data of each task, by its hash
SILENCE = 30.0  # seconds of an evaluation before its progress is shown


class StopScoring(BaseException):
    """The run was told to stop while tasks were scored. No ``Exception``, so that it is taken for no failure of a task."""


class TaskScores:
    """Scores the tasks of a run; called on every process, of which the first one scores and all encode.

    Attributes:
        names: of the tasks.
        specs: the tasks, on the first process.
        folder: of the results.
        base_content: hash of the base LLM's files, which results depend on.
        processes: that encode together; None for this one alone.
        stop: a request to stop the run.
    """

    def __init__(
        self, names: Sequence[str], specs: Sequence[TaskSpec], folder: Path, base_content: str, processes: Processes | None
    ) -> None:
        self.names, self.specs, self.folder = list(names), list(specs), folder
        self.base_content, self.processes = base_content, processes
        self.stop: Stop | None = None

    def score(self, model: EmbedModel, step: int, *, may_stop: bool) -> dict[str, float] | None:
        """Score all tasks with the weights as they are; neither they nor the random generators change.

        Args:
            model: in training.
            step: number of steps that led to it.
            may_stop: whether a request to stop the run ends the scoring.

        Returns:
            The main score of each task by its name; None where the run was told to stop meanwhile.

        Raises:
            UserError: a task failed.
        """
        try:
            with kept_random_states(model.device), as_loaded(model):
                if self.processes is not None and not self.processes.rank.first:
                    self.processes.serve()
                scores, signal = from_first(lambda: self._score_here(model, step, may_stop=may_stop))
        except ProcessLost as error:  # told apart by `trainers.run.together`
            raise RuntimeError(f"connection lost: {error}") from error
        if scores is None and self.stop is not None:
            self.stop.agreed = signal
        return scores

    def _score_here(self, model: EmbedModel, step: int, *, may_stop: bool) -> tuple[dict[str, float] | None, int]:
        """Score on the first process; returns the scores, or None and the signal to stop for."""

        def requested() -> int:
            return self.stop.requested if self.stop is not None and may_stop else 0

        folder = self.folder / f"step-{step}"
        encoder = model if self.processes is not None else StoppableModel(model, requested)
        if isinstance(self.processes, StoppableProcesses):
            self.processes.requested = requested
        options = EvaluationOptions(recipe={"base_content": self.base_content})
        try:
            evaluation = evaluate(
                encoder, self.specs, folder, options, processes=self.processes, log=after_silence(f"step {step}")
            )
        except StopScoring:
            return None, requested()
        finally:
            if self.processes is not None:
                self.processes.close()
        if evaluation.failures:
            name, reason = next(iter(evaluation.failures.items()))
            raise UserError(
                f"--eval_tasks {name} could not be scored after step {step}: {reason}. Earlier checkpoints are whole: mend the "
                "task, or leave it out, and go on with --resume_from_checkpoint true"
            )
        drop_others(evaluation)
        return {name: evaluation.score(name) for name in self.names}, 0

    def check_data(self, *, goes_on: bool) -> None:
        """Note the tasks' data, or compare them with those that the run was scored on before; called on every process.

        Args:
            goes_on: whether the run goes on from a checkpoint.

        Raises:
            UserError: the data of a task changed.
        """

        def compare() -> None:
            data = {spec.name: str(spec.task().metadata.dataset.get("revision")) for spec in self.specs}
            path = self.folder / DATA_FILE
            before = read_json_or_empty(path) if goes_on else {}
            for name, revision in data.items():
                if before.get(name, revision) != revision:
                    raise UserError(
                        f"the data of the task {name} are not those that this run was scored on before, and the scores could "
                        "not be compared: restore them, leave the task out of --eval_tasks, or give the folder another name"
                    )
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(before | data, path)

        from_first(compare)


class StoppableModel:
    """An ``EmbedModel`` whose encoding ends with `StopScoring` when the run is told to stop; all else is the model's."""

    def __init__(self, model: EmbedModel, requested: Callable[[], int]) -> None:
        self._model, self._requested = model, requested

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def encode(self, texts: list[str], role: Role = "document", **options: Any) -> np.ndarray:
        """Encode as the model does."""
        return self.encode_counted(texts, role, **options).vectors

    def encode_counted(
        self, texts: list[str], role: Role = "document", *, on_batch: OnBatch | None = None, **options: Any
    ) -> Encoded:
        """Encode as the model does, and look for the request after each batch."""

        def watch(count: int, tokens: int) -> None:
            if self._requested():
                raise StopScoring
            if on_batch is not None:
                on_batch(count, tokens)

        return self._model.encode_counted(texts, role, on_batch=watch, **options)


class StoppableProcesses(Processes):
    """Processes whose encoding ends with `StopScoring` between two shards, when no process waits for another one."""

    requested: Callable[[], int] = staticmethod(lambda: 0)

    def encode(
        self, texts: list[str], role: Role, prompt: str | None, max_length: int | None, on_batch: OnBatch | None = None
    ) -> Shard:
        """Encode a shard on all processes."""
        if self.requested():
            raise StopScoring
        return super().encode(texts, role, prompt, max_length, on_batch)


def open_tasks(
    entries: Sequence[str], model: EmbedModel, output_dir: Path, cache_dir: str | None, place: tuple[int, int]
) -> TaskScores:
    """Find the tasks and read their rows once, so that what cannot be scored is known before the first step.

    Args:
        entries: ``--eval_tasks``.
        model: to be scored.
        output_dir: of the run.
        cache_dir: the hub's.
        place: rank of this process and number of processes; called on every one.

    Raises:
        UserError: on all processes: a task is unknown, or its rows cannot be read.
    """
    specs: list[TaskSpec] = []

    def read() -> tuple[list[str], str]:
        specs.extend(readable_tasks(entries))
        directory, _ = open_base(model.base_model.name_or_path, cache_dir)
        folder = output_dir / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        return [spec.name for spec in specs], content_hash(directory, folder / NOTES)

    names, base_content = from_first(read)
    processes, rank = None, Rank(*place)
    if rank.size > 1:
        processes = StoppableProcesses(rank, encode_here(model), watched=False)  # `trainers.run.together` watches them
    return TaskScores(names, specs, output_dir / FOLDER, base_content, processes)


def readable_tasks(entries: Sequence[str]) -> list[TaskSpec]:
    """Return the tasks of ``--eval_tasks``, each once; their rows have been read, and left again.

    Raises:
        UserError: as `open_tasks`.
    """
    specs: dict[str, TaskSpec] = {}
    for entry in entries:
        for spec in named_tasks(entry):
            if specs.setdefault(spec.name, spec).folder != spec.folder:
                raise UserError(f"--eval_tasks {entry}: there are two tasks named {spec.name}: rename a folder")
    for name in OWN_NAMES:
        if name in specs:
            raise UserError(f"--eval_tasks: a task cannot be named {name!r}, as a figure of the log is: rename its folder")
    checked = check_rows(list(specs.values()))
    for spec in checked:
        try:
            with quiet_libraries():
                spec.load(spec.task())
        except UserError as error:
            raise UserError(f"--eval_tasks {spec.name}: {error}") from error
        except Exception as error:  # whatever the hub's libraries raise
            raise UserError(f"--eval_tasks {spec.name}: its rows cannot be had ({first_line(error)})") from error
    return checked


def named_tasks(entry: str) -> list[TaskSpec]:
    """Return the tasks of a folder, of a folder of such folders, or of a name of mteb."""
    path = Path(entry).expanduser()
    try:
        if not path.is_dir():
            return find_tasks([entry])
        if not list_folder(path).files:
            return find_tasks(data_dir=path)
        path = path.resolve()
        specs = [spec for spec in find_tasks(data_dir=path.parent) if spec.folder == path]
        if not specs:
            raise UserError("a hidden folder is no task: rename it")
        return specs
    except UserError as error:
        raise UserError(f"--eval_tasks {entry}: {error}") from error


@contextmanager
def kept_random_states(device: torch.device) -> Iterator[None]:
    """Put every random generator back after the block: mteb seeds all of them."""
    python, legacy, tensors = random.getstate(), np.random.get_state(), get_random_state(device)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        set_random_state(tensors, device)


def after_silence(place: str) -> Callable[[str], None]:
    """Return a function that prints lines of progress once an evaluation takes long."""
    began = time.monotonic()

    def show(line: str) -> None:
        if time.monotonic() - began >= SILENCE:
            tqdm.write(f"{place}: {line}")

    return show


def drop_others(evaluation: Evaluation) -> None:
    """Remove results of other weights of this step: those of a start of the run that went on otherwise."""
    for folder in evaluation.folder.parent.iterdir():
        if folder.is_dir() and folder != evaluation.folder:
            rmtree(folder)
