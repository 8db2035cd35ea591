"""A folder of real data becomes smaller tasks, development tasks and a mix, none of which share a text."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from comparison.reading.families import read_families
from evaluation.tasks.find import find_tasks
from evaluation.tasks.local_files import iter_rows
from study.config import ROOT, read_study_config
from study.smaller_data import CLASSIFICATIONS, PAIRS, QUESTIONS, main
from tests.study.tiny_study import write_lines
from tests.tiny import DATA


def made_data(data: Path) -> None:
    """Write what the command needs, with few rows."""
    labelled = [{"text": f"labelled {n}", "label": "ab"[n % 2]} for n in range(8)]
    for name in ("NewsClassification", "Banking77Classification"):
        for split in ("train", "test"):
            write_lines(data / "eval" / name / f"{split}.jsonl.gz", labelled)
    for name, source in CLASSIFICATIONS.items():
        rows = [{"sentence": f"{name} {n}", "label": "ab"[n % 2]} for n in range(40)]
        write_lines(data / "eval" / source / "test.jsonl.gz", rows)
    pairs = [{"sentence1": f"left {n}", "sentence2": f"right {n}", "label": n % 2} for n in range(6)]
    write_lines(data / "eval" / PAIRS[0] / f"{PAIRS[1]}.jsonl.gz", pairs)
    questions = []
    for n in range(1500):
        questions.append({"query": f"question {n}", "positive": f"answer {n}", "negative": [f"answer {n + 1}"]})
    write_lines(data / "train" / f"{QUESTIONS}.jsonl.gz", questions)
    write_lines(data / "train" / "short.jsonl.gz", [{"query": "q", "positive": "p"}])


def test_tasks_development_tasks_and_the_mix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    made_data(data)
    assert main([str(data), "--output_dir", str(out)]) == 0
    tasks = {spec.name: spec.type for spec in find_tasks([], out / "eval")}
    assert set(CLASSIFICATIONS) < set(tasks) and "Banking77Classification" not in tasks
    development = {spec.name: spec.type for spec in find_tasks([], out / "development")}
    assert sorted(development.values()) == ["Clustering", "PairClassification", "Retrieval"]
    for name in CLASSIFICATIONS:
        trained = {row["text"] for row in iter_rows(out / "eval" / name / "train.jsonl.gz")}
        scored = {row["text"] for row in iter_rows(out / "eval" / name / "test.jsonl.gz")}
        assert trained and scored and not trained & scored
    held_out = {row["text"] for row in iter_rows(out / "development" / "SquadSentences" / "corpus.jsonl.gz")}
    trained = set()
    for row in iter_rows(out / "train" / f"{QUESTIONS}.jsonl.gz"):
        trained |= {row["positive"], *row["negative"]}
    assert trained and held_out and not trained & held_out
    labels = [entry["label"] for entry in yaml.safe_load((out / "mix.yaml").read_text())]
    assert labels == ["short", QUESTIONS]
    assert main([str(data), "--output_dir", str(out)]) == 1
    assert "is not empty" in capsys.readouterr().err


def test_the_study_of_smollm2(tmp_path: Path) -> None:
    if not DATA.is_dir():
        pytest.skip("the evaluation data are not here")
    out = tmp_path / "smollm2"
    assert main([str(DATA), "--output_dir", str(out)]) == 0
    config = read_study_config(ROOT / "configs" / "studies" / "smollm2.yaml", {})
    kinds: dict[str, list[str]] = {}
    for spec in find_tasks(config.tasks, out / "eval"):
        kinds.setdefault(spec.type, []).append(spec.name)
    assert len(kinds["Retrieval"]) >= 8 and len(kinds["Classification"]) >= 8
    families = read_families(ROOT / str(config.comparison["families"]))
    assert not [name for names in kinds.values() for name in names if families.category_of(name) is None]
