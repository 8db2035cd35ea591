"""What a cell will take before any has finished: memory from the trainer's plan, time from a few real steps and texts."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import first_line, read_json_or_empty, write_json
from common.hashes import digest
from study.cells import Cell, flags_of, launch_key, training_key
from study.config import StudyConfig
from study.inputs import Inputs
from study.launch import cores
from study.run_cell import training_arguments

STEPS = 4  # of which the first is not timed
TEXTS = 128
LARGE = 5e8  # parameters: more are not tried out on a CPU
FILE = "estimates.json"


@dataclass(frozen=True)
class Estimate:
    """What one cell will take.

    Attributes:
        training: seconds of all its steps, None if not known.
        evaluation: seconds of encoding the texts of all its tasks, None if not known.
        memory: bytes of tensors in a training step on one process, None if not planned.
        how: where the times come from.
    """

    training: float | None
    evaluation: float | None
    memory: int | None
    how: str


def estimate(cell: Cell, config: StudyConfig, inputs: Inputs) -> Estimate:
    """Estimate a cell that trains; kept by everything but the seed, so that it is done once.

    Raises:
        UserError: the cell's base model, flags or data are wrong: what it would stop with.
    """
    if cell.base in inputs.out_of_reach:
        raise UserError(inputs.out_of_reach[cell.base])
    about = [cell.kind, cell.design, inputs.base_keys[cell.base], inputs.train_keys[cell.recipe], inputs.tasks, cores(),
             training_key(flags_of(config, cell.recipe, cell.design)), launch_key(inputs.accelerate)]  # fmt: skip
    key, path = digest(about)[:16], Path(config.output_dir) / FILE
    known = read_json_or_empty(path)
    if key not in known:
        known[key] = asdict(make_estimate(cell, config, inputs))
        write_json(known, path)
    return Estimate(**known[key])


def make_estimate(cell: Cell, config: StudyConfig, inputs: Inputs) -> Estimate:
    """Plan the memory, and try a few steps and texts where the model is small enough or a GPU is there."""
    import torch

    from trainers.flags.command_line import parse
    from trainers.memory.plan_config import model_of, plan_config
    from triplets.read import read_triplets

    training = parse(training_arguments(cell, config, inputs), design=cell.design)
    with quiet():
        rows = read_triplets(training.data, cache_dir=training.model.cache_dir)
    counts = rows.parts[0].negatives
    negatives = -(-sum(number * count for number, count in enumerate(counts)) // max(1, sum(counts)))
    processes = int(launch_key(inputs.accelerate).get("num_processes") or 1)
    try:
        memory = plan_config(training, negatives=negatives, processes=processes).total
        parameters = sum(parameter.numel() for parameter in model_of(training).parameters())
    except UserError:
        raise
    except Exception as error:  # an operation or a base model that cannot be planned: no figure is no reason to stop
        why = f"the model cannot be planned ({first_line(error)})"
        return Estimate(None, None, None, f"not known before one cell has finished: {why}")
    steps = training.training.max_steps
    batch = training.training.per_device_train_batch_size * training.training.gradient_accumulation_steps
    if steps <= 0:
        steps = -(-len(rows) // (batch * processes)) * training.training.num_train_epochs
    room = (
        torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    )
    if memory > 0.8 * room or (not torch.cuda.is_available() and parameters > LARGE):
        operations = 6.0 * parameters * steps * batch * (2 + negatives) * training.data.max_seq_length
        how = (f"computed, every text at its longest: {operations * processes:.1e} operations a cell, here counted with 100 "
               "TFLOP/s a process; evaluation not counted")  # fmt: skip
        return Estimate(operations / 1e14, None, memory, how)
    step, encode = try_out(training, cell, config, inputs)
    return Estimate(step * steps, encode, memory, f"measured on {STEPS - 1} steps and {TEXTS} texts, in one process alone")


def try_out(training: Any, cell: Cell, config: StudyConfig, inputs: Inputs) -> tuple[float, float | None]:
    """Train a few steps and encode a few texts; returns seconds a step, and of encoding all tasks' texts."""
    from transformers import TrainerCallback

    from evaluation.tasks.find import find_tasks
    from evaluation.tasks.workload import expected_characters
    from study.attention_mass import real_texts
    from trainers.run.build import build_trainer
    from trainers.run.dry_run import shortened

    ends: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.monotonic())

    scratch = Path(tempfile.mkdtemp(prefix=".estimate-", dir=config.output_dir))
    try:
        with quiet():
            short = shortened(training.training, scratch)
            short.max_steps = STEPS
            short.gradient_accumulation_steps = training.training.gradient_accumulation_steps
            trainer = build_trainer(replace(training, training=short))
            trainer.add_callback(Clock())
            trainer.train()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    step = statistics.median(later - one for one, later in itertools.pairwise(ends))
    texts = [text for of_task in real_texts(config, inputs).values() for text in of_task]
    texts = texts[:: max(1, len(texts) // TEXTS)]
    trainer.model.encode([text for _, text in texts[:8]], "query")
    started = time.monotonic()
    for role in ("query", "document"):
        trainer.model.encode([text for side, text in texts if side == role], role, max_length=config.max_length)
    rate = sum(len(text) for _, text in texts) / (time.monotonic() - started)
    characters = expected_characters(find_tasks(config.tasks, inputs.eval_dir))
    return step, sum(characters) / rate if all(characters) else None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallow what is printed: a plan is a table, not a log."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
