"""Run one cell: train a design or make a baseline, score it, and leave ``scores.json`` when everything is there."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from common.errors import UserError
from common.files import write_json
from common.locks import InUseError, locked
from evaluation.encode.prompts_file import read_prompts
from evaluation.encode.sharded_encoder import TextEncoder
from evaluation.evaluate import evaluate
from evaluation.results.outcome import Evaluation
from evaluation.tasks.find import find_tasks, prompt_keys
from model_loaders import LoadOptions, load
from model_loaders.create import create, load_untrained
from model_loaders.text.recipe import Recipe
from quickstart import baselines
from study.cell_progress import last_error, training_seconds
from study.cells import Cell
from study.command_line import script_words, training_words
from study.config import BASELINES, LEXICAL, ROOT
from study.launch import clean_environment, launcher_arguments
from study.published import note_model
from study.report.attention_mass import keep_attention
from study.study import Study, training_rows
from study.training import GRACE, LOCK_FILE
from trainers.flags.command_line import parse
from trainers.run.build import build_model
from triplets.dataset import TripletRows


class CellError(UserError):
    """A cell's training or evaluation failed; its folder keeps the reason."""


def run_cell(study: Study, cell: Cell, *, patience: float = 10.0) -> None:
    """Train and score one cell, going on from what its folder already holds.

    Args:
        study: whose cell it is.
        cell: to run.
        patience: seconds to wait for another process that runs this cell.

    Raises:
        InUseError: another process runs it.
        CellError: training or evaluation failed or diverged; the message says why.
    """
    with locked(cell.folder / ".cell.lock", cell.name, patience=patience):
        state = cell.state
        if state == "done":
            print(f"{cell.name}: done, nothing to do", flush=True)
            return
        if state == "diverged":
            raise CellError(f"{cell.name} diverged, and would again; to train it anew, delete {cell.folder}. {cell.reason}")
        cell.failure_file.unlink(missing_ok=True)
        try:
            if not cell.trains:
                score_baseline(study, cell)
            else:
                score_design(study, cell)
        except InUseError:
            raise
        except UserError as error:
            if cell.state != "diverged":
                write_json({"reason": str(error)}, cell.failure_file)
            raise CellError(str(error)) from error
        except Exception as error:  # memory that ran out, a full disk: the next attempt may do better
            write_json({"reason": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}, cell.failure_file)
            raise


def score_baseline(study: Study, cell: Cell) -> None:
    """Make a baseline and score it."""
    started = time.monotonic()
    encoder = make_baseline(study, cell)
    seconds = time.monotonic() - started
    write_scores(cell, score(study, cell, encoder), {}, round(seconds, 1))


def score_design(study: Study, cell: Cell) -> None:
    """Score the untrained design on the headline task, train it in a process of its own, and score it."""
    untrained: dict[str, Any] = {}
    if study.config.headline is not None:
        # A dry run's stages begin on the base LLM: the last one is the cell's model before any training.
        encoder = build_model(parse([*training_words(study, cell), "--dry_run"], design=cell.script_design))
        untrained = scores_as_json(cell, score(study, cell, encoder, only=study.config.headline))
        del encoder
        free_memory()
    if not cell.trained:
        train(study, cell)
    encoder = load(cell.adapter)
    evaluation = score(study, cell, encoder)
    keep_attention(study, cell, encoder)
    write_scores(cell, evaluation, untrained, training_seconds(cell))


def train(study: Study, cell: Cell) -> None:
    """Train a cell through ``accelerate launch``; a signal that comes meanwhile is handed on, and the trainer saves.

    Raises:
        CellError: it failed; the end of the log says why.
    """
    with locked(cell.folder / LOCK_FILE, f"the training of {cell.name}", patience=GRACE + 5):
        pass  # a trainer that outlived its study would write into the same files
    arguments = [str(cell.folder), *script_words(study, cell)]
    launched = launcher_arguments(study.inputs.accelerate, str(ROOT / "study" / "training.py"), arguments)
    command = [sys.executable, str(ROOT / "study" / "launch.py"), str(os.getpid()), *launched]
    print(f"{cell.name}: training; it prints to {cell.training_log}", flush=True)
    with cell.training_log.open("wb") as log:
        process = subprocess.Popen(
            command, env=clean_environment(os.environ), start_new_session=True, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            status = process.wait()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
    if cell.trained and status == 0:
        return
    if cell.state == "diverged":
        raise CellError(cell.reason)
    raise CellError(f"training ended with status {status}: {last_error(cell)}")


def first_texts(rows: TripletRows) -> list[tuple[str, str, str]]:
    """Return query, positive and first negative of each triplet, "" where there is none."""
    texts = []
    for number in range(len(rows)):
        row = rows[number]
        texts.append((str(row["query"]), str(row["positive"]), str(next(iter(row["negatives"]), ""))))
    return texts


def make_baseline(study: Study, cell: Cell) -> TextEncoder:
    """Return a baseline's encoder."""
    if cell.design in study.inputs.published:
        return load_published(study, cell)
    first = study.config.recipe_names[0]
    base = study.inputs.bases[cell.base]
    if cell.design in LEXICAL:
        return baselines.make(cell.design, first_texts(training_rows(study, first)), base)
    flags = study.config.flags(first)  # the same texts, dtype and kernel as the trained designs have
    options: dict[str, Any] = {"dtype": flags.get("torch_dtype"), "attn_implementation": flags.get("attn_implementation")}
    if cell.design not in BASELINES:
        return load_untrained(cell.design, base, **options)
    recipe = Recipe(
        query_prompt=flags.get("query_prompt", ""),
        document_prompt=flags.get("document_prompt", ""),
        max_length=flags.get("max_seq_length", 512),
        query_max_length=flags.get("query_max_length"),
    )
    return create(
        "causal_mean",
        base,
        lora=None,
        recipe=recipe,
        options=LoadOptions(**options),
    )


def load_published(study: Study, cell: Cell) -> TextEncoder:
    """Load a published model in the dtype and with the kernel of the study, and note its design."""
    flags = study.config.flags(study.config.recipe_names[0])
    settings: dict[str, Any] = {**study.inputs.published[cell.design]}
    settings |= {"dtype": flags.get("torch_dtype"), "attn_implementation": flags.get("attn_implementation")}
    model = load(**settings)
    note_model(cell.folder, model.design_name, model.recipe.to_dict())
    return model


def score(study: Study, cell: Cell, encoder: TextEncoder, only: str | None = None) -> Evaluation:
    """Score an encoder on the study's tasks, or ``only`` on one; results that are there already are not computed again."""
    config, inputs = study.config, study.inputs
    prompts: str | Mapping[str, Any] | None = config.eval_prompts
    if prompts == "own" and not cell.trains and cell.design not in BASELINES:
        prompts = None  # those that its recipe names
    if inputs.prompts is not None:
        keys = prompt_keys(find_tasks(config.tasks, inputs.eval_dir))
        prompts = read_prompts(Path(inputs.prompts), [*keys, *inputs.prompted])
    return evaluate(
        encoder,
        find_tasks([only] if only else config.tasks, inputs.eval_dir),
        cell.folder / "evaluation",
        name=cell.trained_system or cell.design,
        version=getattr(encoder, "version", cell.folder.name),
        prompts=prompts,
        max_length=config.max_length,
        batch_size=config.eval_batch_size,
        log=lambda line: print(line, flush=True),
    )


def scores_as_json(cell: Cell, evaluation: Evaluation) -> dict[str, Any]:
    """Return by task: main score, its name, mteb's type and the file of scores item by item, below the cell's folder."""
    scores = {}
    for task in evaluation.scores:
        items = task.items and str(task.items.relative_to(cell.folder))
        scores[task.name] = {"score": task.score, "metric": task.metric, "type": task.type, "items": items}
    return scores


def write_scores(cell: Cell, evaluation: Evaluation, untrained: dict[str, Any], seconds: float | None) -> None:
    """Write ``scores.json`` whole or not at all; with a task that failed it counts as unfinished.

    Raises:
        CellError: tasks failed; the others' scores are kept.
    """
    failures = evaluation.failures
    content = {
        "cell": cell.name,
        "system": cell.system,
        "evaluation": cell.evaluation_key if not failures else None,
        "results": str(evaluation.folder.relative_to(cell.folder)),
        "scores": scores_as_json(cell, evaluation),
        "failures": failures,
        "untrained": untrained,
        "training_seconds": seconds,
    }
    write_json(content, cell.scores_file)
    if failures:
        listed = "; ".join(f"{task}: {reason}" for task, reason in failures.items())
        raise CellError(f"{len(failures)} tasks failed: {listed}")


def free_memory() -> None:
    """Give back the device's memory that nothing uses: the trainer is another process, on the same device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
