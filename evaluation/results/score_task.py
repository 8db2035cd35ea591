"""One task's way to its score: take the result that is there, or compute it with mteb and keep what mteb does not."""

from __future__ import annotations

import contextlib
import logging
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
from mteb.abstasks import AbsTask, AbsTaskClustering, AbsTaskRetrieval
from mteb.cache import ResultCache
from mteb.results import TaskResult

from common.disk import chain, check_writable, not_writable
from common.errors import UserError
from common.locks import locked
from evaluation.encode.mteb_encoder import EVALUATION_VERSION, MtebEncoder
from evaluation.encode.saved_vectors import EmbeddingFiles
from evaluation.encode.search import BoundedSearch
from evaluation.encode.unfinished import Journal
from evaluation.encode.vector_store import ShardStore
from evaluation.results.cached import Scored, _digest, _hash, _main_scores, _task_score, _tells_of, check_numbers, readable
from evaluation.results.item_scores import items_path, keeps_items, record_items, write_draws
from evaluation.results.outcome import TaskScore
from evaluation.results.record import library_versions, read_record, speeds
from evaluation.results.result_key import KEY, adopt, record_path, recorded_key, write_record
from evaluation.tasks.availability import reason as no_rows
from evaluation.tasks.find import TaskSpec

logger = logging.getLogger(__name__)

ROWS_AT_ONCE = 2048  # of mteb's data loaders, which only read: batches of the model are another matter


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


def reason(error: BaseException, task: str) -> str:
    """Say in one line why a task failed, and for data that cannot be had what to do."""
    names = {type(link).__name__ for link in chain(error)}
    if names & {"OfflineModeIsEnabled", "ConnectionError", "ConnectError", "LocalEntryNotFoundError", "DatasetNotFoundError"}:
        return no_rows(task)
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"


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
