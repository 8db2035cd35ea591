"""Readers of task folders, their judgements and settings, of prompts, and of results: scores, items and records."""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from common.errors import UserError
from comparison.reading.families import read_families
from comparison.reading.item_scores import read_items
from comparison.reading.results_folder import read as read_results
from comparison.reading.study_file import read_study_file
from evaluation.encode.prompts_file import read_prompts
from evaluation.results.record import Record
from evaluation.tasks.find import TaskSpec, find_tasks
from study.config import read_study_config
from tests.cases.fuzz.documents import same
from tests.cases.fuzz.mutations import Files
from tests.cases.fuzz.reader import Reader
from tests.cases.fuzz.triplet_readers import json_rows, odd_yaml, unpacked


def lines(*rows: dict[str, Any]) -> bytes:
    """Return JSON lines."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def corpus() -> Files:
    """Return a retrieval task in BEIR's layout."""
    documents = [{"_id": f"d{number}", "title": "a title", "text": f"document {number}"} for number in range(4)]
    queries = [{"_id": f"q{number}", "text": f"query {number}"} for number in range(3)]
    judgements = b"query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t2\nq2\td2\t1\nq2\td3\t0\n"
    return {
        "Topics/corpus.jsonl": lines(*documents),
        "Topics/queries.jsonl.gz": gzip.compress(lines(*queries), mtime=0),
        "Topics/qrels/test.tsv": judgements,
        "Topics/task.json": json.dumps({"name": "Topics", "type": "retrieval", "description": "made up"}).encode(),
    }


def judged_lines() -> Files:
    """Return a retrieval task whose judgements are JSON lines and whose ids are numbers."""
    documents = [{"id": number, "text": f"document {number}"} for number in range(3)]
    judgements = [{"query-id": number, "corpus-id": float(number), "score": 1} for number in range(2)]
    queries = [{"id": number, "text": f"query {number}"} for number in range(2)]
    return {
        "Numbers/corpus.jsonl.gz": gzip.compress(lines(*documents), mtime=0),
        "Numbers/queries.jsonl": lines(*queries),
        "Numbers/qrels.test.jsonl": lines(*judgements),
    }


def tables() -> Files:
    """Return a task of each kind whose rows are one table, and one with candidates."""
    pair = [{"sentence1": f"a {number}", "sentence2": f"b {number}"} for number in range(4)]
    labelled = [{"text": f"text {number}", "label": ("yes", "no")[number % 2]} for number in range(4)]
    clustered = [{"sentence": f"text {number}", "label": number % 2} for number in range(6)]
    candidates = [{"query": f"q {number}", "positive": ["a", "b"], "negative": ["c", "c"]} for number in range(3)]
    return {
        "Grades/test.jsonl": lines(*[{**row, "score": number / 4} for number, row in enumerate(pair)]),
        "Pairs/test.jsonl": lines(*[{**row, "label": number % 2} for number, row in enumerate(pair)]),
        "Classes/train.jsonl": lines(*labelled),
        "Classes/test.jsonl": lines(*labelled),
        "Clusters/en.test.jsonl.gz": gzip.compress(lines(*clustered), mtime=0),
        "Candidates/test.jsonl": lines(*candidates),
    }


def load_tasks(folder: Path) -> dict[str, Any]:
    """Load the tasks of a folder, and return their data by name.

    Raises:
        UserError: a task has a fault; the others were loaded and checked.
    """
    datasets = {}
    errors: list[UserError] = []
    for spec in find_tasks(data_dir=folder, log=lambda _: None):
        try:
            datasets[spec.name] = load_task(spec)
        except UserError as error:  # an evaluation goes on with the next task
            errors.append(error)
    check_tasks(folder, datasets)
    if errors:
        raise errors[0]
    return datasets


def load_task(spec: TaskSpec) -> Any:
    """Load one task."""
    task = spec.task()
    spec.load(task)
    return task.dataset


def check_tasks(folder: Path, value: Any) -> None:
    """Every text and number of a task stands in the files, in as many rows."""
    for dataset in value.values():
        for splits in dataset.values():
            for split in splits.values():
                check_split(folder, split)


def check_split(folder: Path, split: Any) -> None:
    """Check one split of one task."""
    if hasattr(split, "column_names"):  # a table
        assert len(split) >= 2
        assert not any(isinstance(cell, float) and not math.isfinite(cell) for row in split for cell in row.values())
        return
    ids = set(split["queries"]["id"])
    assert ids == set(split["relevant_docs"]) and len(ids) == len(split["queries"])
    assert len(set(split["corpus"]["id"])) == len(split["corpus"])
    for grades in split["relevant_docs"].values():
        assert all(type(grade) is int for grade in grades.values())


def check_corpus(folder: Path, value: Any) -> None:
    """Documents and queries are those of the files."""
    check_tasks(folder, value)
    for dataset in value.values():
        if len(value) > 1:
            continue
        split = dataset["default"]["test"]
        place = next(path for path in sorted(folder.iterdir()) if path.is_dir())
        for kind, rows in (("corpus", split["corpus"]), ("queries", split["queries"])):
            (path,) = [path for path in place.glob(f"{kind}.jsonl*") if path.name.endswith((".jsonl", ".jsonl.gz"))]
            texts = {}
            for row in json_rows_of_any_end(path):
                identity = row.get("id", row.get("_id"))
                texts[str(int(identity) if isinstance(identity, float) else identity)] = row["text"]
            for row in rows:
                assert texts[row["id"]] in row["text"]


def json_rows_of_any_end(path: Path) -> list[Any]:
    """Return the objects of a file of JSON lines, which may end as on an old Macintosh."""
    text = unpacked(path).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def results() -> Files:
    """Return the results of two models."""
    files: Files = {}
    for number, model in enumerate(("org__base", "org__other")):
        for task in ("STS12", "BIOSSES"):
            row = {"hf_subset": "default", "languages": ["eng-Latn"], "main_score": 0.5 + number / 10, "cosine_spearman": 0.5}
            content = {"task_name": task, "mteb_version": "2.20.0", "dataset_revision": "abc", "scores": {"test": [row]}}
            files[f"{model}/rev/{task}.json"] = json.dumps(content).encode()
        files[f"{model}/rev/model_meta.json"] = json.dumps({"name": model.replace("__", "/")}).encode()
    return files


def check_results(folder: Path, value: Any) -> None:
    """Each score is the number of its file."""
    for system in value.systems:
        for run in system.runs:
            for score in run.scores.values():
                content = json.loads(score.file.read_text("utf-8-sig"))
                for (split, subset), main in score.entries.items():
                    rows = [row for row in content["scores"][split] if isinstance(row, dict)]
                    (row,) = [row for row in rows if str(row.get("hf_subset", "default")) == subset]
                    stated = row.get("main_score")
                    number = isinstance(stated, int | float) and not isinstance(stated, bool) and math.isfinite(stated)
                    assert same(main, stated if number else float("nan"))


CELLS = {("test", "default")}


def items() -> Files:
    """Return scores item by item."""
    rows = [{"subset": "default", "split": "test", "id": f"q{number}", "ndcg_at_10": number / 10} for number in range(6)]
    return {"STS12.jsonl.gz": gzip.compress(lines(*rows), mtime=0)}


def check_items(folder: Path, value: Any) -> None:
    """Values are finite, and those of the file."""
    if value is None:
        return
    rows = [row for row in json_rows(folder / "STS12.jsonl.gz") if (row["split"], row["subset"]) in CELLS]
    assert len(value.ids) == len(rows) == len(value.values)
    if value.kind == "queries":
        stated = sorted(float(row[value.metric]) for row in rows)
        assert stated == sorted(float(number) for number in value.values[:, 0])


def study_json() -> Files:
    """Return a study's facts."""
    curve = [{"step": step, "loss": 1 / step, "grad_norm": 1.0} for step in range(1, 4)]
    cell = {"name": "model1-seed1", "design": "model1", "seed": 1, "curve": curve, "training_seconds": 1.5}
    mass = {"cell": "model1-seed1", "texts": "STS12", "by": "head", "mass": [[0.5, 0.5]]}
    content = {"format": 1, "title": "made up", "cells": [cell], "attention": [mass], "versions": {"torch": "2"}}
    return {"study.json": json.dumps({**content, "warnings": ["one"], "recipe": {"training": {"bf16": True}}}).encode()}


def check_study_json(folder: Path, value: Any) -> None:
    """Names, seeds and seconds are those of the file."""
    if value is None:
        return
    content = json.loads((folder / "study.json").read_text("utf-8-sig"))
    for cell, stated in zip(value.cells, content.get("cells") or [], strict=True):
        assert cell.name == stated["name"] and same(cell.seed, stated.get("seed"))
        assert same(cell.training_seconds, stated.get("training_seconds"))


def study_yaml() -> Files:
    """Return a study file."""
    content = {
        "output_dir": "runs/study",
        "designs": ["model1", "model3"],
        "base_model": "quickstart/base",
        "seeds": [1, 2],
        "corpus": "docstrings",
        "baselines": ["tfidf"],
        "headline": "DocstringRetrieval",
        "training": {"learning_rate": 1.0e-4, "max_steps": 10},
        "recipes": {"short": {"max_seq_length": 64}},
        "comparison": {"baseline": "model1", "margin": 0.01},
        "max_length": 256,
    }
    return {"study.yaml": yaml.safe_dump(content).encode()}


def check_yaml(name: str, value: Any, folder: Path) -> None:
    """Each key of the file has its value."""
    content = yaml.safe_load((folder / name).read_text("utf-8-sig"))
    stated = asdict(value)
    for key, member in content.items():
        if not (key == "designs" and member == "grid") and not (key == "base_models" and member == []):
            assert same(stated[key], member), key


def check_families(folder: Path, value: Any) -> None:
    """Each task of the file is in its category."""
    content = yaml.safe_load((folder / "families.yaml").read_text("utf-8-sig"))
    for category, entries in content.items():
        for entry in entries:
            for task in entry if isinstance(entry, list) else [entry]:
                if task.isprintable() and task == " ".join(task.split()):
                    assert value.category[task] == str(category)


def check_prompts(folder: Path, value: Any) -> None:
    """Each prompt is that of the file."""
    for key, sides in yaml.safe_load((folder / "prompts.yaml").read_text("utf-8-sig")).items():
        stated = {"query": sides} if isinstance(sides, str) else sides
        assert value[str(key)] == stated


def record() -> Files:
    """Return the record of a result."""
    content = {**asdict(Record()), "task": "STS12", "model": "ours/model1", "key": "abc", "scores": {"default": {"test": 0.5}}}
    content |= {"sides": {"query": {"texts": 3, "tokens": 9}}, "main_score": "cosine_spearman", "evaluation_version": 3}
    return {"STS12.json": json.dumps(content).encode()}


def check_record(folder: Path, value: Any) -> None:
    """Each field is that of the file."""
    content = json.loads((folder / "STS12.json").read_text("utf-8-sig"))
    for key, member in asdict(value).items():
        assert content.get(key) is None or same(member, content[key])
    value.totals()
    value.compare({"default": {"test": 0.5}}, 1e-6)
    value.changed_libraries()


FAMILIES = yaml.safe_dump({"STS": [["STS12", "STS13"], "BIOSSES"], "Own": ["Topics"]}).encode()
PROMPTS = yaml.safe_dump({"default": {"query": "query: ", "document": ""}, "STS": "Retrieve: {text}"}).encode()
READERS = [
    Reader("task folders: BEIR", corpus, load_tasks, check_corpus, weight=1.5),
    Reader("task folders: judgements as JSON lines", judged_lines, load_tasks, check_corpus),
    Reader("task folders: tables and candidates", tables, load_tasks, check_tasks, weight=1.5),
    Reader("prompts of an evaluation", lambda: {"prompts.yaml": PROMPTS}, lambda folder: read_prompts(
        folder / "prompts.yaml", ["STS", "STS12"]), check_prompts, {".yaml": odd_yaml}),
    Reader("results of mteb", results, lambda folder: read_results([folder]), check_results, weight=1.5),
    Reader("scores item by item", items, lambda folder: read_items(folder / "STS12.jsonl.gz", CELLS, 0.25), check_items),
    Reader("record of a result", record, lambda folder: Record.read_complete(folder / "STS12.json"), check_record),
    Reader("study.json", study_json, read_study_file, check_study_json),
    Reader("study file", study_yaml, lambda folder: read_study_config(folder / "study.yaml", {}), lambda folder, value:
        check_yaml("study.yaml", value, folder), {".yaml": odd_yaml}),
    Reader("families", lambda: {"families.yaml": FAMILIES}, lambda folder: read_families(folder / "families.yaml"),
        check_families, {".yaml": odd_yaml}),
]  # fmt: skip
