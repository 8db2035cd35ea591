"""Systems in a study: each is trained by a file of its own beside the designs, on the study's base LLM and data."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.errors import UserError
from study.cells import Cell
from study.command_line import script_words, training_line, training_words
from study.config import ROOT, read_study_config
from study.study import read_study
from tests.study.tiny_study import Main, change, load, record_of
from trainers.flags.command_line import parse
from trainers.flags.train_config import TrainConfig

SMALL = ROOT / "configs" / "systems" / "small"
OWN = {
    "model_name_or_path": "somewhere/else",
    "dataset_name": "other.jsonl",
    "design": "causal_mean",
    "max_steps": 3,
    "per_device_train_batch_size": 4,
    "learning_rate": 0.005,
    "max_seq_length": 16,
}
STAGES = [
    {"name": "mntp", "objective": "mntp", "mask_token": "word0", "design": "bidirectional_mean", "max_steps": 2},
    {"start": "merged", "design": "bidirectional_weighted_mean"},
]


def write_system(study_file: Path, name: str = "own.yaml", **changes: Any) -> str:
    content = {key: value for key, value in {**OWN, **changes}.items() if value is not None}
    (study_file.parent / name).write_text(yaml.safe_dump(content))
    return name


def system_cell(study_file: Path, seed: int = 42) -> Cell:
    return next(cell for cell in read_study(study_file).cells if cell.kind == "system" and cell.seed == seed)


def parsed(study_file: Path) -> TrainConfig:
    study, cell = read_study(study_file), system_cell(study_file)
    return parse(training_words(study, cell), design=cell.script_design)


def test_a_system_is_a_cell_beside_designs(study_file: Path) -> None:
    change(study_file, systems={"Own-1": write_system(study_file), "staged": write_system(study_file, "s.yaml", stages=STAGES)})
    change(study_file, seeds=[1, 2], recipes={"slow": {"learning_rate": 0.001}, "fast": {}})
    cells = read_study(study_file).cells
    assert [cell.name for cell in cells][-4:] == ["Own-1-seed1", "staged-seed1", "Own-1-seed2", "staged-seed2"]
    assert [cell.kind for cell in cells] == ["baseline", *["design"] * 8, *["system"] * 4]
    assert [cell.number for cell in cells] == list(range(13))
    own, staged = cells[-4:-2]
    assert (own.system, own.design, staged.design) == ("Own-1", "causal_mean", "bidirectional_weighted_mean")
    assert own.folder.name.startswith("Own-1-seed1-")


def test_its_flags_are_its_files_and_its_data_the_studys(study_file: Path, base: Path) -> None:
    training = yaml.safe_load(study_file.read_text())["training"] | {"on_invalid_rows": "skip"}
    change(study_file, systems={"own": write_system(study_file)}, training=training)
    config = parsed(study_file)
    assert config.design == "causal_mean" and config.training.learning_rate == 0.005 and config.training.max_steps == 3
    assert config.data.on_invalid_rows == "skip", "which rows are read is the study's"
    assert config.training.save_steps != 2, "the study's training is that of designs"
    assert config.model.model_name_or_path == str(base)
    assert Path(str(config.data.dataset_name)).name == "train.jsonl"


def test_stages_keep_their_designs(study_file: Path) -> None:
    change(study_file, systems={"own": write_system(study_file, stages=STAGES)})
    config = parsed(study_file)
    assert config.design == "bidirectional_weighted_mean"
    assert [stage.design for stage in config.before] == ["bidirectional_mean"]


def test_a_design_with_other_flags(study_file: Path) -> None:
    """A control has the designs' training but for the flags that it names."""
    before = [cell.folder.name for cell in read_study(study_file).cells]
    change(study_file, systems={"mean-rank33": {"design": "causal_mean", "lora_r": 33, "lora_alpha": 66}})
    cell, config = system_cell(study_file), parsed(study_file)
    assert (cell.name, cell.system, cell.design) == ("mean-rank33-seed42", "mean-rank33", "causal_mean")
    assert config.design == "causal_mean" and config.model.lora_r == 33
    assert config.training.max_steps == 4 and config.training.save_steps == 2, "all else is the study's training"
    study = read_study(study_file)
    assert [other.folder.name for other in study.cells[:-1]] == before
    line = training_line(study, cell)
    assert "--design causal_mean" in line and "--lora_r 33" in line and "pooling" not in line
    training = yaml.safe_load(study_file.read_text())["training"]
    change(study_file, training=training | {"max_steps": 9})
    assert system_cell(study_file).folder.name != cell.folder.name
    with_pooling = {"design": "model3", "pooling_latents": 2}
    change(study_file, systems={"few": with_pooling})
    assert "--pooling_latents 2" in training_line(read_study(study_file), system_cell(study_file))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"lora_r": 33}, "systems: own names no design"),
        ({"design": "modell1"}, "modell1"),
        ({"design": "model1", "seed": 3}, "systems: own: seed is the study's"),
        ({"design": "model1", "stages": []}, "systems: own: stages is the study's, or of a file"),
    ],
)
def test_wrong_flags_of_a_system_are_an_error(study_file: Path, entry: dict[str, Any], message: str) -> None:
    change(study_file, systems={"own": entry})
    with pytest.raises(UserError, match=message):
        read_study(study_file)


def test_what_decides_its_weights(study_file: Path) -> None:
    change(study_file, systems={"own": write_system(study_file)})
    before = system_cell(study_file).folder.name
    training = yaml.safe_load(study_file.read_text())["training"]
    change(study_file, training=training | {"max_steps": 9})
    write_system(study_file, dataset_name="another.jsonl", output_dir="anywhere", seed=3, logging_steps=2)
    assert system_cell(study_file).folder.name == before
    write_system(study_file, learning_rate=0.001)
    assert system_cell(study_file).folder.name != before
    write_system(study_file, stages=STAGES)
    staged = system_cell(study_file).folder.name
    write_system(study_file, stages=[{**STAGES[0], "max_steps": 5}, STAGES[1]])
    longer = system_cell(study_file).folder.name
    stages = [{key: value for key, value in STAGES[0].items() if key != "design"}, STAGES[1]]
    folders = set()
    for design in ("bidirectional_mean", "bidirectional_max"):  # of the first stage
        write_system(study_file, stages=stages, design=design)
        folders.add(system_cell(study_file).folder.name)
    assert len({before, staged, longer, *folders}) == 5


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("model1", {}, "'model1' is the name of a design already"),
        ("mean_pooling", {}, "name of a baseline already"),
        ("a b", {}, "'a b' is no name for the report"),
        ("own", {"design": None}, "own.yaml names no design"),
        ("own", {"design": "modell1"}, "modell1"),
        ("own", {"stages": "stages.yaml"}, "write the list itself"),
    ],
)
def test_a_wrong_system_is_an_error(study_file: Path, name: str, changes: dict[str, Any], message: str) -> None:
    change(study_file, systems={name: write_system(study_file, **changes)})
    with pytest.raises(UserError, match=message):
        read_study(study_file)


def test_files_and_data_that_are_missing(study_file: Path) -> None:
    change(study_file, systems={"own": "nowhere.yaml"})
    with pytest.raises(UserError, match=r"systems: own: there is no file nowhere\.yaml"):
        read_study(study_file)
    change(study_file, systems={"own": 3})
    with pytest.raises(UserError, match="systems: own: give the file of a training"):
        read_study(study_file)
    (study_file.parent / "mix.yaml").write_text("- name: train.jsonl\n")
    change(
        study_file, systems={"own": write_system(study_file)}, recipes={"a": {"dataset_config": "mix.yaml"}}, train_file=None
    )
    with pytest.raises(UserError, match="give train_file"):
        read_study(study_file)


def test_the_small_systems_are_in_their_study(tmp_path: Path) -> None:
    config = read_study_config(ROOT / "configs" / "studies" / "systems-small.yaml", {"output_dir": str(tmp_path)})
    assert config.systems == {path.stem: f"configs/systems/small/{path.name}" for path in SMALL.glob("*.yaml")}
    assert len(config.systems) >= 7 and config.designs == ["model1", "model2", "model3", "model4", "model5"]


@pytest.mark.slow
def test_a_staged_system_is_trained_and_compared(study_file: Path, main: Main) -> None:
    systems = {"own": write_system(study_file, stages=STAGES), "plain": write_system(study_file, "p.yaml")}
    change(study_file, designs=["model1"], systems=systems)
    status, out, errors = main(study_file)
    assert status == 0, errors
    study = read_study(study_file)
    cells = {cell.name: cell for cell in study.cells}
    assert all(cell.done for cell in study.cells)
    about = load(cells["own-seed42"].adapter / "embedder.json")
    assert about["design"] == "bidirectional_weighted_mean" and about["merged"][0]["adapter"] == "1-mntp"
    assert {cell.name: cell.kind for cell in record_of(study_file).cells}["own-seed42"] == "system"
    report = (study_file.parent / "out" / "report" / "comparison.md").read_text()
    headline = (study_file.parent / "out" / "headline.md").read_text()
    for system in ("model1", "own", "plain"):
        assert f"| {system} |" in report and f"| {system} |" in headline
    line = training_line(study, cells["own-seed42"])
    assert "--design" not in line and "own.yaml" in line
    shutil.rmtree(cells["own-seed42"].folder)
    assert "--design" not in script_words(study, cells["own-seed42"])
    status, out, _ = main(study_file, "--plan")
    assert status == 0 and "own-seed42" in out
