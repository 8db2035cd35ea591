"""Estimate a cell before any has finished: memory from the trainer's plan, time from a few real steps and texts."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from common.errors import UserError
from common.files import first_line, read_json_or_empty, write_json
from common.hashes import digest
from evaluation.tasks.find import find_tasks
from evaluation.tasks.workload import expected_characters
from model_loaders.embed_model import EmbedModel
from model_loaders.text.prompts import ROLES
from study.cells import Cell
from study.command_line import training_words
from study.config import flags_of
from study.input_keys import launch_key, training_key
from study.launch import cores
from study.report.attention_mass import real_texts
from study.study import Study
from trainers.flags.command_line import parse
from trainers.flags.train_config import TrainConfig
from trainers.memory.plan_config import model_of, plan_config
from trainers.run.build import build_trainer
from trainers.run.dry_run import shortened
from trainers.run.losses import loss_of
from triplets.dataset import LoadedDataSet
from triplets.read import read_triplets

STEPS = 4  # the first is not timed
TEXTS = 128
LARGE = 5e8  # parameters: more are not tried out on a CPU
FILE = "estimates.json"


@dataclass(frozen=True)
class Estimate:
    """Time and memory of one cell.

    Attributes:
        training: seconds of all its steps, None if not known.
        evaluation: seconds of encoding the texts of all its tasks, None if not known.
        memory: bytes of tensors in a training step on one process, None if not planned.
        how: the source of the times.
    """

    training: float | None
    evaluation: float | None
    memory: int | None
    how: str


def estimate(study: Study, cell: Cell, say: Callable[[str], None] | None = None) -> Estimate:
    """Estimate a cell that trains; kept by everything but the seed, so that it is done once.

    Args:
        study: whose cell it is.
        cell: a design.
        say: gets a line before what takes long.

    Raises:
        UserError: the cell's base model, flags or data are wrong: the error that would stop it.
    """
    inputs = study.inputs
    if cell.base in inputs.out_of_reach:
        raise UserError(inputs.out_of_reach[cell.base])
    facts = [
        cell.kind,
        cell.design,
        inputs.base_keys[cell.base],
        inputs.train_keys[cell.recipe],
        inputs.tasks,
        cores(),
        training_key(flags_of_cell(study, cell)),
        launch_key(inputs.accelerate),
    ]
    key = digest(facts, 16)
    path = study.output_dir / FILE
    estimates = read_json_or_empty(path)
    if key not in estimates:
        if say is not None:
            say(f"{cell.name}: planning memory; a small model also trains {STEPS} steps and encodes {TEXTS} texts ...")
        estimates[key] = asdict(make_estimate(study, cell))
        write_json(estimates, path)
    return Estimate(**estimates[key])


def make_estimate(study: Study, cell: Cell) -> Estimate:
    """Plan the memory, and try a few steps and texts where the model is small enough or a GPU is there."""
    training = parse(training_words(study, cell), design=cell.script_design)
    if training.objective.objective == "mntp":
        return Estimate(None, None, None, "not known before one cell has finished: no plan knows the steps of --objective mntp")
    if training.before:
        return Estimate(None, None, None, "not known before one cell has finished: it trains in stages")
    with quiet():
        rows = read_triplets(training.data, cache_dir=training.model.cache_dir)
    negatives = max(mean_negatives(part) for part in rows.parts)  # a batch may be of one data set
    processes = int(launch_key(study.inputs.accelerate).get("num_processes") or 1)
    model = training.model
    if model.peft_model_name_or_path or model.load_in_4bit or model.load_in_8bit:
        why = "memory is planned of a new adapter on a base LLM that is not quantised"
        return Estimate(None, None, None, f"not known before one cell has finished: {why}")
    try:
        memory = plan_config(training, loss_of(training.contrastive), negatives=negatives, processes=processes).total
        parameters = sum(parameter.numel() for parameter in model_of(training).parameters())
    except UserError:
        raise
    except Exception as error:  # an operation or a base model that cannot be planned: no figure is no reason to stop
        why = f"the model cannot be planned ({first_line(error)})"
        return Estimate(None, None, None, f"not known before one cell has finished: {why}")
    options = training.training
    batch = options.per_device_train_batch_size * options.gradient_accumulation_steps
    steps = options.max_steps
    if steps <= 0:
        of_an_epoch = sum(share.taken for share in rows.shares)
        steps = math.ceil(of_an_epoch / (batch * processes)) * options.num_train_epochs
    if memory > 0.8 * free_bytes() or (not torch.cuda.is_available() and parameters > LARGE):
        operations = 6.0 * parameters * steps * batch * (2 + negatives) * training.data.max_seq_length
        how = (
            f"computed, every text at its longest: {operations * processes:.1e} operations a cell, here counted with 100 "
            "TFLOP/s a process; evaluation not counted"
        )
        return Estimate(operations / 1e14, None, memory, how)
    step, encode = try_out(study, training)
    return Estimate(step * steps, encode, memory, f"measured on {STEPS - 1} steps and {TEXTS} texts, in one process alone")


def mean_negatives(part: LoadedDataSet) -> int:
    """Return the negatives of a row, the mean over a data set rounded up."""
    total = sum(number * count for number, count in enumerate(part.negatives))
    return math.ceil(total / max(1, sum(part.negatives)))


def flags_of_cell(study: Study, cell: Cell) -> dict[str, Any]:
    """Return the trainers' flags of a design or of a system's file."""
    if cell.trained_system:
        return dict(study.inputs.systems[cell.trained_system].flags)
    return flags_of(study.config, cell.recipe, cell.design)


def free_bytes() -> int:
    """Return the memory that the device has free, or the machine has in all where there is no GPU."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class Clock(TrainerCallback):  # type: ignore[misc]
    """Notes the time at the end of each step."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: object, **__: object) -> None:
        """Note the time."""
        self.ends.append(time.monotonic())


def try_out(study: Study, training: TrainConfig) -> tuple[float, float | None]:
    """Train a few steps and encode a few texts; return seconds a step, and of encoding all tasks' texts."""
    clock = Clock()
    scratch = Path(tempfile.mkdtemp(prefix=".estimate-", dir=study.output_dir))
    try:
        with quiet():
            short = shortened(training.training, scratch)
            short.max_steps = STEPS
            short.gradient_accumulation_steps = training.training.gradient_accumulation_steps
            trainer = build_trainer(replace(training, training=short))
            trainer.add_callback(clock)
            trainer.train()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    step = statistics.median(later - earlier for earlier, later in itertools.pairwise(clock.ends))
    return step, encoding_seconds(study, trainer.model)


def encoding_seconds(study: Study, model: EmbedModel) -> float | None:
    """Encode a few texts; return the seconds that all tasks' texts will take, None where a task's size is not known."""
    texts = list(itertools.chain.from_iterable(real_texts(study).values()))
    texts = texts[:: max(1, len(texts) // TEXTS)]
    model.encode([text for _, text in texts[:8]], "query")
    started = time.monotonic()
    for role in ROLES:
        model.encode([text for side, text in texts if side == role], role, max_length=study.config.max_length)
    rate = sum(len(text) for _, text in texts) / (time.monotonic() - started)
    characters = expected_characters(find_tasks(study.config.tasks, study.inputs.eval_dir))
    return sum(characters) / rate if all(characters) else None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallow what is printed: a plan is a table, not a log."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
