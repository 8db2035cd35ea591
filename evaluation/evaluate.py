"""Score an encoder on tasks: one call, results in mteb's layout, nothing computed twice, one failure stops no other task.

`output_dir/results/<organisation__name>/<revision>/` then holds

- `<Task>.json`, `model_meta.json`, `run_settings.jsonl`: mteb's own, read by `mteb.ResultCache(output_dir)`;
- `items/<Task>.jsonl.gz`: scores item by item (`evaluation/results/item_scores.py`);
- `recipes/<Task>.json`: prompts, the first text of each side as the model got it, lengths, versions, the data's hash
  (`evaluation/results/record.py`);
- `failures/<Task>.txt`: the traceback of a task that failed, until it succeeds.

The revision is a hash of the encoder's version and of the recipe (prompts, maximum length, dtype, …). Each result has a key
of its own, made of its own prompts and the hash of its data: a result with the task's key is taken, also from another
revision's folder, and without one the task is scored.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.disk import unwritable
from common.errors import UserError
from common.locks import InUseError
from evaluation.encode.distributed import Processes
from evaluation.encode.lazy_model import NotLoaded
from evaluation.encode.mteb_encoder import ModelIdentity, MtebEncoder
from evaluation.encode.prompt_plan import make_plan
from evaluation.encode.saved_vectors import check_apart_from_data
from evaluation.encode.sharded_encoder import TextEncoder, encode_here
from evaluation.encode.vector_store import SHARD_TEXTS
from evaluation.options import EvaluationOptions
from evaluation.progress import Progress
from evaluation.results.failure import note_failure
from evaluation.results.outcome import Evaluation, TaskScore, repeated_texts
from evaluation.results.score_task import TaskScorer
from evaluation.tasks.availability import check_rows
from evaluation.tasks.find import TaskSpec
from evaluation.tasks.workload import expected_characters

logger = logging.getLogger(__name__)


def evaluate(
    encoder: TextEncoder,
    tasks: Sequence[TaskSpec],
    output_dir: str | Path,
    options: EvaluationOptions | None = None,
    *,
    processes: Processes | None = None,
    log: Callable[[str], None] = logger.info,
    **keywords: Any,
) -> Evaluation:
    """Score `encoder` on `tasks`, or take the results that are there already.

        >>> from evaluation.tasks.find import find_tasks
        >>> from model_loaders import load
        >>> evaluation = evaluate(load(adapter, device="cpu"), find_tasks(["TinyPair"], tasks), scratch, max_length=64)
        >>> 0 < evaluation.score("TinyPair") <= 1
        True

    Args:
        encoder: an `EmbedModel`, or anything with such an `encode`.
        tasks: the tasks to score, in this order (from `evaluation.tasks.find.find_tasks`).
        output_dir: the folder that holds `results/`, made if missing.
        options: name, prompts, lengths and so on.
        processes: that encode together (`evaluation/encode/distributed.py`); this is the first one. They have their own
            batches.
        log: gets a line when a task begins, with the time left, and when it ends.
        keywords: fields of `EvaluationOptions`, which go before those of `options`.

    Raises:
        UserError: no name or version is known, or the prompts are malformed. The model cannot be loaded. Another process is
            computing one of the results. The vectors would be saved among the data of a task.
            Failures of a task do not raise.
    """
    options = replace(options or EvaluationOptions(), **keywords)
    model = _mteb_encoder(encoder, options, processes)
    tasks = check_rows(tasks, log)
    if warning := model.plan.unlike_training(tasks):
        log(warning)
    if options.prompts == "mteb" and (note := model.plan.without_mtebs(tasks)):
        log(note)
    scorer = TaskScorer(
        model,
        Path(output_dir),
        save_predictions=options.save_predictions,
        embedding_cache=Path(options.embedding_cache) if options.embedding_cache else None,
        origin=options.origin or {},
        processes=processes.rank.size if processes else 1,
    )
    scorer.save_embeddings = options.embeddings_folder(scorer.results.path)
    if scorer.save_embeddings is not None:
        check_apart_from_data(scorer.save_embeddings, [spec.folder for spec in tasks if spec.folder is not None])
    progress = Progress(expected_characters(tasks), log, bar=options.show_progress, processes=scorer.processes)
    model.progress = model.sharded.watch = progress
    meta = model.mteb_model_meta
    evaluation = Evaluation(meta.name, meta.revision, scorer.results.path)
    try:
        _score_all(scorer, tasks, evaluation, progress)
    finally:
        progress.close()
    return evaluation


def _mteb_encoder(encoder: TextEncoder, options: EvaluationOptions, processes: Processes | None) -> MtebEncoder:
    """Return the encoder as mteb sees it."""
    recipe = {**getattr(encoder, "result_facts", {}), **(options.recipe or {})}
    if processes is not None:
        encode = processes.encode
    else:
        encode = encode_here(encoder, batch_tokens=options.batch_tokens, batch_size=options.batch_size)
    name = options.name or getattr(encoder, "system", "") or _attribute(encoder, "design_name", "name")
    version = options.version or _attribute(encoder, "version", "version")
    return MtebEncoder(
        encoder,
        ModelIdentity(name, version, recipe),
        plan=make_plan(encoder, options.prompts, options.prompt_template),
        max_length=options.max_length,
        encode=encode,
        shard_texts=options.shard_texts or SHARD_TEXTS,
    )


def _attribute(encoder: TextEncoder, attribute: str, option: str) -> str:
    """Return the encoder's name or version.

    Raises:
        UserError: it has none.
    """
    value = getattr(encoder, attribute, None)
    if not value:
        raise UserError(f"the encoder has no {attribute}: give evaluate(…, {option}=…); results are filed under it")
    return str(value)


def _score_all(scorer: TaskScorer, tasks: Sequence[TaskSpec], evaluation: Evaluation, progress: Progress) -> None:
    """Score the tasks one after the other, and put scores and failures into `evaluation`."""
    for number, spec in enumerate(tasks):
        progress.start(number, spec.name)
        try:
            score = scorer.score(spec)
        except (NotLoaded, InUseError):
            raise
        except Exception as error:
            if message := unwritable(error, scorer.folders):  # no other task could be written either
                raise UserError(
                    f"{spec.name}: {message}. Finished tasks are kept: the same command goes on after them"
                ) from error
            reason = note_failure(evaluation.folder, spec.name, error)
            evaluation.failures[spec.name] = reason
            progress.end(number, spec.name, f"FAILED: {reason}", computed=False)
        else:
            evaluation.scores.append(score)
            progress.end(number, spec.name, _outcome(score), computed=not score.cached)


def _outcome(score: TaskScore) -> str:
    """Return the score of a task in words, for its last line."""
    words = f"{score.metric} {score.score:.4f}"
    if score.cached:
        words += ", already there"
    if score.again:
        words += f", {repeated_texts(score.again)}"
    return words
