"""A whole study on tiny data: it trains, scores and compares; it goes on where it was stopped; mistakes are named."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import run_study
from comparison.__main__ import main as compare
from model_loaders.errors import UserError
from study.config import make_cells, read_study
from tests.conftest import ROOT, triplets


def write_lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def study_file(base: Path, tmp_path: Path) -> Path:
    rows = triplets(24)
    write_lines(tmp_path / "train.jsonl", [{**row, "negative": row["negatives"]} for row in rows])
    task = tmp_path / "eval" / "WordRetrieval"
    held_out = triplets(40)[24:]
    write_lines(task / "corpus.jsonl.gz", [{"id": f"d{i}", "title": "", "text": r["positive"]} for i, r in enumerate(held_out)])
    write_lines(task / "queries.jsonl.gz", [{"id": f"q{i}", "text": r["query"]} for i, r in enumerate(held_out)])
    gold = [{"query-id": f"q{i}", "corpus-id": f"d{i}", "score": 1} for i in range(len(held_out))]
    write_lines(task / "qrels.test.jsonl.gz", gold)
    training = {"per_device_train_batch_size": 8, "max_steps": 4, "learning_rate": 0.01, "max_seq_length": 16,
                "pooling_latents": 4, "pooling_heads": 2, "pooling_head_dim": 4, "save_steps": 2}  # fmt: skip
    content = {"base_model": str(base), "output_dir": str(tmp_path / "out"), "designs": ["model1", "model5"], "jobs": 2,
               "train_file": "train.jsonl", "eval_dir": "eval", "headline": "WordRetrieval",
               "baselines": ["mean_pooling"], "training": training}  # fmt: skip
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run(study_file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "run_study.py"), str(study_file), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=study_file.parent)


def test_study_from_start_to_table_and_again(study_file: Path) -> None:
    done = run(study_file)
    assert done.returncode == 0, done.stdout + done.stderr
    out = study_file.parent / "out"
    saved = json.loads((out / "comparison.json").read_text())
    assert [row["name"] for row in saved["rows"]] == ["mean_pooling", "model1", "model5"]
    assert compare([str(out), "--baseline", "model1", "--output_dir", str(out / "compared")]) == 0
    (category,) = json.loads((out / "compared" / "comparison.json").read_text())["categories"]
    assert [one["a"] for one in category["contrasts"]] == ["mean_pooling", "model5"]
    assert category["contrasts"][0]["these_tasks"]["tasks"]["WordRetrieval"]["units"] == 16
    for row in saved["rows"][1:]:
        assert row["untrained"] is not None
        assert row["gains"]["mean_pooling"]["items"] == 16
        assert row["scores"]["WordRetrieval"] != row["untrained"]
    assert "One seed a design" in done.stdout
    trained = sorted(out.glob("cells/*/adapter/adapter_model.safetensors"))
    stamps = [path.stat().st_mtime_ns for path in trained]
    again = run(study_file)
    assert again.returncode == 0
    assert "started" not in again.stdout
    assert [path.stat().st_mtime_ns for path in trained] == stamps
    assert json.loads((out / "comparison.json").read_text())["rows"] == saved["rows"]


def test_a_failing_cell_is_named_and_stops_no_other(study_file: Path) -> None:
    content = yaml.safe_load(study_file.read_text())
    content["training"] |= {"pooling_learning_rate": 1e30, "max_grad_norm": 0}  # diverges; model1 has no pooling
    study_file.write_text(yaml.safe_dump(content))
    done = run(study_file)
    assert done.returncode == 1
    assert "model5-seed42 failed" in done.stderr
    assert "is not finite" in done.stderr
    names = [row["name"] for row in json.loads((study_file.parent / "out" / "comparison.json").read_text())["rows"]]
    assert names == ["mean_pooling", "model1"]


def test_settings_make_the_cell(study_file: Path) -> None:
    config = read_study(study_file)
    cells = make_cells(config, "data", "base")
    assert {cell.folder for cell in cells}.isdisjoint(cell.folder for cell in make_cells(config, "other data", "base"))
    assert {cell.folder for cell in cells}.isdisjoint(cell.folder for cell in make_cells(config, "data", "other base"))
    longer = {cell.folder for cell in make_cells(dataclasses.replace(config, training={"max_seq_length": 32}), "data", "base")}
    assert {cell.folder for cell in cells}.isdisjoint(longer)  # baselines too: they see other texts
    config.training["learning_rate"] = 0.02
    changed = {cell.name: cell.folder for cell in make_cells(config, "data", "base")}
    assert all((changed[cell.name] == cell.folder) == (cell.kind == "baseline") for cell in cells)


def test_several_data_sets_key_the_cells_by_their_content(study_file: Path) -> None:
    content = yaml.safe_load(study_file.read_text())
    del content["train_file"]
    content["training"]["dataset_config"] = "mix.yaml"
    content["designs"] = ["model1"]
    study_file.write_text(yaml.safe_dump(content))
    mix = study_file.with_name("mix.yaml")
    mix.write_text("- name: train.jsonl\n")

    def folders() -> list[Path]:
        config = read_study(study_file)
        inputs = run_study.prepare(config, study_file)
        return [cell.folder for cell in make_cells(config, inputs["data_key"], inputs["base_key"])]

    first = folders()
    mix.write_text("# the same\n- name: train.jsonl\n  repeat: 1\n")
    assert folders() == first
    renamed = mix.rename(mix.with_name("renamed.yaml"))
    study_file.write_text(study_file.read_text().replace("mix.yaml", "renamed.yaml"))
    assert folders() == first
    renamed.write_text("- name: train.jsonl\n  repeat: 0.5\n")
    second = folders()
    train_file = study_file.with_name("train.jsonl")
    train_file.write_text("".join(train_file.read_text().splitlines(keepends=True)[1:]))
    assert len({*first, *second, *folders()}) == 3 * len(first)

    done = run(study_file)
    assert done.returncode == 0, done.stdout + done.stderr
    record = next((study_file.parent / "out").glob("cells/model1*/adapter/train_config.json"))
    assert json.loads(record.read_text())["dataset_config"][0]["repeat"] == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": {"dataset_config": "mix.yaml"}}, "leave train_file"),
        ({"training": {"dataset_config": [{"name": "d"}]}, "train_file": None}, "path of a file"),
        ({"training": {"dataset_config": "mix.yaml"}, "train_file": None, "baselines": ["tfidf"]}, "need train_file"),
        ({"designes": ["model1"]}, "designs"),
        ({"designs": ["model9"]}, "model9"),
        ({"baselines": ["tfidff"]}, "tfidf"),
        ({"train_file": None}, "train_file"),
        ({"seeds": []}, "seeds"),
        ({"headline": None}, "headline"),
        ({"seeds": 42}, "seeds"),
        ({"seeds": [1, 1]}, "twice"),
        ({"designs": "model1"}, "designs"),
        ({"training": {"seed": 7}}, "seed"),
        ({"training": "fast"}, "training"),
        ({"jobs": 0}, "jobs"),
    ],
)
def test_mistakes_in_a_study_file(study_file: Path, change: dict, message: str) -> None:
    content = yaml.safe_load(study_file.read_text()) | change
    content = {key: value for key, value in content.items() if value is not None}
    study_file.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=message):
        read_study(study_file)


def test_a_typo_in_the_training_flags_is_told_before_anything_runs(study_file: Path) -> None:
    content = yaml.safe_load(study_file.read_text())
    content["training"]["learning_ratee"] = 0.1
    study_file.write_text(yaml.safe_dump(content))
    done = run(study_file)
    assert done.returncode == 2
    assert "learning_rate" in done.stderr
    assert "started" not in done.stdout


def test_unknown_cell_and_missing_file(study_file: Path) -> None:
    assert "model1-seed42" in run(study_file, "--cell", "model7-seed1").stderr
    missing = run(study_file.with_name("nothing.yaml"))
    assert missing.returncode == 1
    assert "nothing.yaml" in missing.stderr
    assert "Traceback" not in missing.stderr


@pytest.mark.slow
def test_killed_at_any_moment_the_same_table_in_the_end(study_file: Path, tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed"
    assert run(study_file, "--output_dir", str(undisturbed)).returncode == 0
    out = study_file.parent / "out"
    command = [sys.executable, str(ROOT / "run_study.py"), str(study_file)]
    for seconds in (6, 14, 22):
        process = subprocess.Popen(command, cwd=study_file.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()
        process.wait()
        time.sleep(3)  # its cells notice within a second that it is gone
    assert run(study_file).returncode == 0
    rows = [json.loads((folder / "comparison.json").read_text())["rows"] for folder in (out, undisturbed)]
    assert rows[0] == rows[1]
