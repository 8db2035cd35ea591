"""``study.json``: what a report shows beside scores, collected from the cells' folders; and the comparison at a study's end.

Its fields are described in docs/report_data.md and checked by ``comparison/reading/study_file.py``.
"""

from __future__ import annotations

import gzip
import json
import math
import platform
import re
import shlex
import struct
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import one_line, read_json_or_empty, write_json
from comparison.places import PROJECT, from_project
from evaluation.results.record import Record, library_versions
from model_loaders.designs import Design, get_design
from pooling import POOLINGS, TOKEN_POOLINGS
from study import attention_mass
from study.cells import Cell
from study.config import StudyConfig
from study.inputs import Inputs
from study.leakage import find_leakage
from study.run_cell import read_scores, shown_command
from study.training import COST_FILE

FORMAT = 1


def write_record(cells: Sequence[Cell], config: StudyConfig, inputs: Inputs, study_file: Path, command: str) -> None:
    """Write ``study.json`` into the study's folder."""
    told: list[str] = []
    found: list[dict[str, Any]] | None = None
    try:
        found, unseen = find_leakage(config, inputs)
        if unseen:
            told.append(f"leakage was not looked for in tasks whose data mteb brings itself: {', '.join(unseen)}")
    except UserError as error:  # training data that are not on this machine, say
        told.append(f"leakage was not looked for: {one_line(str(error))}")
    sides = {cell.name: evaluated_sides(cell) for cell in cells}
    content = {
        "format": FORMAT,
        "title": title_of(config, study_file),
        "cells": [about_cell(cell, config, sides[cell.name]) for cell in cells],
        "attention": [{"cell": cell.name, **one} for cell in cells for one in attention_of(cell)],
        "leakage": found,
        "truncation": truncation(cells, config, sides),
        "warnings": [*told, *passed_over(cells, config), *warnings(cells, config)],
        "recipe": {"training": config.training, **({"recipes": config.recipes} if config.recipes else {}),
                   "lora": lora_of(cells), "seeds": config.seeds,
                   "accelerate_config": config.accelerate_config or "one process"},
        "versions": {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}",
                     **libraries()},
        "data": data_files(config, inputs, sides),
    }  # fmt: skip
    write_json({**tidy(content), "commands": commands(cells, config, inputs, command)}, Path(config.output_dir) / "study.json")


def title_of(config: StudyConfig, study_file: Path) -> str:
    """Return the study's title: by default its file's name."""
    return config.title or study_file.stem.replace("_", " ")


def compare(cells: Sequence[Cell], config: StudyConfig, study_file: Path) -> int:
    """Run ``python -m comparison`` on the study, into its folder ``report``; returns its exit status.

    Where fewer than two systems have scores there is nothing to compare, which is said, in the folder too, and no failure.
    """
    from comparison.__main__ import main
    from study.config import find_path
    from study.empty_report import REASON, write_no_report

    scored = [cell.system for cell in cells if try_scores(cell).get("scores")]
    if len(set(scored)) < 2:
        print(REASON, "saved", ", ".join(map(str, write_no_report(cells, config, title_of(config, study_file)))))
        return 0
    output_dir = Path(config.output_dir)
    options = dict(config.comparison)
    if "families" in options:
        options["families"] = find_path(options["families"], study_file)
    baseline = options.get("baseline")
    if baseline is not None and baseline not in scored:
        print(f"error: comparison: baseline: {baseline} has no scores ({why_no_scores(cells, baseline)}): finish it, or name "
              f"another: {', '.join(dict.fromkeys(scored))}", file=sys.stderr)  # fmt: skip
        return 1
    if baseline is None and not options.get("all_pairs"):
        options["baseline"] = default_baseline(cells)
        for sentence in passed_over(cells, config):
            print(sentence)
    words = [str(output_dir), "--output_dir", str(output_dir / "report")]
    for name, value in options.items():
        words += [f"--{name}"] if value is True else [] if value is False else [f"--{name}", str(value)]
    return main(words)


def default_baseline(cells: Sequence[Cell]) -> str:
    """Return the first design that has scores, else the first baseline."""
    scored = [cell for cell in cells if try_scores(cell).get("scores")]
    return next((cell.system for cell in scored if cell.kind == "design"), scored[0].system)


def passed_over(cells: Sequence[Cell], config: StudyConfig) -> list[str]:
    """Return sentences on designs that stand before the default baseline in the study and have no scores."""
    scored = {cell.system for cell in cells if try_scores(cell).get("scores")}
    if not scored or "baseline" in config.comparison or config.comparison.get("all_pairs"):
        return []
    designs, chosen = list(dict.fromkeys(cell.system for cell in cells if cell.kind == "design")), default_baseline(cells)
    before = designs[: designs.index(chosen)] if chosen in designs else designs
    return [
        f"{name} stands before {chosen} in the study and has no scores ({why_no_scores(cells, name)}): everybody is "
        f"compared with {chosen}"
        for name in before
    ]


def why_no_scores(cells: Sequence[Cell], system: str) -> str:
    """Return how the first cell of a system stands, and why."""
    cell = next(cell for cell in cells if cell.system == system)
    return f"{cell.name} {'is not finished' if cell.state == 'unfinished' else cell.state}: {one_line(cell.reason)}".rstrip(
        ": "
    )


def pooling_words(design: Design) -> str:
    """Return the name of a design's pooling in reports."""
    if design.pooling == "none":
        return TOKEN_POOLINGS[design.tokens].words
    return POOLINGS[design.pooling].words


def about_cell(cell: Cell, config: StudyConfig, sides: dict[str, Any]) -> dict[str, Any]:
    """Return what a cell is, how it went and what it cost."""
    about: dict[str, Any] = {"name": cell.name, "design": cell.design, "system": cell.system, "folder": cell.folder.name,
                             "kind": cell.kind, "base_model": cell.base, "status": cell.state,
                             "reason": one_line(cell.reason)}  # fmt: skip
    counted = [side for task in sides.values() for side in task.values() if side.get("seconds") and not side.get("reused")]
    seconds = sum(side["seconds"] for side in counted)
    if seconds > 0:
        about["evaluation_texts_per_second"] = round(sum(side["texts"] for side in counted) / seconds, 1)
        if all(side.get("tokens") is not None for side in counted):
            about["evaluation_tokens_per_second"] = round(sum(side["tokens"] for side in counted) / seconds, 1)
    if cell.kind == "baseline":
        return about
    design = get_design(cell.design)
    about |= {"seed": cell.seed, "attention": design.attention, "pooling": pooling_words(design)}
    cost = read_json_or_empty(cell.folder / COST_FILE)
    metrics = cell.adapter / "metrics.jsonl"
    about |= {
        "trainable_parameters": trainable_parameters(cell.adapter),
        "training_seconds": try_scores(cell).get("training_seconds"),
        "peak_memory_bytes": cost.get("peak_memory_bytes"),
        "device": cost.get("device", ""),
        "curve": str(metrics.relative_to(config.output_dir)) if metrics.is_file() else [],
    }
    return about


def try_scores(cell: Cell) -> dict[str, Any]:
    """Return a cell's scores, empty where they are not there or damaged."""
    try:
        return read_scores(cell)
    except UserError:
        return {}


def trainable_parameters(adapter: Path) -> int | None:
    """Count the numbers in an adapter's tensors, LoRA and pooling, from the heads of their files; None without an adapter."""
    total = 0
    for name in ("adapter_model.safetensors", "pooling.safetensors"):
        try:
            with (adapter / name).open("rb") as file:
                (size,) = struct.unpack("<Q", file.read(8))
                head = json.loads(file.read(size))
        except (OSError, ValueError, struct.error):
            continue
        total += sum(math.prod(tensor["shape"]) for key, tensor in head.items() if key != "__metadata__")
    return total or None


def evaluated_sides(cell: Cell) -> dict[str, dict[str, Any]]:
    """Return what evaluation recorded by task and side: texts, tokens, cuts, seconds."""
    results = try_scores(cell).get("results")
    if not results:
        return {}
    found = {}
    for task in try_scores(cell).get("scores", {}):
        record = Record.read(cell.folder / results, task)
        found[task] = record.sides if record is not None else {}
    return found


def truncation(cells: Sequence[Cell], config: StudyConfig, sides: dict[str, Any]) -> list[dict[str, Any]]:
    """Return how many texts were cut, of the trained cell that cut most: they differ by tokenizer and recipe alone."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in cells:
        if cell.kind != "design":
            continue
        for task, of_task in sides[cell.name].items():
            for side, about in of_task.items():
                if about.get("cut") is None or not about.get("texts"):
                    continue
                one = {
                    "task": task,
                    "side": side,
                    "texts": about["texts"],
                    "cut": about["cut"],
                    "max_length": about.get("max_length"),
                }
                if one["cut"] >= found.get((task, side), one)["cut"]:
                    found[task, side] = one
    return list(found.values())


def warnings(cells: Sequence[Cell], config: StudyConfig) -> list[str]:
    """Return what a reader should know beside the numbers."""
    told = []
    if len(config.seeds) < 3:
        runs = "one training run" if len(config.seeds) == 1 else "two training runs"
        told.append(f"{runs} of each design: how much another one would differ is hardly known")
    shares: dict[str, float] = {}
    for cell in cells:
        result = read_json_or_empty(cell.adapter / "train_result.json")
        for what in ("queries", "documents"):
            share = result.get(f"truncated_{what}")
            if share is not None and share > shares.get(what, 0.0):
                shares[what] = float(share)
    if shares:
        told.append(
            "training texts that were cut, at most: "
            + ", ".join(f"{share:.1%} of the {what}" for what, share in shares.items())
        )
    versions: dict[str, list[str]] = {}
    for cell in cells:
        libraries = read_json_or_empty(cell.adapter / "embedder.json").get("versions")
        if libraries:
            versions.setdefault(json.dumps(libraries, sort_keys=True), []).append(cell.name)
    if len(versions) > 1:
        told.append("cells were trained with different versions of libraries: "
                    + "; ".join(f"{', '.join(names)}: {libraries}" for libraries, names in versions.items()))  # fmt: skip
    return told


def attention_of(cell: Cell) -> list[dict[str, Any]]:
    """Return where a cell's pooling looks, nothing unless it was measured on this study's texts."""
    content = read_json_or_empty(cell.folder / attention_mass.FILE)
    return list(content["attention"]) if content.get("evaluation") == cell.evaluation_key else []


def lora_of(cells: Sequence[Cell]) -> dict[str, Any]:
    """Return the LoRA settings of the first cell that was trained."""
    for cell in cells:
        settings = read_json_or_empty(cell.adapter / "train_config.json").get("lora_config")
        if isinstance(settings, dict):
            return {name: value for name, value in settings.items() if value not in (None, [], {})}
    return {}


def libraries() -> dict[str, str]:
    """Return the versions of what trains, encodes, scores and tests."""
    return {**library_versions(), "accelerate": metadata.version("accelerate")}


def data_files(config: StudyConfig, inputs: Inputs, sides: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what results depend on, with hashes of contents, and rows: of training files lines, of tasks texts."""
    texts: dict[str, int | None] = {}
    for of_cell in sides.values():
        for task, of_task in of_cell.items():
            texts.setdefault(task, sum(side.get("texts") or 0 for side in of_task.values()) or None)
    named = [(Path(name).name if Path(name).exists() else name, "training", key, rows_of(Path(name)))
             for name, key in inputs.train_files.items()]  # fmt: skip
    named += [(name, "evaluation", key, texts.get(name)) for name, key in inputs.tasks.items()]
    named += [(name, "base model", key, None) for name, key in inputs.base_keys.items()]
    return [{"name": name, "role": role, "hash": key if ":" in key else f"sha256:{key}", "rows": rows}
            for name, role, key, rows in named]  # fmt: skip


def rows_of(path: Path) -> int | None:
    """Return how many rows a file in JSON lines has; None for what is no such file."""
    if not path.is_file() or not path.name.endswith((".jsonl", ".jsonl.gz")):
        return None
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
        return sum(1 for line in lines if line.strip())


def commands(cells: Sequence[Cell], config: StudyConfig, inputs: Inputs, command: str) -> list[dict[str, str]]:
    """Return the study's command line, and the one of each training run, as they are given in the project's folder."""
    trained = [cell for cell in cells if cell.kind == "design"]
    places = {*inputs.bases.values(), *inputs.train.values(), *filter(None, [inputs.accelerate])}

    def line(cell: Cell) -> str:
        there = places | {str(cell.adapter)}
        known = {word for word in there if Path(word).exists() or word == str(cell.adapter)}  # others are names on the hub
        return shlex.join(from_project(word) if word in known else word for word in shown_command(cell, config, inputs))

    return [{"what": "the whole study", "line": command},
            *({"what": f"{cell.name}, its training alone", "line": line(cell)} for cell in trained)]  # fmt: skip


def tidy(value: Any) -> Any:
    """Return nested data as others can read it: numbers that are not finite are null, paths count from the project or here."""
    if isinstance(value, dict):
        return {str(key): tidy(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [tidy(one) for one in value]
    if isinstance(value, str):
        for place, short in ((PROJECT, ""), (Path.cwd(), ""), (PROJECT.parent, "../")):
            if place.parent != place:
                value = re.sub(rf"(?<![\w./-]){re.escape(str(place))}/", short, value)
        return value
    return None if isinstance(value, float) and not math.isfinite(value) else value
