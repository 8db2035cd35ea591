"""``study.json``: what a report shows beside scores, collected from the cells' folders.

Its fields are described in docs/report_data.md and checked by ``comparison/reading/study_file.py``.
"""

from __future__ import annotations

import contextlib
import json
import math
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import one_line, read_json_or_empty, write_json
from common.lines import open_unpacked
from comparison.places import PROJECT
from comparison.reading.study_data import TextTable
from evaluation.results.record import Record, library_versions
from model_loaders.backbone.base_files import tensor_table
from model_loaders.designs import Design, get_design
from model_loaders.layouts.manifest import MANIFEST
from model_loaders.layouts.tensors import LORA_WEIGHTS, POOLING_WEIGHTS
from pooling import POOLINGS, TOKEN_POOLINGS
from study.cell_progress import try_scores
from study.cells import Cell
from study.command_line import study_line, training_line
from study.probes.of_study import findings_of_study
from study.published import design_of
from study.report import attention_mass
from study.report.compare import passed_over
from study.report.leakage import find_leakage
from study.report.scores_by_step import scores_by_step
from study.study import Study
from study.training import COST_FILE
from study.tuning.table import tuning_finding
from trainers.checkpoints.run_files import CONFIG_FILE, METRICS_FILE, RESULT_FILE

FORMAT = 1
FEW_SEEDS = {1: ("one training run", "unknown"), 2: ("two training runs", "hardly known")}
Sides = dict[str, dict[str, Any]]  # what evaluation recorded by task and side


def write_study_json(study: Study, gains: TextTable | None = None) -> None:
    """Write ``study.json`` into the study's folder.

    Args:
        study: whose cells have been run.
        gains: its headline table, where it has one.
    """
    config, cells = study.config, study.cells
    leakage, sentences = look_for_leakage(study)
    sides = {cell.name: evaluated_sides(cell) for cell in cells}
    attention = []
    for cell in cells:
        for entry in attention_of(cell):
            attention.append({"cell": cell.name, **entry})
    recipe: dict[str, Any] = {"training": config.training}
    if config.recipes:
        recipe["recipes"] = config.recipes
    if study.inputs.systems:
        recipe["systems"] = {name: dict(system.flags) for name, system in study.inputs.systems.items()}
    recipe |= {
        "lora": lora_of(cells),
        "seeds": config.seeds,
        "accelerate_config": config.accelerate_config or "one process",
    }
    content = {
        "format": FORMAT,
        "title": study.title,
        "cells": [about_cell(study, cell, sides[cell.name]) for cell in cells],
        "gains": None if gains is None else asdict(gains),
        "attention": attention,
        "findings": findings(study),
        "leakage": leakage,
        "truncation": truncation(cells, sides),
        "warnings": [*sentences, *passed_over(cells, config), *warnings(study)],
        "recipe": recipe,
        "versions": versions(),
        "data": data_files(study, sides),
    }
    write_json({**tidy(content), "commands": commands(study)}, study.output_dir / "study.json")


def findings(study: Study) -> list[dict[str, Any]]:
    """Return what was measured beside scores: the search of settings, checkpoints of training, and the probes."""
    measured = [asdict(finding) for finding in scores_by_step(study.cells)]
    if study.tuning is not None:
        measured.insert(0, asdict(tuning_finding(study, study.tuning)))
    return [*measured, *findings_of_study(study)]


def look_for_leakage(study: Study) -> tuple[list[dict[str, Any]] | None, list[str]]:
    """Return the leakage found, None where the data could not be read, and sentences on what was not looked at."""
    try:
        leakage, unseen = find_leakage(study)
    except UserError as error:  # training data that are not on this machine, say
        return None, [f"leakage was not looked for: {one_line(str(error))}"]
    if unseen:
        return leakage, [f"leakage was not looked for in tasks whose data mteb brings itself: {', '.join(unseen)}"]
    return leakage, []


def versions() -> dict[str, str]:
    """Return the versions of Python, the machine's system, and what trains, encodes, scores and tests."""
    machine = f"{platform.system()} {platform.machine()}"
    return {
        "python": platform.python_version(),
        "machine": machine,
        **library_versions(),
        "accelerate": metadata.version("accelerate"),
    }


def pooling_words(design: Design) -> str:
    """Return the name of a design's pooling in reports."""
    if design.pooling == "none":
        return TOKEN_POOLINGS[design.tokens].words
    words = POOLINGS[design.pooling].words
    if design.layers == "all" and design.tokens not in ("last", "mean"):  # another cell than the paper's two
        words += f" on {TOKEN_POOLINGS[design.tokens].words}"
    return words


def about_cell(study: Study, cell: Cell, sides: Sides) -> dict[str, Any]:
    """Return the facts of a cell: design, state, cost."""
    about: dict[str, Any] = {
        "name": cell.name,
        "design": cell.design,
        "system": cell.system,
        "folder": cell.folder.name,
        "kind": cell.kind,
        "base_model": cell.base,
        "setting": cell.recipe if cell.recipe in study.config.settings else "",
        "status": cell.state,
        "reason": one_line(cell.reason),
        **evaluation_speed(sides),
    }
    if not cell.trains:
        name = design_of(cell.folder)
        if name is None:
            return about
        return {**about, "attention": get_design(name).attention, "pooling": pooling_words(get_design(name))}
    design = get_design(cell.design)
    cost = read_json_or_empty(cell.folder / COST_FILE)
    result = read_json_or_empty(cell.adapter / RESULT_FILE)
    metrics = cell.adapter / METRICS_FILE
    return {
        **about,
        "seed": cell.seed,
        "attention": design.attention,
        "pooling": pooling_words(design),
        "trainable_parameters": result.get("trainable_parameters", trainable_parameters(cell.adapter)),
        "training_seconds": try_scores(cell).get("training_seconds"),
        "peak_memory_bytes": cost.get("peak_memory_bytes"),
        "device": cost.get("device", ""),
        "curve": str(metrics.relative_to(study.output_dir)) if metrics.is_file() else [],
    }


def evaluation_speed(sides: Sides) -> dict[str, float]:
    """Return texts and tokens a second over the sides that were encoded anew; nothing where none was."""
    seconds, texts, tokens = [], [], []
    for of_task in sides.values():
        for side in of_task.values():
            if side.get("seconds") and not side.get("reused"):
                seconds.append(side["seconds"])
                texts.append(side["texts"])
                tokens.append(side.get("tokens"))
    if sum(seconds) <= 0:
        return {}
    speeds = {"evaluation_texts_per_second": round(sum(texts) / sum(seconds), 1)}
    if None not in tokens:
        speeds["evaluation_tokens_per_second"] = round(sum(tokens) / sum(seconds), 1)
    return speeds


def trainable_parameters(adapter: Path) -> int | None:
    """Count the numbers in an adapter's tensors, LoRA and pooling, from the heads of their files; None without an adapter."""
    total = 0
    for name in (LORA_WEIGHTS, POOLING_WEIGHTS):
        with contextlib.suppress(UserError):
            _, tensors = tensor_table(adapter / name)
            total += sum(math.prod(tensor["shape"]) for tensor in tensors.values())
    return total or None


def evaluated_sides(cell: Cell) -> Sides:
    """Return what evaluation recorded by task and side: texts, tokens, cuts, seconds."""
    scores = try_scores(cell)
    if not scores.get("results"):
        return {}
    sides = {}
    for task in scores.get("scores", {}):
        record = Record.read(cell.folder / scores["results"], task)
        sides[task] = {} if record is None else record.sides
    return sides


def truncation(cells: Sequence[Cell], sides: dict[str, Sides]) -> list[dict[str, Any]]:
    """Return the number of texts that were cut, of the trained cell that cut most.

    Cells differ in it by tokenizer and lengths alone.
    """
    most: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in cells:
        if not cell.trains:
            continue
        for task, of_task in sides[cell.name].items():
            for side, about in of_task.items():
                if about.get("cut") is None or not about.get("texts"):
                    continue
                if (task, side) in most and about["cut"] < most[task, side]["cut"]:
                    continue
                counts = {name: about.get(name) for name in ("texts", "cut", "max_length")}
                most[task, side] = {"task": task, "side": side, **counts}
    return list(most.values())


def warnings(study: Study) -> list[str]:
    """Return what a reader should know beside the numbers."""
    sentences = []
    if len(study.config.seeds) in FEW_SEEDS:
        runs, known = FEW_SEEDS[len(study.config.seeds)]
        sentences.append(f"{runs} of each design: how much another one would differ is {known}")
    shares: dict[str, float] = {}
    names: dict[str, list[str]] = {}
    for cell in study.cells:
        result = read_json_or_empty(cell.adapter / RESULT_FILE)
        for texts in ("queries", "documents"):
            share = result.get(f"truncated_{texts}")
            if share is not None and share > shares.get(texts, 0.0):
                shares[texts] = float(share)
        libraries = read_json_or_empty(cell.adapter / MANIFEST).get("versions")
        if libraries:
            names.setdefault(json.dumps(libraries, sort_keys=True), []).append(cell.name)
    if shares:
        listed = ", ".join(f"{share:.1%} of the {texts}" for texts, share in shares.items())
        sentences.append(f"training texts that were cut, at most: {listed}")
    if len(names) > 1:
        listed = "; ".join(f"{', '.join(cells)}: {libraries}" for libraries, cells in names.items())
        sentences.append(f"cells were trained with different versions of libraries: {listed}")
    return sentences


def attention_of(cell: Cell) -> list[dict[str, Any]]:
    """Return the attention of a cell's pooling, nothing unless it was measured on this study's texts."""
    content = read_json_or_empty(cell.folder / attention_mass.FILE)
    return list(content["attention"]) if content.get("evaluation") == cell.evaluation_key else []


def lora_of(cells: Sequence[Cell]) -> dict[str, Any]:
    """Return the LoRA settings of the first cell that was trained."""
    for cell in cells:
        settings = read_json_or_empty(cell.adapter / CONFIG_FILE).get("lora_config")
        if isinstance(settings, dict):
            return {name: value for name, value in settings.items() if value not in (None, [], {})}
    return {}


def data_files(study: Study, sides: dict[str, Sides]) -> list[dict[str, Any]]:
    """Return the data that results depend on, with hashes of contents, and rows: of training files lines, of tasks texts."""
    entries: list[dict[str, Any]] = []

    def add(name: str, role: str, key: str, rows: int | None) -> None:
        hash_of_content = key if ":" in key else f"sha256:{key}"
        entries.append({"name": name, "role": role, "hash": hash_of_content, "rows": rows})

    for name, key in study.inputs.train_files.items():
        path = Path(name)
        add(path.name if path.exists() else name, "training", key, rows_of(path))
    for name, key in study.inputs.tasks.items():
        add(name, "evaluation", key, texts_of_task(name, sides))
    for name, key in study.inputs.base_keys.items():
        add(name, "base model", key, None)
    return entries


def texts_of_task(task: str, sides: dict[str, Sides]) -> int | None:
    """Return the number of a task's texts, by the first cell whose evaluation recorded the task."""
    for of_cell in sides.values():
        if task in of_cell:
            return sum(side.get("texts") or 0 for side in of_cell[task].values()) or None
    return None


def rows_of(path: Path) -> int | None:
    """Return the number of rows of a file in JSON lines; None for what is no such file."""
    if not path.is_file() or not path.name.endswith((".jsonl", ".jsonl.gz")):
        return None
    with open_unpacked(path) as lines:
        return sum(1 for line in lines if line.strip())


def commands(study: Study) -> list[dict[str, str]]:
    """Return the study's command line, and the one of each training run, as they are given in the project's folder."""
    entries = [{"what": "the whole study", "line": study_line(study)}]
    for cell in study.cells:
        if cell.trains:
            entries.append({"what": f"{cell.name}, its training alone", "line": training_line(study, cell)})
    return entries


def tidy(value: Any) -> Any:
    """Return nested data as others can read it: numbers that are not finite are null, paths count from the project or here."""
    if isinstance(value, dict):
        return {str(key): tidy(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [tidy(member) for member in value]
    if isinstance(value, str):
        for place, short in ((PROJECT, ""), (Path.cwd(), ""), (PROJECT.parent, "../")):
            if place.parent != place:
                value = re.sub(rf"(?<![\w./-]){re.escape(str(place))}/", short, value)
        return value
    return None if isinstance(value, float) and not math.isfinite(value) else value
