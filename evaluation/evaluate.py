"""Score an encoder on tasks: one call, results in mteb's layout, nothing computed twice, one failure stops no other task.

`output_dir/results/<organisation__name>/<revision>/` then holds

- `<Task>.json`, `model_meta.json`, `run_settings.jsonl`: mteb's own, read by `mteb.ResultCache(output_dir)`;
- `items/<Task>.jsonl.gz`: scores item by item (`evaluation/results/item_scores.py`);
- `recipes/<Task>.json`: prompts, the first text of each side as the model got it, lengths, versions, the data's hash;
- `failures/<Task>.txt`: the traceback of a task that failed, until it succeeds.

The revision is a hash of the encoder's version and of the recipe (prompts, maximum length, dtype, …). Each result has a key
of its own, which knows its own prompts and the hash of its data (`evaluation/results/result_key.py`): with another key the
task is
scored again, with the same one the result is taken, also from another revision's folder.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.disk import unwritable
from common.errors import UserError
from common.locks import InUseError
from evaluation.encode.distributed import Processes
from evaluation.encode.lazy_model import NotLoaded
from evaluation.encode.mteb_encoder import MtebEncoder, TextEncoder
from evaluation.encode.prompt_plan import make_plan
from evaluation.encode.sharded_encoder import encode_here
from evaluation.encode.vector_store import SHARD_TEXTS
from evaluation.progress import Progress
from evaluation.results.outcome import Evaluation, encoded_again
from evaluation.results.score_task import Run
from evaluation.tasks.availability import check_rows
from evaluation.tasks.find import TaskSpec
from evaluation.tasks.workload import expected_characters

logger = logging.getLogger(__name__)


def evaluate(
    encoder: TextEncoder,
    tasks: Sequence[TaskSpec],
    output_dir: str | Path,
    *,
    name: str | None = None,
    version: str | None = None,
    prompts: Mapping[str, Any] | str | None = None,
    prompt_template: str | None = None,
    max_length: int | None = None,
    batch_size: int | None = None,
    batch_tokens: int | None = None,
    recipe: Mapping[str, Any] | None = None,
    show_progress: bool = False,
    save_predictions: bool = False,
    save_embeddings: str | Path | bool = False,
    embedding_cache: str | Path | None = None,
    shard_texts: int | None = None,
    origin: Mapping[str, Any] | None = None,
    processes: Processes | None = None,
    log: Callable[[str], None] = logger.info,
) -> Evaluation:
    """Score `encoder` on `tasks` (from `tasks.find_tasks`), or take the results that are there already.

    Args:
        encoder: an `EmbedModel`, or anything with such an `encode`.
        tasks: what to score, in this order.
        output_dir: the folder that holds `results/`, made if missing.
        name: of the model; by default the encoder's `design_name`.
        version: changes whenever the vectors may change; by default the encoder's `version`.
        prompts: `mteb`, `own`, `none`, or a mapping by task, type or `default` (`evaluation/encode/prompts_file.py`); None
        for what
            the             manifest says, or `mteb` (`evaluation/encode/prompt_plan.py`).
        prompt_template: `instruct`, or a text with `{prompt}` and `{text}`; None for what the manifest says.
        max_length: tokens a text at most; by default the encoder's own, from its manifest.
        batch_size: texts of a forward pass at most; by default as many as the encoder's budget of tokens allows. No part of
            the revision, since vectors do not depend on it.
        batch_tokens: padded tokens of a forward pass at most; by default the encoder's own budget.
        recipe: further facts that vectors depend on, such as the dtype; part of the revision.
        show_progress: draw a bar on stderr; without it `log` gets a line every half minute.
        save_predictions: keep mteb's prediction files (`predictions/`), up to 1000 hits a query.
        save_embeddings: write the vectors of each task into this folder, or into `embeddings` of the results folder if it is
            True (`evaluation/encode/saved_vectors.py`).
        embedding_cache: a folder in which vectors are kept and shared between tasks and runs
        (`evaluation/encode/vector_store.py`);
            by             default they are kept in `output_dir` until their task is finished, so that a run that is killed
            goes on.
        shard_texts: texts that are stored together, and at most encoded again after a kill; `SHARD_TEXTS` by default.
        origin: where adapter, base LLM and data were found; no part of the revision, but of the record.
        processes: that encode together (`evaluation/encode/distributed.py`); this is the first one. They have their own
            batches.
        log: gets a line when a task begins, with the time left, and when it ends.

    Raises:
        UserError: no name or version is known, or the prompts are malformed. The model cannot be loaded. Another process is
            computing one of the results.
            Failures of a task do not raise.
    """
    model = MtebEncoder(
        encoder,
        _known(name, encoder, "design_name", "name"),
        _known(version, encoder, "version", "version"),
        plan=make_plan(encoder, prompts, prompt_template),
        max_length=max_length,
        extra_recipe={**getattr(encoder, "result_facts", {}), **(recipe or {})},
        encode=processes.encode if processes else encode_here(encoder, batch_tokens=batch_tokens, batch_size=batch_size),
        shard_texts=shard_texts or SHARD_TEXTS,
    )
    tasks = check_rows(tasks, log)
    if line := model.plan.unlike_training(tasks):
        log(line)
    run = Run(model, Path(output_dir), save_predictions, Path(embedding_cache) if embedding_cache else None)
    if save_embeddings:
        run.save_embeddings = run.folder / "embeddings" if save_embeddings is True else Path(save_embeddings)
    run.origin = origin or {}
    size = run.processes = processes.place.size if processes else 1
    progress = model.progress = Progress(expected_characters(tasks), log, bar=show_progress, processes=size)
    model.sharded.watch = progress
    evaluation = Evaluation(model.mteb_model_meta.name, model.mteb_model_meta.revision, run.folder)
    try:
        _score_all(run, tasks, evaluation, progress)
    finally:
        progress.close()
    return evaluation


def _score_all(run: Run, tasks: Sequence[TaskSpec], evaluation: Evaluation, progress: Progress) -> None:
    for number, spec in enumerate(tasks):
        progress.start(number, spec.name)
        try:
            score = run.score(spec)
        except (NotLoaded, InUseError):
            raise
        except Exception as error:
            if written := unwritable(error, run.folders):  # no other task could be written either
                raise UserError(
                    f"{spec.name}: {written}. Finished tasks are kept: the same command goes on after them"
                ) from error
            evaluation.failures[spec.name] = run.note_failure(spec.name, error)
            progress.end(number, spec.name, f"FAILED: {evaluation.failures[spec.name]}", computed=False)
        else:
            evaluation.scores.append(score)
            there = ", already there" if score.cached else ""
            again = f", {encoded_again(score.again)}" if score.again else ""
            progress.end(number, spec.name, f"{score.metric} {score.score:.4f}{there}{again}", computed=not score.cached)


def _known(given: str | None, encoder: Any, attribute: str, argument: str) -> str:
    value = given or getattr(encoder, attribute, None)
    if not value:
        raise UserError(f"the encoder has no {attribute}: give evaluate(…, {argument}=…); results are filed under it")
    return str(value)
