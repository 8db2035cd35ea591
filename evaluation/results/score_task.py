"""The score of one task: taken if it is there already, else computed with mteb, with what mteb does not keep beside it."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import datasets
import mteb
import numpy as np
from mteb.abstasks import AbsTask, AbsTaskClustering, AbsTaskRetrieval
from mteb.results import TaskResult

from common.disk import check_writable
from common.errors import UserError
from common.hashes import digest
from common.locks import locked
from evaluation.encode.mteb_encoder import EVALUATION_VERSION, MtebEncoder
from evaluation.encode.saved_vectors import EmbeddingFiles
from evaluation.encode.search import BoundedSearch
from evaluation.encode.unfinished import UnfinishedShards
from evaluation.encode.vector_store import ShardStore
from evaluation.results.cached import ResultFolder
from evaluation.results.failure import failure_path
from evaluation.results.item_scores import items_path, keeps_items, record_items, write_draws
from evaluation.results.outcome import TaskScore
from evaluation.results.record import Record, Scores, library_versions, speeds
from evaluation.tasks.find import TaskSpec

ROWS_AT_ONCE = 2048  # of mteb's data loaders, which only read: batches of the model are another matter


@dataclass
class TaskScorer:
    """Scores tasks with one encoder into one output directory.

    Attributes:
        model: the encoder as mteb sees it; gives name and revision.
        output_dir: holds `results/`.
        save_predictions: keep mteb's prediction files.
        embedding_cache: store of vectors that is kept; None for one in the task's working folder.
        save_embeddings: folder for the vectors of each task, to be looked at; None for nowhere.
        origin: where adapter, base LLM and data were found, for the record.
        processes: that encode side by side.
    """

    model: MtebEncoder
    output_dir: Path
    save_predictions: bool = False
    embedding_cache: Path | None = None
    save_embeddings: Path | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)
    processes: int = 1
    results: ResultFolder = field(init=False)

    def __post_init__(self) -> None:
        self.results = ResultFolder(self.output_dir, self.model.mteb_model_meta)

    @property
    def folders(self) -> list[Path]:
        """Where a task's files are written."""
        folders = [self.output_dir]
        if self.save_embeddings is not None:
            folders.append(self.save_embeddings)
        if self.embedding_cache is not None:
            folders.append(self.embedding_cache)
        return [*folders, Path(tempfile.gettempdir())]

    @property
    def _recipe(self) -> dict[str, Any]:
        """The user's settings, for the record."""
        return {**self.model.recipe, "prompts": self.model.plan.settings}

    def score(self, spec: TaskSpec) -> TaskScore:
        """Return the score of a task, computed now unless there is a result for the same revision and data.

        Raises:
            InUseError: another process is computing it.
        """
        task = spec.task()
        key = self.model.key(task.metadata)
        result = self.results.take(task, key, self._recipe)
        vectors = self._embedding_files(task)
        cached = result is not None and (vectors is None or vectors.whole()) and not self._lacks_predictions(task)
        if result is None or not cached:
            check_writable(self.output_dir)
            lock = self.output_dir / ".locks" / f"{self.model.mteb_model_meta.revision}.{spec.name}"
            with locked(lock, f"{spec.name} in {self.output_dir}", patience=0):
                wider = self._with_recorded_parts(spec, task, key)
                result = self._compute(wider, wider.task(), vectors)
        else:
            self.results.mend_meta(result)
        return task_score(task, result, cached, self.results.path)

    def _lacks_predictions(self, task: AbsTask) -> bool:
        """Return whether mteb's prediction file of a task is wanted and not there."""
        return self.save_predictions and not self.results.predictions_path(task.metadata.name).is_file()

    def _with_recorded_parts(self, spec: TaskSpec, task: AbsTask, key: str) -> TaskSpec:
        """Add the subsets and splits of the result that is there: the new result takes its place."""
        record = Record.read(self.results.path, spec.name)
        if record is None or record.key != key:
            return spec
        subsets = tuple(dict.fromkeys([*task.hf_subsets, *record.subsets]))
        splits = tuple(dict.fromkeys([*task.eval_splits, *record.splits]))
        if (len(subsets), len(splits)) == (len(task.hf_subsets), len(task.eval_splits)):
            return spec
        wider = replace(spec, subsets=subsets, splits=splits)
        try:
            wider.task()
        except UserError:  # this version of mteb has not all of them any more
            return spec
        return wider

    def _embedding_files(self, task: AbsTask) -> EmbeddingFiles | None:
        """Return where the vectors of a task are to be saved; None where they are not."""
        if self.save_embeddings is None:
            return None
        meta = self.model.mteb_model_meta
        stamp = {"model": meta.name, "revision": meta.revision, "data": task.metadata.revision}
        return EmbeddingFiles(self.save_embeddings / task.metadata.name, stamp)

    def _compute(self, spec: TaskSpec, task: AbsTask, vectors: EmbeddingFiles | None) -> TaskResult:
        """Compute the scores of a task; an older result stands until they are complete and checked."""
        with quiet_libraries():
            spec.load(task)
        self.model.load()
        name = spec.name
        unfinished = UnfinishedShards(self.output_dir / "embeddings" / self.model.mteb_model_meta.revision / name)
        scratch = ResultFolder(unfinished.folder / "scored", self.model.mteb_model_meta)
        shutil.rmtree(scratch.output_dir, ignore_errors=True)  # left by a run that was killed
        store = ShardStore(self.embedding_cache or unfinished.folder)
        with quiet_libraries(), self.model.scoring(name, store, unfinished, vectors):
            began = time.monotonic()
            self._score_with_mteb(task, scratch)
            seconds = time.monotonic() - began
        result = scratch.cache.load_task_result(name, scratch.meta)  # as rounded when it was saved
        check_numbers(task, result)
        self.results.install(name, result, scratch.path)
        if isinstance(task, AbsTaskClustering):
            self._write_draws(task, result)
        self._record(spec, task, result, seconds, unfinished.again()).write(self.results.path)
        failure_path(self.results.path, name).unlink(missing_ok=True)
        unfinished.remove()
        return result

    def _score_with_mteb(self, task: AbsTask, scratch: ResultFolder) -> None:
        """Let mteb score a task, all of it: vectors of subsets that a killed run had scored are in the store."""
        predictions = scratch.path / "predictions"
        if keeps_items(task):
            record_items(task, items_path(scratch.path, task.metadata.name), predictions if self.save_predictions else None)
        model: MtebEncoder | BoundedSearch = self.model
        if isinstance(task, AbsTaskRetrieval):
            model = BoundedSearch(self.model)
        try:
            mteb.evaluate(
                model,
                task,
                co2_tracker=False,
                encode_kwargs={"batch_size": ROWS_AT_ONCE, "show_progress_bar": False},
                cache=scratch.cache,
                overwrite_strategy="always",
                prediction_folder=predictions if keeps_items(task) or self.save_predictions else None,
                show_progress_bar=False,
            )
        except KeyError as error:
            if error.args == (task.metadata.main_score,):
                raise UserError(
                    f"tasks of type {task.metadata.type} have no score {error.args[0]!r}: mend main_score in task.json"
                ) from None
            raise

    def _write_draws(self, task: AbsTaskClustering, result: TaskResult) -> None:
        """Write the items of a clustering task, which are in mteb's result."""
        path = items_path(self.results.path, task.metadata.name)
        for split, entries in result.scores.items():
            for entry in entries:
                subset = entry["hf_subset"]
                sizes = getattr(task, "sizes_of_draws", {}).get((subset, split), {})
                write_draws(path, (subset, split), entry["v_measures"], sizes)

    def _record(self, spec: TaskSpec, task: AbsTask, result: TaskResult, seconds: float, again: int) -> Record:
        """Return the record of a result whose other files are written."""
        meta = self.model.mteb_model_meta
        sides = self.model.sides.record(spec.name)
        encoding = sum(side["seconds"] for side in sides.values())
        texts_per_second, tokens_per_second = speeds(sides)
        data_folder = str(spec.folder.resolve()) if spec.folder else None
        return Record(
            task=spec.name,
            type=task.metadata.type,
            model=meta.name,
            revision=meta.revision,
            key=self.model.key(task.metadata),
            evaluation_version=EVALUATION_VERSION,
            recipe=self._recipe,
            encoder=self.model.facts(),
            sides=sides,
            encoded_again=again,
            dataset=dict(task.metadata.dataset),
            splits=list(task.eval_splits),
            subsets=list(task.hf_subsets),
            main_score=task.metadata.main_score,
            scores=main_scores(task, result),
            all_scores=digest(result.scores),
            items=self.results.items_hash(spec.name),
            mteb_version=result.mteb_version,
            libraries=library_versions(),
            processes=self.processes,
            seconds=round(seconds, 3),
            seconds_encoding=round(encoding, 3),
            seconds_scoring=round(seconds - encoding, 3),
            texts_per_second=texts_per_second,
            tokens_per_second=tokens_per_second,
            origin={**self.origin, "folder": data_folder},
        )


def task_score(task: AbsTask, result: TaskResult, cached: bool, folder: Path) -> TaskScore:
    """Return the main score of a result in `folder`, with the sums of its record."""
    means = {}
    for subset, scores in main_scores(task, result).items():
        means[subset] = float(np.mean(list(scores.values())))
    record = Record.read(folder, task.metadata.name) or Record()
    totals = record.totals()
    items = items_path(folder, task.metadata.name)
    return TaskScore(
        name=task.metadata.name,
        type=task.metadata.type,
        metric=task.metadata.main_score,
        score=float(np.mean(list(means.values()))),
        subsets=means,
        seconds=float(result.evaluation_time or 0.0),
        cached=cached,
        items=items if items.exists() else None,
        again=totals.again,
        texts=totals.texts,
        tokens=totals.tokens,
        cut=totals.cut,
        mteb_version=result.mteb_version,
    )


def main_scores(task: AbsTask, result: TaskResult) -> dict[str, dict[str, float]]:
    """Return the main score by subset and split."""
    scores: dict[str, dict[str, float]] = {}
    for split in task.eval_splits:
        for entry in result.scores[split]:
            if entry["hf_subset"] in task.hf_subsets:
                scores.setdefault(entry["hf_subset"], {})[split] = float(entry["main_score"])
    return scores


def check_numbers(task: AbsTask, result: TaskResult) -> None:
    """Check that all main scores are numbers: a mean with another value would be none either.

    Raises:
        UserError: a score is not a number.
    """
    scores: Scores = main_scores(task, result)
    for subset, splits in scores.items():
        for split, score in splits.items():
            if not np.isfinite(score):
                raise UserError(
                    f"{task.metadata.main_score} of {task.metadata.name} ({subset}, {split}) is not a number: all its gold "
                    "scores or labels are the same, or all its vectors, as where a prompt is as long as --max_length and "
                    "leaves no room for the text. Such a task measures nothing: mend that, or leave the task out"
                )


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence what mteb and datasets say of each task: bars of mapped rows, superseded versions."""
    mteb_logger = logging.getLogger("mteb")
    level = mteb_logger.level
    bars_were_off = datasets.are_progress_bars_disabled()
    mteb_logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(mteb|sklearn)\b")  # sklearn: labels that no text was given
            warnings.filterwarnings("ignore", message=".*superseded.*")
            yield
    finally:
        mteb_logger.setLevel(level)
        if not bars_were_off:
            datasets.enable_progress_bars()
