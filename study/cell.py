"""One cell: train a design (or make a baseline), score it, and leave ``scores.json`` when everything is there."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_loaders.errors import UserError
from study.config import Cell, StudyConfig

if TYPE_CHECKING:
    from evaluation.evaluate import Evaluation
    from evaluation.tasks import TaskSpec


def run_cell(cell: Cell, config: StudyConfig, base_model: str, train_file: str, eval_dir: str) -> None:
    """Train and score one cell, going on from what its folder already holds.

    Raises:
        UserError: training or evaluation cannot go on; the message says why.
    """
    stop_with_parent()
    cell.folder.mkdir(parents=True, exist_ok=True)
    if cell.kind == "baseline":
        encoder, seconds = make_baseline(cell.design, config, base_model, train_file)
        scores = score(encoder, cell, config, eval_dir)
        write_scores(cell, scores, {}, seconds)
        return
    from model_loaders import load
    from trainers.arguments import TrainConfig
    from trainers.command_line import parse
    from trainers.run_files import RESULT_FILE
    from trainers.train import build_model, train

    training: TrainConfig = parse(training_arguments(cell, config, base_model, train_file), design=cell.design)
    untrained = score(build_model(training), cell, config, eval_dir, only=config.headline)
    started = time.monotonic()
    if not (cell.adapter / RESULT_FILE).is_file():
        train(training)
    seconds = time.monotonic() - started
    write_scores(cell, score(load(cell.adapter), cell, config, eval_dir), untrained, seconds)


def training_arguments(cell: Cell, config: StudyConfig, base_model: str, train_file: str) -> list[str]:
    """Return the trainer's command line for a cell."""
    from model_loaders.designs import get_design

    data = "dataset_config" if "dataset_config" in config.training else "dataset_name"
    given = {
        **config.training,
        "model_name_or_path": base_model,
        data: train_file,
        "output_dir": str(cell.adapter),
        "seed": cell.seed,
        "resume_from_checkpoint": True,
    }

    if get_design(cell.design).pooling == "none":  # the trainer refuses flags that mean nothing to a design
        given = {name: value for name, value in given.items() if not name.startswith("pooling_")}
    return [word for name, value in given.items() for word in (f"--{name}", *words(value))]


def words(value: Any) -> list[str]:
    """Return a YAML value as words of a command line."""
    if isinstance(value, list):
        return [str(one) for one in value]
    return [json.dumps(value) if isinstance(value, dict) else str(value)]


def make_baseline(name: str, config: StudyConfig, base_model: str, train_file: str) -> tuple[Any, float]:
    """Return a baseline's encoder and how many seconds it took to make it."""
    started = time.monotonic()
    if name == "mean_pooling":
        from model_loaders.loading import create
        from model_loaders.manifest import Recipe

        flags = config.training  # the same texts as the trained designs see
        recipe = Recipe(
            query_prompt=flags.get("query_prompt", ""),
            document_prompt=flags.get("document_prompt", ""),
            max_length=flags.get("max_seq_length", 512),
            query_max_length=flags.get("query_max_length"),
        )
        return create("causal_mean", base_model, lora=None, recipe=recipe), time.monotonic() - started
    from quickstart import baselines

    encoder = baselines.make(name, train_file, base_model)
    return encoder, time.monotonic() - started


def score(encoder: Any, cell: Cell, config: StudyConfig, eval_dir: str, only: str | None = None) -> dict[str, Any]:
    """Score an encoder on the study's tasks; results that are there already are not computed again.

    Returns:
        By task: main score, its name, mteb's type and the file of scores item by item.
    """
    from evaluation.evaluate import evaluate
    from evaluation.tasks import find_tasks

    specs: list[TaskSpec] = find_tasks([only] if only else config.tasks, eval_dir)
    result: Evaluation = evaluate(
        encoder,
        specs,
        cell.folder / "evaluation",
        name=cell.design,
        version=getattr(encoder, "version", cell.folder.name),
        prompts="own",  # those that a design was trained with: a study compares designs, not mteb's prompts
        max_length=config.max_length,
        batch_size=config.eval_batch_size,
        log=lambda line: print(line, flush=True),
    )
    if result.failures:
        listed = "; ".join(f"{task}: {reason}" for task, reason in result.failures.items())
        raise UserError(f"{cell.name}: {len(result.failures)} tasks failed: {listed}")
    return {
        one.name: {
            "score": one.score,
            "metric": one.metric,
            "type": one.type,
            "items": str(one.items.relative_to(cell.folder)) if one.items else None,
        }
        for one in result.scores
    }


def write_scores(cell: Cell, scores: dict[str, Any], untrained: dict[str, Any], seconds: float) -> None:
    """Write ``scores.json`` whole or not at all."""
    content = {"cell": cell.name, "scores": scores, "untrained": untrained, "training_seconds": round(seconds, 1)}
    temporary = cell.scores_file.with_suffix(".partial")
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    temporary.replace(cell.scores_file)


def read_scores(cell: Cell) -> dict[str, Any]:
    """Read ``scores.json``."""
    content: dict[str, Any] = json.loads(cell.scores_file.read_text(encoding="utf-8"))
    return content


def stop_with_parent() -> None:
    """End this process when the study's process is gone, however it ended: nobody else would wait for it."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def progress_of(cell: Cell) -> float:
    """Return how far a cell is, 0 to 1, from what its folder holds: training counts 0.8, evaluation the rest."""
    from trainers.run_files import RESULT_FILE

    if cell.done:
        return 1.0
    if (cell.adapter / RESULT_FILE).is_file():
        return 0.85
    try:
        lines = (cell.adapter / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        last = json.loads(lines[-1])
        steps = int(json.loads((cell.adapter / "train_config.json").read_text(encoding="utf-8"))["max_steps"])
        return 0.05 + 0.75 * min(1.0, float(last.get("step", 0)) / steps) if steps > 0 else 0.4
    except (OSError, ValueError, IndexError, KeyError):
        return 0.0


def last_lines(path: Path, count: int = 12) -> str:
    """Return the end of a log file."""
    try:
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])
    except OSError:
        return "(no log)"
