"""One task's way to its score: take the result that is there, or compute it with mteb and keep what mteb does not."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import tempfile
import time
import traceback
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
from mteb.cache import ResultCache
from mteb.results import TaskResult

from common.disk import chain, check_writable, not_writable
from common.errors import UserError
from common.locks import locked
from evaluation.availability import reason as no_rows
from evaluation.embeddings import EmbeddingFiles
from evaluation.encoder import EVALUATION_VERSION, MtebEncoder
from evaluation.items import items_path, keeps_items, record_items, write_draws
from evaluation.journal import Journal
from evaluation.keys import KEY, adopt, record_path, recorded_key, write_record
from evaluation.record import library_versions, read_record, speeds, totals
from evaluation.search import BoundedSearch
from evaluation.shards import ShardStore
from evaluation.tasks import TaskSpec

logger = logging.getLogger(__name__)

ROWS_AT_ONCE = 2048  # of mteb's data loaders, which only read: batches of the model are another matter


@dataclass(frozen=True)
class TaskScore:
    """The main score of a task.

    Attributes:
        name: task.
        type: mteb's name of its type.
        metric: mteb's name of the score, such as `ndcg_at_10`.
        score: mean over the task's subsets and splits; a fraction, not per cent.
        subsets: score of each subset.
        seconds: time that scoring took when it was done.
        cached: whether the result was there already.
        items: file with scores item by item, None where a type has none.
        again: texts that were encoded a second time, since runs before this one had been killed.
        texts: texts of all sides that mteb asked for; 0 where the record does not say.
        tokens: of these texts as encoded; None where the encoder does not count.
        cut: of these texts, those longer than the maximum length; None where the encoder does not count.
        mteb_version: that scored it.
    """

    name: str
    type: str
    metric: str
    score: float
    subsets: dict[str, float]
    seconds: float
    cached: bool
    items: Path | None
    again: int = 0
    texts: int = 0
    tokens: int | None = None
    cut: int | None = None
    mteb_version: str | None = None


@dataclass
class Run:
    """One encoder's results in one output directory.

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

    @property
    def cache(self) -> ResultCache:
        """Mteb's view of the output directory."""
        return ResultCache(self.output_dir)

    @property
    def folder(self) -> Path:
        """Where the results of this model and revision are."""
        return Path(self.cache.get_task_result_path("any", self.model.mteb_model_meta)).parent

    @property
    def folders(self) -> list[Path]:
        """Where a task's files are written."""
        return [place for place in (self.output_dir, self.save_embeddings, self.embedding_cache) if place] + [
            Path(tempfile.gettempdir())
        ]

    @property
    def _recipe(self) -> dict[str, Any]:
        """What was asked for, for the record."""
        return {**self.model.recipe, "prompts": self.model.plan.settings}

    def journal(self, task_name: str) -> Journal:
        """Return the notes of a task that is being scored; they are removed when it is."""
        return Journal(self.output_dir / "embeddings" / self.model.mteb_model_meta.revision / task_name)

    def score(self, spec: TaskSpec) -> TaskScore:
        """Return the score of a task, computed now unless there is a result for the same revision and data.

        Raises:
            InUseError: another process is computing it.
        """
        task = spec.task()
        key = self.model.key(task.metadata)
        if recorded_key(self.folder, spec.name) != key:
            adopt(self.folder, spec.name, key, self._recipe)
        result = self._cached(task, key)
        cached = result is not None
        files = self._embedding_files(task)
        if result is None or (files is not None and not files.whole()):
            cached = False
            check_writable(self.output_dir)
            lock = self.output_dir / ".locks" / f"{self.model.mteb_model_meta.revision}.{spec.name}"
            with locked(lock, f"{spec.name} in {self.output_dir}", patience=0):
                whole = self._with_recorded(spec, task, key)
                result = self._score_now(whole, whole.task(), files)
        elif not readable(self.folder / "model_meta.json") and not not_writable(self.output_dir):  # mteb needs it
            self.cache.save_to_cache(result, self.model.mteb_model_meta)
        items = items_path(self.folder, spec.name)
        record = read_record(self.folder, spec.name)
        return _task_score(task, result, cached, items if items.exists() else None, record)

    def _with_recorded(self, spec: TaskSpec, task: AbsTask, key: str) -> TaskSpec:
        """Return the task with the subsets and splits of the result that is there, too: the new one takes its place."""
        record = read_record(self.folder, spec.name)
        if record.get(KEY) != key:
            return spec
        try:
            subsets = tuple(dict.fromkeys([*task.hf_subsets, *record["subsets"]]))
            splits = tuple(dict.fromkeys([*task.eval_splits, *record["splits"]]))
            if (len(subsets), len(splits)) == (len(task.hf_subsets), len(task.eval_splits)):
                return spec
            wider = replace(spec, subsets=subsets, splits=splits)
            wider.task()
        except (KeyError, TypeError, UserError):  # a record that somebody wrote
            return spec
        return wider

    def _score_now(self, spec: TaskSpec, task: AbsTask, files: EmbeddingFiles | None) -> TaskResult:
        """Compute the scores of a task, and put them in the place of older ones when they are complete."""
        with _quiet():
            spec.load(task)
        self.model.load()
        journal = self.journal(spec.name)
        self.model.ledger.forget(spec.name)
        self.model.files = files
        try:
            with _quiet(), self.model.sharded.keeping(ShardStore(self.embedding_cache or journal.folder), journal):
                began = time.monotonic()
                scored = Scored(journal.folder / "scored", self.model.mteb_model_meta, task)
                self._compute(task, scored)
                seconds = time.monotonic() - began
            if files is not None:
                files.finish()
        finally:
            self.model.files = None
            if files is not None:
                files.abandon()
        result = scored.result()
        check_numbers(task, result)
        self._replace(task, result, scored)
        self._finish(spec, task, result, seconds)
        journal.remove()
        return result

    def _embedding_files(self, task: AbsTask) -> EmbeddingFiles | None:
        """Return where the vectors of a task are to be saved; None where they are not."""
        if self.save_embeddings is None:
            return None
        meta = self.model.mteb_model_meta
        stamp = {"model": meta.name, "revision": meta.revision, "data": task.metadata.revision}
        return EmbeddingFiles(self.save_embeddings / task.metadata.name, stamp)

    def _cached(self, task: AbsTask, key: str) -> TaskResult | None:
        """Return the result of this revision if it is complete and has this key; mteb alone would not ask."""
        name = task.metadata.name
        result = self._read(name)
        if recorded_key(self.folder, name) != key or result is None or result.get_missing_evaluations(task):
            return None
        record = read_record(self.folder, name)
        told = _tells_of(record, _main_scores(task, result)) and record.get("all_scores") in (None, _digest(result))
        if not told or record.get("items") != _hash(items_path(self.folder, name)):
            logger.warning("the result of %s is not the one that its record tells of; it is computed again", name)
            return None
        return result

    def _read(self, name: str) -> TaskResult | None:
        try:
            return self.cache.load_task_result(name, self.model.mteb_model_meta)
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # cut short, or JSON of another shape
            logger.warning("the result of %s cannot be read and is computed again: %s", name, error)
            with contextlib.suppress(OSError):
                self.cache.get_task_result_path(name, self.model.mteb_model_meta).unlink()
            return None

    def _compute(self, task: AbsTask, scored: Scored) -> None:
        """Let mteb score a task, all of it: vectors of subsets that a killed run had scored are in the store."""
        if keeps_items(task):
            record_items(
                task, items_path(scored.folder, task.metadata.name), scored.predictions if self.save_predictions else None
            )
        try:
            mteb.evaluate(
                BoundedSearch(self.model) if isinstance(task, AbsTaskRetrieval) else self.model,
                task,
                co2_tracker=False,
                encode_kwargs={"batch_size": ROWS_AT_ONCE, "show_progress_bar": False},
                cache=scored.cache,
                overwrite_strategy="always",
                prediction_folder=scored.predictions if keeps_items(task) or self.save_predictions else None,
                show_progress_bar=False,
            )
        except KeyError as error:
            if error.args == (task.metadata.main_score,):
                raise UserError(
                    f"tasks of type {task.metadata.type} have no score {error.args[0]!r}: mend main_score in task.json"
                ) from None
            raise

    def _replace(self, task: AbsTask, result: TaskResult, scored: Scored) -> None:
        """Put a new result in the place of an older one, which stood until now."""
        name = task.metadata.name
        # The record first: without it the rest counts for nothing, whenever this is killed.
        for path in (record_path(self.folder, name), items_path(self.folder, name)):
            path.unlink(missing_ok=True)
        self.cache.save_to_cache(result, self.model.mteb_model_meta)
        for source in (items_path(scored.folder, name), scored.predictions / task.prediction_file_name):
            if source.is_file():
                target = self.folder / source.relative_to(scored.folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                source.replace(target)

    def _finish(self, spec: TaskSpec, task: AbsTask, result: TaskResult, seconds: float) -> None:
        if isinstance(task, AbsTaskClustering):
            for split, entries in result.scores.items():
                for entry in entries:
                    subset = entry["hf_subset"]
                    sizes = getattr(task, "sizes_of_draws", {}).get((subset, split), {})
                    write_draws(items_path(self.folder, spec.name), subset, split, entry["v_measures"], sizes)
        meta = self.model.mteb_model_meta
        sides = self.model.ledger.record(spec.name)
        encoding = sum(side["seconds"] for side in sides.values())
        recipe = {
            "task": spec.name,
            "type": task.metadata.type,
            "model": meta.name,
            "revision": meta.revision,
            KEY: self.model.key(task.metadata),
            "evaluation_version": EVALUATION_VERSION,
            "recipe": self._recipe,
            "encoder": self.model.facts(),
            "sides": sides,
            "encoded_again": self.journal(spec.name).again(),
            "dataset": dict(task.metadata.dataset),
            "splits": list(task.eval_splits),
            "subsets": list(task.hf_subsets),
            "main_score": task.metadata.main_score,
            "scores": _main_scores(task, result),
            "all_scores": _digest(result),
            "items": _hash(items_path(self.folder, spec.name)),
            "mteb_version": result.mteb_version,
            "libraries": library_versions(),
            "processes": self.processes,
            "seconds": round(seconds, 3),
            "seconds_encoding": round(encoding, 3),
            "seconds_scoring": round(seconds - encoding, 3),
            **speeds(sides),
            "origin": {**self.origin, "folder": str(spec.folder.resolve()) if spec.folder else None},
        }
        write_record(self.folder, spec.name, recipe)
        (self.folder / "failures" / f"{spec.name}.txt").unlink(missing_ok=True)

    def note_failure(self, name: str, error: Exception) -> str:
        """Keep the traceback in a file, where one can be written, and return the reason as one line."""
        path = self.folder / "failures" / f"{name}.txt"
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        return str(error) if isinstance(error, UserError) else f"{reason(error, name)} (traceback: {path})"


class Scored:
    """Where mteb puts a task's scores until they are complete and checked: an older result stands until then."""

    def __init__(self, output_dir: Path, meta: Any, task: AbsTask) -> None:
        shutil.rmtree(output_dir, ignore_errors=True)  # what a killed run left
        self.meta, self.name = meta, task.metadata.name
        self.cache = ResultCache(output_dir)
        self.folder = Path(self.cache.get_task_result_path("any", meta)).parent
        self.predictions = self.folder / "predictions"

    def result(self) -> TaskResult:
        """Return the result, as rounded when it was saved."""
        return self.cache.load_task_result(self.name, self.meta)


def check_numbers(task: AbsTask, result: TaskResult) -> None:
    """Raise a UserError if a main score is not a number: a mean with it would be none either."""
    for subset, scores in _main_scores(task, result).items():
        for split, score in scores.items():
            if not np.isfinite(score):
                raise UserError(
                    f"{task.metadata.main_score} of {task.metadata.name} ({subset}, {split}) is not a number: all its gold "
                    "scores or labels are the same, or all its vectors, as where a prompt is as long as --max_length and "
                    "leaves no room for the text. Such a task measures nothing: mend that, or leave the task out"
                )


def readable(path: Path) -> bool:
    """Return whether a file holds JSON."""
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _hash(path: Path) -> str | None:
    """Hash a file's bytes; None where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _digest(result: TaskResult) -> str:
    """Hash all scores of a result, the main one and the others."""
    return hashlib.sha256(json.dumps(result.scores, sort_keys=True, default=str).encode()).hexdigest()


def reason(error: BaseException, task: str) -> str:
    """Say in one line why a task failed, and for data that cannot be had what to do."""
    names = {type(link).__name__ for link in chain(error)}
    if names & {"OfflineModeIsEnabled", "ConnectionError", "ConnectError", "LocalEntryNotFoundError", "DatasetNotFoundError"}:
        return no_rows(task)
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"


def _main_scores(task: AbsTask, result: TaskResult) -> dict[str, dict[str, float]]:
    """Return the main score by subset and split."""
    scores: dict[str, dict[str, float]] = {}
    for split in task.eval_splits:
        for entry in result.scores[split]:
            if entry["hf_subset"] in task.hf_subsets:
                scores.setdefault(entry["hf_subset"], {})[split] = float(entry["main_score"])
    return scores


def _tells_of(record: Mapping[str, Any], scores: Mapping[str, Mapping[str, float]]) -> bool:
    """Return whether a record has these scores, and is one that can be read."""
    try:
        totals(record)
        recorded = record["scores"]
        return all(recorded.get(subset, {}).items() >= of.items() for subset, of in scores.items())
    except (KeyError, AttributeError, TypeError, ValueError):  # an older one, or JSON of another shape
        return False


def _task_score(task: AbsTask, result: TaskResult, cached: bool, items: Path | None, record: Mapping[str, Any]) -> TaskScore:
    means = {subset: float(np.mean(list(of.values()))) for subset, of in _main_scores(task, result).items()}
    sums = totals(record)
    return TaskScore(
        name=task.metadata.name,
        type=task.metadata.type,
        metric=task.metadata.main_score,
        score=float(np.mean(list(means.values()))),
        subsets=means,
        seconds=float(result.evaluation_time or 0.0),
        cached=cached,
        items=items,
        again=sums.again,
        texts=sums.texts,
        tokens=sums.tokens,
        cut=sums.cut,
        mteb_version=result.mteb_version,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what mteb and datasets say of each task: bars of mapped rows, superseded versions."""
    mteb_logger = logging.getLogger("mteb")
    level, bars = mteb_logger.level, datasets.are_progress_bars_disabled()
    mteb_logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(mteb|sklearn)\b")  # sklearn: labels that no text was given
            warnings.filterwarnings("ignore", message=".*superseded.*")
            yield
    finally:
        mteb_logger.setLevel(level)
        if not bars:
            datasets.enable_progress_bars()
