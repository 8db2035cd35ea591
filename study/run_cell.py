"""One cell: train a design (or make a baseline), score it, and leave ``scores.json`` when everything is there."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.files import read_json_or_empty, write_json
from common.locks import InUseError, locked
from study.cells import Cell, flags_of
from study.config import ROOT, StudyConfig
from study.inputs import Inputs
from study.launch import clean_environment, launcher_arguments
from study.training import GRACE, LOCK_FILE

if TYPE_CHECKING:
    from evaluation.results.outcome import Evaluation


class CellError(UserError):
    """A cell's training or evaluation failed; its folder keeps the reason."""


def run_cell(cell: Cell, config: StudyConfig, inputs: Inputs, *, patience: float = 10.0) -> None:
    """Train and score one cell, going on from what its folder already holds.

    Args:
        cell: which.
        config: of the study.
        inputs: of the study.
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
            if cell.kind == "baseline":
                score_baseline(cell, config, inputs)
            else:
                score_design(cell, config, inputs)
        except InUseError:
            raise
        except UserError as error:
            if cell.state != "diverged":
                write_json({"reason": str(error)}, cell.failure_file)
            raise CellError(str(error)) from error
        except Exception as error:  # memory that ran out, a full disk: the next attempt may do better
            write_json({"reason": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}, cell.failure_file)
            raise


def score_baseline(cell: Cell, config: StudyConfig, inputs: Inputs) -> None:
    """Make a baseline and score it."""
    started = time.monotonic()
    encoder = make_baseline(cell, config, inputs)
    seconds = time.monotonic() - started
    write_scores(cell, config, score(encoder, cell, config, inputs), {}, round(seconds, 1))


def score_design(cell: Cell, config: StudyConfig, inputs: Inputs) -> None:
    """Score the untrained design on the headline task, train it in a process of its own, and score it."""
    from model_loaders import load
    from study.attention_mass import keep_attention
    from trainers.flags.command_line import parse
    from trainers.run.build import build_model

    untrained: dict[str, Any] = {}
    if config.headline is not None:
        arguments = training_arguments(cell, config, inputs)
        encoder = build_model(parse(arguments, design=cell.design))
        untrained = score(encoder, cell, config, inputs, only=config.headline).scores_as_json(cell)
        del encoder
        free_memory()
    if not cell.trained:
        train(cell, config, inputs)
    encoder = load(cell.adapter)
    found = score(encoder, cell, config, inputs)
    keep_attention(encoder, cell, config, inputs)
    write_scores(cell, config, found, untrained, training_seconds(cell))


def train(cell: Cell, config: StudyConfig, inputs: Inputs) -> None:
    """Train a cell through ``accelerate launch``; a signal that comes meanwhile is handed on, and the trainer saves.

    Raises:
        CellError: it failed; the end of the log says why.
    """
    with locked(cell.folder / LOCK_FILE, f"the training of {cell.name}", patience=GRACE + 5):
        pass  # a trainer that outlived its study would write into the same files
    of_trainer = ["--design", cell.design, *training_arguments(cell, config, inputs)]
    launched = launcher_arguments(inputs.accelerate, str(ROOT / "study" / "training.py"), [str(cell.folder), *of_trainer])
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


def shown_command(cell: Cell, config: StudyConfig, inputs: Inputs) -> list[str]:
    """Return the command that trains a cell by hand."""
    command = ["trainers/train.py", "--design", cell.design, *training_arguments(cell, config, inputs)]
    launcher = ["accelerate", "launch", "--config_file", inputs.accelerate] if inputs.accelerate else ["python"]
    return [*launcher, *command]


def training_arguments(cell: Cell, config: StudyConfig, inputs: Inputs) -> list[str]:
    """Return the trainer's command line for a cell."""
    flags = flags_of(config, cell.recipe, cell.design)
    data = "dataset_config" if "dataset_config" in flags else "dataset_name"
    given = {
        **flags,
        "model_name_or_path": inputs.bases[cell.base],
        data: inputs.train[cell.recipe],
        "output_dir": str(cell.adapter),
        "seed": cell.seed,
        "resume_from_checkpoint": True,
    }
    return [word for name, value in given.items() for word in (f"--{name}", *words(value))]


def words(value: Any) -> list[str]:
    """Return a YAML value as words of a command line."""
    if isinstance(value, list):
        return [str(one) for one in value]
    return [json.dumps(value) if isinstance(value, dict) else str(value)]


def make_baseline(cell: Cell, config: StudyConfig, inputs: Inputs) -> Any:
    """Return a baseline's encoder."""
    recipe = config.recipe_names[0]
    base = inputs.bases[cell.base]
    if cell.design == "mean_pooling":
        from model_loaders.create import create
        from model_loaders.layouts.manifest import Recipe

        flags = config.flags(recipe)  # the same texts, dtype and kernel as the trained designs have
        texts = Recipe(
            query_prompt=flags.get("query_prompt", ""),
            document_prompt=flags.get("document_prompt", ""),
            max_length=flags.get("max_seq_length", 512),
            query_max_length=flags.get("query_max_length"),
        )
        return create(
            "causal_mean",
            base,
            lora=None,
            recipe=texts,
            dtype=flags.get("torch_dtype"),
            attn_implementation=flags.get("attn_implementation"),
        )
    from quickstart import baselines

    return baselines.make(cell.design, inputs.train[recipe], base)


class Scored:
    """Scores of one encoder, and the tasks that failed."""

    def __init__(self, result: Evaluation) -> None:
        self.result = result

    def scores_as_json(self, cell: Cell) -> dict[str, Any]:
        """Return by task: main score, its name, mteb's type and the file of scores item by item, below the cell's folder."""
        return {
            one.name: {
                "score": one.score,
                "metric": one.metric,
                "type": one.type,
                "items": str(one.items.relative_to(cell.folder)) if one.items else None,
            }
            for one in self.result.scores
        }


def score(encoder: Any, cell: Cell, config: StudyConfig, inputs: Inputs, only: str | None = None) -> Scored:
    """Score an encoder on the study's tasks; results that are there already are not computed again."""
    from evaluation.encode.prompts_file import read_prompts
    from evaluation.evaluate import evaluate
    from evaluation.tasks.find import find_tasks, prompt_keys

    specs = find_tasks([only] if only else config.tasks, inputs.eval_dir)
    prompts: Any = config.eval_prompts  # a study compares designs, with the prompts that they were trained with
    if inputs.prompts is not None:
        prompts = read_prompts(Path(inputs.prompts), prompt_keys(find_tasks(config.tasks, inputs.eval_dir)))
    return Scored(
        evaluate(
            encoder,
            specs,
            cell.folder / "evaluation",
            name=cell.design,
            version=getattr(encoder, "version", cell.folder.name),
            prompts=prompts,
            max_length=config.max_length,
            batch_size=config.eval_batch_size,
            log=lambda line: print(line, flush=True),
        )
    )


def write_scores(cell: Cell, config: StudyConfig, found: Scored, untrained: dict[str, Any], seconds: float | None) -> None:
    """Write ``scores.json`` whole or not at all; with a task that failed it counts as unfinished.

    Raises:
        CellError: tasks failed; the others' scores are kept.
    """
    failures = found.result.failures
    content = {
        "cell": cell.name,
        "system": cell.system,
        "evaluation": cell.evaluation_key if not failures else None,
        "results": str(found.result.folder.relative_to(cell.folder)),
        "scores": found.scores_as_json(cell),
        "failures": failures,
        "untrained": untrained,
        "training_seconds": seconds,
    }
    write_json(content, cell.scores_file)
    if failures:
        listed = "; ".join(f"{task}: {reason}" for task, reason in failures.items())
        raise CellError(f"{len(failures)} tasks failed: {listed}")


def read_scores(cell: Cell) -> dict[str, Any]:
    """Read ``scores.json``."""
    return read_json_or_empty(cell.scores_file)


def free_memory() -> None:
    """Give back the device's memory that nothing uses: the trainer is another process, on the same device."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def training_seconds(cell: Cell) -> float | None:
    """Return the time that a cell's steps took: the median of a step, times their number.

    So it is the same whether a run was stopped and went on or not; starting up is not counted.
    """
    from trainers.checkpoints.run_files import METRICS_FILE, RESULT_FILE

    result = read_json_or_empty(cell.adapter / RESULT_FILE)
    steps = int(result.get("steps") or 0)
    lines = [line for line in read_lines(cell.adapter / METRICS_FILE) if "loss" in line]
    paces = sorted(
        (later["time"] - line["time"]) / (later["step"] - line["step"])
        for line, later in itertools.pairwise(lines)
        if later["step"] > line["step"]
    )
    if paces and steps:
        return round(float(paces[len(paces) // 2]) * steps, 1)
    runtime = result.get("train_runtime")
    return None if runtime is None else round(float(runtime), 1)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a JSON lines file, none where there is no file."""
    found = []
    with contextlib.suppress(OSError):
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # a line that a kill cut short
                found.append(json.loads(line))
    return found


def progress_of(cell: Cell) -> float:
    """Return how far a cell is, 0 to 1, from what its folder holds: training counts 0.8, evaluation the rest."""
    from trainers.checkpoints.run_files import CONFIG_FILE, METRICS_FILE

    if cell.state in ("done", "diverged"):
        return 1.0
    if cell.trained:
        return 0.85
    try:
        lines = read_lines(cell.adapter / METRICS_FILE)
        steps = int(read_json_or_empty(cell.adapter / CONFIG_FILE)["max_steps"])
        return 0.05 + 0.75 * min(1.0, float(lines[-1].get("step", 0)) / steps) if steps > 0 else 0.4
    except (UserError, ValueError, IndexError, KeyError):
        return 0.0


def last_error(cell: Cell) -> str:
    """Return the last error that the trainer told of."""
    lines = [line.strip() for line in last_lines(cell.training_log, 200).splitlines() if line.strip()]
    killed = [line for line in lines if "died with <Signals." in line or "Signal 9 (SIGKILL)" in line]
    if killed:  # by nobody of ours: nothing is left to tell why
        return f"a trainer was killed, for want of memory perhaps; the end of {cell.training_log}: {killed[-1][:200]}"
    told = [line for line in lines if line.startswith("error:") or ": error:" in line or "Error:" in line]
    told = [line for line in told if "CalledProcessError" not in line and "ChildFailedError" not in line]
    return told[-1] if told else (lines[-1] if lines else "(no log)")


def last_lines(path: Path, count: int = 12) -> str:
    """Return the end of a log file."""
    try:
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])
    except OSError:
        return "(no log)"
