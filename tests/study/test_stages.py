"""A recipe of a study may train its cells in stages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from study.cell_progress import training_seconds
from study.estimate import estimate
from study.input_keys import stages_key
from study.report.leakage import find_leakage
from study.study import read_study
from tests.study.tiny_study import Main, change, fake_cell, write_lines
from tests.tiny import triplets


def write_stages(folder: Path, **last: object) -> Path:
    texts = folder / "texts.jsonl"
    lines = [json.dumps({"text": f"word{k} word{(k * 3) % 50} word{(k * 7) % 50} word{k % 9}"}) for k in range(48)]
    texts.write_text("\n".join(lines) + "\n")
    stages = [{"objective": "mntp", "design": "bidirectional_mean", "dataset_name": str(texts), "mask_token": "word0",
               "max_steps": 2}, {"start": "merged", **last}]  # fmt: skip
    path = folder / "stages.yaml"
    path.write_text(yaml.safe_dump(stages))
    return path


def test_the_key_is_of_flags_and_data(tmp_path: Path) -> None:
    path = write_stages(tmp_path)
    before = stages_key(str(path))
    assert before == stages_key(str(path)) and len(before[0]["dataset_name"]) == 64
    (tmp_path / "texts.jsonl").write_text('{"text": "other"}\n')
    assert stages_key(str(path)) != before


def test_leakage_is_looked_for_in_the_data_of_every_stage(study_file: Path, tmp_path: Path) -> None:
    """A test text that only a later stage trains on: of a recipe, of a system, in other rows of the study's own data."""
    stages = write_stages(tmp_path, dataset_name=str(tmp_path / "later.jsonl"))
    rows = triplets(40)
    write_lines(tmp_path / "later.jsonl", [{"query": rows[30]["query"], "positive": "words that no test has"}])
    own = [{"name": "first"}, {"name": "second", "dataset_name": str(tmp_path / "of_system.jsonl")}]
    write_lines(tmp_path / "of_system.jsonl", [{"query": "nor these", "positive": rows[31]["positive"]}])
    (study_file.parent / "own.yaml").write_text(yaml.safe_dump({"design": "model1", "stages": own}))
    change(study_file, recipes={"plain": {}, "staged": {"stages": str(stages)}}, systems={"own": "own.yaml"})
    entries, _ = find_leakage(read_study(study_file))
    assert {(entry["training_file"], entry["count"]) for entry in entries} == {("later", 1), ("of_system", 1)}
    write_lines(tmp_path / "later.jsonl", [{"query": "other words", "positive": "words that no test has"}])
    entries, _ = find_leakage(read_study(study_file))
    assert [entry["training_file"] for entry in entries] == ["of_system"], "the data of a stage have changed"


def test_leakage_is_looked_for_in_a_mix_that_a_system_with_a_file_reads_too(study_file: Path) -> None:
    (study_file.parent / "mix.yaml").write_text("- name: train.jsonl\n")
    (study_file.parent / "own.yaml").write_text("design: causal_mean\n")
    write_lines(study_file.parent / "train.jsonl", [{"query": "the one row", "positive": triplets(40)[30]["positive"]}])
    training = {**yaml.safe_load(study_file.read_text())["training"], "dataset_config": "mix.yaml"}
    settings = {"high": {"learning_rate": 0.1, "batching": None, "max_train_samples": None}}  # take back what training says
    recipes = {"plain": {}, **settings}
    change(study_file, training=training, train_file=None, systems={"own": "own.yaml"}, recipes=recipes, baselines=[])
    assert [entry["count"] for entry in find_leakage(read_study(study_file))[0]] == [1]


def test_leakage_is_looked_for_in_the_rows_that_are_read(study_file: Path) -> None:
    """A study of few rows, then of all; then a system that reads more than the designs."""
    rows = [{"query": f"query {number}", "positive": f"no test has this {number}"} for number in range(6)]
    rows.append({"query": "the last row", "positive": triplets(40)[30]["positive"]})
    write_lines(study_file.parent / "train.jsonl", rows)
    training = yaml.safe_load(study_file.read_text())["training"]
    change(study_file, training={**training, "max_train_samples": 3})
    assert not find_leakage(read_study(study_file))[0]
    change(study_file, training={**training, "max_train_samples": 7})
    assert [entry["count"] for entry in find_leakage(read_study(study_file))[0]] == [1]
    (entry,) = find_leakage(read_study(study_file))[0]
    assert entry["examples"]
    change(study_file, comparison={"texts": False})
    assert find_leakage(read_study(study_file))[0] == [{**entry, "examples": []}], "a report without texts"
    more = {"design": "causal_mean", "max_train_samples": 7}
    change(study_file, training={**training, "max_train_samples": 3}, systems={"more": more})
    assert [entry["count"] for entry in find_leakage(read_study(study_file))[0]] == [1]


def test_the_time_of_steps_is_that_of_all_stages_without_scoring(study_file: Path) -> None:
    cell = fake_cell(study_file.parent / "cells", 0, "model1")

    def write(folder: Path, pace: float, scoring: float) -> None:
        folder.mkdir(parents=True)
        (folder / "train_result.json").write_text(json.dumps({"steps": 10, "train_runtime": 999.0}))
        lines, now = [], 0.0
        for step in (2, 4, 6, 8, 10):
            now += 2 * pace
            lines.append({"step": step, "time": now, "loss": 1.0})
            now += scoring
            lines.append({"step": step, "time": now, "eval_mean": 0.5, "eval_seconds": scoring})
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    write(cell.adapter, 0.5, 100.0)
    assert training_seconds(cell) == 5.0
    write(cell.adapter / "stages" / "1-mntp", 2.0, 0.0)
    assert training_seconds(cell) == 25.0


@pytest.mark.slow
def test_a_staged_system_is_a_cell_beside_plain_ones(study_file: Path, main: Main, tmp_path: Path) -> None:
    stages = write_stages(tmp_path, max_steps=3)
    change(study_file, designs=["model4"], baselines=[], recipes={"plain": {}, "staged": {"stages": str(stages)}})
    study = read_study(study_file)
    plain, staged = study.cells
    assert plain.folder != staged.folder
    assert "in stages" in estimate(study, staged).how
    assert main(study_file)[0] == 0
    assert json.loads((staged.adapter / "embedder.json").read_text())["merged"][0]["adapter"] == "1-mntp"
    assert "merged" not in json.loads((plain.adapter / "embedder.json").read_text())
    assert read_study(study_file).cells[1].done
