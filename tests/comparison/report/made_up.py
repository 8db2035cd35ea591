"""A made-up study that fills every section of a report, with names that try to break out of it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

HOSTILE = [
    "model1",
    "<script>alert('design')</script>",
    "a$x^2$ & \"b\" 'c' --> ]]> {{ 7 * 7 }} {% raw %} %s %(x)s \\frac",
    "two\nlines\tand\r\x00\x1b[31mcontrols\u202eevil\ud800",
    "עברית ומשהו",
    "emoji 👩‍🔬🧪",
    "long" + "-and-longer" * 18,
    "</style></title><img src=https://example.invalid/x.png onerror=alert(1)>",
]
PLAIN = [f"model{number}" for number in range(1, 9)]
KINDS = {"Retrieval": 8, "STS": 7, "Classification": 6, "Clustering": 4}
SEEDS = (1, 2, 3)
HOSTILE_TASK = '<b onclick="alert(2)">task</b> & $\\alpha$ javascript:alert(3)'


def tasks(hostile: bool) -> dict[str, str]:
    """Return kind by task."""
    made = {f"{kind}Task{number}": kind for kind, count in KINDS.items() for number in range(count)}
    if hostile:
        made = {HOSTILE_TASK if task == "RetrievalTask3" else task: kind for task, kind in made.items()}
    return made


def write_study(
    folder: Path, hostile: bool = True, designs: int = 8, queries: int = 40, steps: int = 400, looking: int = 2
) -> Path:
    """Write the study: one seed diverges, one cell fails, one design lacks two tasks, the last `looking` show attention."""
    generator = np.random.default_rng(0)
    names = (HOSTILE if hostile else PLAIN)[:designs]
    every = tasks(hostile)
    of_task = {task: 0.35 + 0.4 * generator.random() for task in every}
    of_query = {task: generator.normal(0, 0.1, queries) for task in every}
    cells: list[dict[str, Any]] = []
    for place, design in enumerate(names):
        effect = {task: [0, 0.03, 0.004, -0.03, 0.0, 0.015, -0.01, 0.02][place] + generator.normal(0, 0.008) for task in every}
        for seed in SEEDS:
            cell = f"cell{place}-seed{seed}-{place:07x}{seed}"
            diverged, failed = (place, seed) == (3, 2), (place, seed) == (2, 3)
            of_run = generator.normal(0, 0.003)
            scores: dict[str, Any] = {}
            for number, (task, kind) in enumerate(every.items()):
                if place == 4 and number in (1, 9):
                    continue
                values = of_task[task] + effect[task] + of_run + of_query[task] + generator.normal(0, 0.03, queries)
                values = np.clip(values, 0, 1)
                items = None
                if kind == "Retrieval" and task != HOSTILE_TASK:
                    items = f"evaluation/results/ours__x/r{place}{seed}/items/{task}.jsonl.gz"
                    write_rows(folder / "cells" / cell, items, task, values)
                scores[task] = {"score": round(float(values.mean()), 6), "metric": "m", "type": kind, "items": items}
            if not (diverged or failed):
                save(folder / "cells" / cell / "scores.json", {"cell": cell, "scores": scores, "untrained": {}})
            status, reason = "done", ""
            if diverged:
                status, reason = "diverged", "loss is NaN at step 161 <script>alert('reason')</script>"
            if failed:
                status, reason = "failed", "out of memory & <i>more</i>"
            cells.append(
                {
                    "name": f"{design} seed{seed}",
                    "design": design,
                    "folder": cell,
                    "attention": ["causal", "bidirectional"][place % 2],
                    "pooling": ["last token", "mean", "last-layer trainable", "multi-layer trainable"][place // 2],
                    "base_model": "tiny <base>",
                    "seed": seed,
                    "status": status,
                    "reason": reason,
                    "trainable_parameters": [40_000, 40_000, 60_000, 60_000, 900_000, 900_000, 1_300_000, 1_300_000][place],
                    "training_seconds": 100.0 + 30 * place + 5 * seed,
                    "evaluation_texts_per_second": 900.0 - 80 * place + seed,
                    "evaluation_tokens_per_second": 30_000.0 - 2_000 * place,
                    "peak_memory_bytes": 2**30 + 2**27 * place,
                    "device": "CPU, 1 thread",
                    "curve": curve(generator, steps, diverged, failed),
                }
            )
    content = {
        "format": 1,
        "title": "The grid <script>alert('title')</script>" if hostile else "The grid",
        "cells": cells,
        "attention": attention(generator, cells, names[-looking:]),
        "findings": findings(names),
        "leakage": [
            {"training_file": "stsb & <train>.jsonl", "task": "STSTask1", "count": 812, "total": 3108, "unit": "pairs",
             "examples": ["A man plays. / <img src=x onerror=alert(4)> plays.", "x" * 400]},
            {"training_file": "stsb & <train>.jsonl", "task": "STSTask2", "count": 0, "total": 750},
        ],
        "truncation": [
            {"task": "RetrievalTask1", "side": "document", "texts": 5183, "cut": 812, "max_length": 256},
            {"task": "RetrievalTask1", "side": "query", "texts": 300, "cut": 0, "max_length": 64},
            {"task": "training", "side": "document", "texts": 100_000, "cut": 2_345, "max_length": 128},
        ],
        "warnings": ["the cells of <b>seed 2</b> ran with other threads"],
        "recipe": {"learning_rate": 0.002, "lora": {"r": 16, "target_modules": ["q", "v"]}, "prompts": {"<q>": "Instruct: {x}"},
                   "mix": [{"name": "nli", "share": 0.5}, {"name": "msmarco", "share": 0.5}]},
        "versions": {"python": "3.11.2", "torch": "2.13.0", "gpu <driver>": "none"},
        "data": [{"name": "stsb & <train>.jsonl", "role": "training", "hash": "sha256:" + "0f" * 32, "rows": 5749}],
        "commands": [{"what": "the study", "line": "python run_study.py study.yaml --note '<script>alert(5)</script>'"}],
    }  # fmt: skip
    save(folder / "study.json", content)
    return folder


def findings(names: list[str]) -> list[dict[str, Any]]:
    """Return a search of settings, and lines of trained and untrained systems with intervals."""
    settings = ["low <i>", "common", "high"]
    searched = []
    measured = []
    for place, system in enumerate(names):
        searched.append({"system": system, "x": [0, 1, 2], "estimates": [[0.3], [0.4 + 0.01 * place], [0.35]], "marked": 1})
        for brother, height in ((system, 0.4), (f"{system}, untrained", 0.1)):
            estimates = [[height, height - 0.05, height + 0.05] for _ in range(3)]
            measured.append({"system": brother, "x": [1, 4, 16], "estimates": estimates})
    return [
        {"title": "Tuning & more", "sentences": ["<b>Three</b> settings."], "caption": "A ring marks the chosen one.",
         "panels": [{"title": "", "x_name": "setting", "y_name": "score", "curves": searched, "ticks": settings}],
         "head": ["design", *settings], "rows": [[name, "0.30", "0.40", "0.35"] for name in names]},
        {"title": "Probe: dilution", "sentences": ["Margins."], "panels": [
            {"title": "margin", "x_name": "fillers", "y_name": "cosine", "curves": measured, "logarithmic": True}]},
        {"title": "A table alone", "head": ["system", "figure"], "rows": [[names[0], "1.5 <img src=x>"]]},
    ]  # fmt: skip


def attention(generator: np.random.Generator, cells: list[dict[str, Any]], names: list[str]) -> list[dict[str, Any]]:
    """Return attention by head and by latent of some designs, on two sets of texts."""
    made = []
    for cell in cells:
        if cell["design"] not in names:
            continue
        for texts in ("STSTask1", "RetrievalTask1 <documents>"):
            for by, count in (("head", 32), ("latent", 256)):
                weights = generator.gamma(0.4, size=(count, 24)) * np.linspace(0.3, 2, 24)
                mass = (weights / weights.sum(axis=1, keepdims=True)).round(5).tolist()
                made.append({"cell": cell["name"], "texts": texts, "count": 500, "by": by, "mass": mass})
    return made


def curve(generator: np.random.Generator, steps: int, diverged: bool, failed: bool) -> list[dict[str, Any]]:
    """Return a training curve, with a line every four steps; a diverged one ends in NaN."""
    lines = []
    for step in range(4, steps + 1, 4):
        progress = step / steps
        line = {
            "step": step,
            "loss": 3 * np.exp(-3 * progress) + 1 + 0.05 * generator.normal(),
            "grad_norm": 2 + abs(generator.normal()),
            "learning_rate": 2e-3 * (1 - progress),
            "accuracy": 0.9 * (1 - np.exp(-4 * progress)),
            "mean_cosine": 0.9 - 0.6 * progress,
            "margin": 0.3 * progress,
            "effective_rank": 4 + 20 * progress,
        }
        if diverged and step > 120:
            line |= {"loss": 10.0 * 1.2 ** (step - 120), "mean_cosine": 0.999, "margin": 0.001, "effective_rank": 1.2}
        if diverged and step > 160:
            lines.append(line | {"loss": float("nan")})
            break
        if failed and step > 200:
            break
        lines.append({key: round(float(value), 6) if key != "step" else value for key, value in line.items()})
    return lines


def write_rows(cell: Path, items: str, task: str, values: np.ndarray) -> None:
    """Write scores item by item, and the result file that they belong to."""
    path = cell / items
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for number, value in enumerate(values):
            row = {"subset": "default", "split": "test", "id": str(number), "ndcg_at_10": float(value)}
            file.write(json.dumps(row) + "\n")
    entry = {"hf_subset": "default", "main_score": float(values.mean()), "ndcg_at_10": float(values.mean())}
    about = {"task_name": task, "dataset_revision": "r1", "mteb_version": "2.26.24", "scores": {"test": [entry]}}
    save(path.parents[1] / f"{task}.json", about)


def save(path: Path, content: Any) -> None:
    """Write JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
