"""The study file: its meaning for the cells, and the mistakes that are refused."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.errors import UserError
from common.file_hashes import FileHashes
from evaluation.paper_tasks import LISTS
from evaluation.tasks.mteb_tasks import official_names
from model_loaders.designs import DESIGNS, GRID
from study.cells import Cell, make_cells
from study.command_line import training_words
from study.config import ROOT, StudyConfig, find_path, read_study_config
from study.estimate import make_estimate, mean_negatives
from study.input_keys import training_key
from study.inputs import Inputs, base_key
from study.published import folder_key
from study.study import Study, read_study
from study.systems import find_systems
from tests.study.tiny_study import Main, change
from trainers.flags.command_line import parse
from triplets.dataset import LoadedDataSet


def cells_of(study_file: Path) -> list[Cell]:
    return read_study(study_file).cells


def test_the_grid_is_complete() -> None:
    rows = [DESIGNS[name] for name in GRID]
    cells = {(row.attention, row.pooling if row.pooling != "none" else row.tokens) for row in rows}
    poolings = ("last", "mean", "last_layer", "multi_layer")
    assert cells == {(attention, pooling) for attention in ("causal", "bidirectional") for pooling in poolings}
    assert len(rows) == 8
    # As the paper defines them: of several layers, causal attention reads EOS states and bidirectional attention means.
    reads = {(row.attention, row.tokens) for row in rows if row.pooling == "multi_layer"}
    assert reads == {("causal", "last"), ("bidirectional", "mean")}


def test_every_combination_is_a_cell(study_file: Path, base: Path) -> None:
    other = study_file.parent / "other"
    shutil.copytree(base, other)
    change(
        study_file,
        base_model=None,
        base_models=[str(base), "other"],
        designs="grid",
        seeds=[1, 2],
        recipes={"slow": {"learning_rate": 0.001}, "fast": {}},
        baselines=["mean_pooling", "tfidf"],
    )
    cells = cells_of(study_file)
    assert len(cells) == 2 + 1 + 2 * 2 * 2 * 8
    assert [cell.number for cell in cells] == list(range(len(cells)))
    assert len({cell.name for cell in cells}) == len(cells)
    assert {cell.system for cell in cells} >= {"model3 on other, slow", "mean_pooling on other", "tfidf"}
    # The other base has the same weights: what is equal is not trained twice, but by name.
    assert len({cell.folder for cell in cells}) == 1 + 1 + 2 * 2 * 8
    assert all(cell.seed in (1, 2) for cell in cells if cell.kind == "design")


def test_settings_make_the_cell(study_file: Path) -> None:
    study = read_study(study_file)
    config, inputs = study.config, study.inputs

    def folders(config: StudyConfig, inputs: Inputs) -> dict[str, Path]:
        return {cell.name: cell.folder for cell in make_cells(config, inputs)}

    def changed(inputs: Inputs = inputs, **training: Any) -> set[str]:
        other = dataclasses.replace(config, training={**config.training, **training})
        return {name for name, folder in folders(other, inputs).items() if folder != before[name]}

    before = folders(config, inputs)
    trained = {"model1-seed42", "model3-seed42"}
    assert changed(dataclasses.replace(inputs, train_keys=dict.fromkeys(inputs.train_keys, "other"))) == trained
    assert changed(dataclasses.replace(inputs, base_keys=dict.fromkeys(inputs.base_keys, "other"))) == set(before)
    assert changed(max_seq_length=32) == set(before)  # baselines too: they see other texts
    assert changed(torch_dtype="bfloat16") == set(before)
    assert changed(attn_implementation="eager") == set(before)
    assert changed(learning_rate=0.02) == trained
    assert changed(pooling_latents=5) == {"model3-seed42"}
    assert not changed(logging_steps=7)
    # Other tasks are another evaluation of the same weights.
    tasks = dataclasses.replace(inputs, tasks={"Other": "data"})
    assert not changed(tasks)
    keys = {cell.evaluation_key for cell in [*make_cells(config, inputs), *make_cells(config, tasks)]}
    assert len(keys) == 2


def test_flags_that_decide_a_baseline_are_in_its_key(study_file: Path) -> None:
    """Rows that words are fitted on, and how a published model computes; flags that are not given leave older keys."""
    (study_file.parent / "model").mkdir()
    training = yaml.safe_load(study_file.read_text())["training"]
    change(study_file, baselines=["tfidf", "mean_pooling"], published={"Own": str(study_file.parent / "model")})

    def folders(**flags: Any) -> dict[str, str]:
        change(study_file, training={**training, **flags})
        return {cell.design: cell.folder.name for cell in cells_of(study_file) if not cell.trains}

    before, fewer, other = folders(), folders(max_train_samples=5), folders(torch_dtype="bfloat16")
    assert [name for name in before if fewer[name] != before[name]] == ["tfidf"]
    assert sorted(name for name in before if other[name] != before[name]) == ["Own", "mean_pooling"]


def test_more_processes_are_another_cell(study_file: Path) -> None:
    before = cells_of(study_file)
    change(study_file, accelerate_config=str(ROOT / "configs" / "accelerate" / "cpu.yaml"))
    after = cells_of(study_file)
    assert [cell.folder == after[cell.number].folder for cell in before] == [True, False, False]


def test_a_mix_is_keyed_by_content(study_file: Path) -> None:
    content = yaml.safe_load(study_file.read_text())
    content["training"]["dataset_config"] = "mix.yaml"
    change(study_file, train_file=None, training=content["training"], designs=["model1"], baselines=[])
    mix = study_file.with_name("mix.yaml")
    mix.write_text("- name: train.jsonl\n")

    def folder() -> Path:
        return cells_of(study_file)[0].folder

    first = folder()
    mix.write_text("# the same\n- name: train.jsonl\n  repeat: 1\n")
    assert folder() == first
    renamed = mix.rename(mix.with_name("renamed.yaml"))
    study_file.write_text(study_file.read_text().replace("mix.yaml", "renamed.yaml"))
    assert folder() == first
    renamed.write_text("- name: train.jsonl\n  repeat: 0.5\n")
    second = folder()
    train_file = study_file.with_name("train.jsonl")
    train_file.write_text("".join(train_file.read_text().splitlines(keepends=True)[1:]))
    assert len({first, second, folder()}) == 3


STUDIES = sorted(path for path in (ROOT / "configs" / "studies").rglob("*.yaml") if path.parent.name != "trainings")


@pytest.mark.parametrize("path", [ROOT / "configs" / "quickstart.yaml", *STUDIES], ids=lambda path: path.stem)
def test_shipped_studies_are_valid(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = read_study_config(path, {"output_dir": str(tmp_path)})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "objectives").mkdir(parents=True)
    (tmp_path / "runs" / "objectives" / "blend.yaml").write_text("- name: ../../train.jsonl\n")  # of a stage
    # What stands in runs/ is made by the command that the file names.
    for flags in (config.training, *config.recipes.values()):
        if str(flags.get("dataset_config")).startswith("runs/"):
            mix = tmp_path / "mix.yaml"
            mix.write_text("- name: train.jsonl\n")
            (tmp_path / "train.jsonl").write_text('{"query": "q", "positive": "p"}\n')
            flags["dataset_config"] = str(mix)
        for task in flags.get("eval_tasks", []):
            (tmp_path / task).mkdir(parents=True)
    inputs = Inputs(
        bases={name: str(ROOT / "quickstart" / "base") for name in config.base_models},
        base_keys=dict.fromkeys(config.base_models, "base"),
        train={name: config.flags(name).get("dataset_config", "train.jsonl") for name in config.data_names},
        train_keys=dict.fromkeys(config.data_names, "data"),
        train_files={},
        eval_dir=None,
        tasks=dict.fromkeys(config.tasks, "mteb"),
        prompts=None,
        accelerate=None,
        systems=find_systems(config, path),
    )
    study = Study(path, config, inputs, make_cells(config, inputs))
    assert config.eval_dir or not set(config.tasks) - set(official_names()) - set(LISTS)
    kinds = {(cell.system, cell.base): cell for cell in study.cells if cell.trains}
    assert len(kinds) == len(config.base_models) * (len(config.designs) * len(config.recipe_names) + len(config.systems))
    for cell in kinds.values():
        assert parse(training_words(study, cell), design=cell.script_design).training.max_steps > 0


@pytest.mark.parametrize(("name", "objective"), [("supervised", "contrastive"), ("held_out_loss", "mntp")])
def test_trainings_beside_the_studies_of_objectives(
    name: str, objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ROOT / "configs" / "studies" / "objectives" / "trainings" / f"{name}.yaml"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "objectives").mkdir(parents=True)
    (tmp_path / "runs" / "objectives" / "mix.yaml").write_text("- name: some/data\n")
    config = parse(["--config", str(file), "--output_dir", str(tmp_path / "out")], objective=objective)
    study = read_study_config(file.parents[1] / "mntp.yaml", {})
    common = {key: value for key, value in study.training.items() if key in yaml.safe_load(file.read_text())}
    assert len(common) >= 7
    for key, value in common.items():
        assert key in ("dataset_config", "lora_dropout") or config.resolved()[key] == value, key


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"dataset_config": "mix.yaml"}}, "leave train_file"),
        ({"training": {"dataset_config": [{"name": "d"}]}, "train_file": None}, "path of a file"),
        ({"training": {"dataset_config": "mix.yaml"}, "train_file": None, "baselines": ["tfidf"]}, "need train_file"),
        ({"designes": ["model1"]}, "designs"),
        ({"designs": ["model9"]}, "model9"),
        ({"designs": "model1"}, "designs"),
        ({"baselines": ["tfidff"]}, "tfidf"),
        ({"train_file": None}, "train_file"),
        ({"eval_dir": None, "tasks": None}, "eval_dir"),
        ({"seeds": []}, "seeds"),
        ({"seeds": 42}, "seeds"),
        ({"seeds": [1, 1]}, "twice"),
        ({"headline": "WordPair"}, "none of the tasks"),
        ({"training": {"seed": 7}}, "seed"),
        ({"training": "fast"}, "training"),
        ({"recipes": {"fast": {"output_dir": "x"}}}, "recipes, fast: output_dir"),
        ({"recipes": {"fast": 3}}, "recipes, fast"),
        ({"jobs": 0}, "jobs"),
        ({"base_models": ["a"]}, "one of them"),
        ({"base_model": None}, "one of them"),
        ({"comparison": {"basline": "model1"}}, "did you mean 'baseline'"),
        ({"comparison": {"margin": 5}}, "one point"),
        ({"comparison": {"margin": "small"}}, "margin: expected float"),
        ({"comparison": {"baseline": "model1", "all_pairs": True}}, "leave baseline out"),
    ],
)
def test_mistakes_in_a_study_file(study_file: Path, changes: dict, message: str) -> None:
    change(study_file, **changes)
    with pytest.raises(UserError, match=message):
        read_study_config(study_file, {})


def test_a_key_twice(study_file: Path) -> None:
    study_file.write_text(study_file.read_text() + "\nseeds: [7]\nseeds: [8]\n")
    with pytest.raises(UserError, match="seeds stands in line"):
        read_study_config(study_file, {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accelerate_config": "nothing.yaml"}, "there is no file nothing.yaml"),
        ({"accelerate_config": "machines.yaml"}, "wants 2 machines"),
        ({"base_model": "/no/such/base"}, "base_model: there is no base model directory /no/such/base"),
        ({"base_model": "eval"}, "has no config.json"),
        ({"eval_dir": "nowhere"}, "there is no folder nowhere"),
        ({"headline": "WordPair", "tasks": None}, "did you mean 'WordPairs'"),
        ({"comparison": {"baseline": "model2"}}, "there is no 'model2' (did you mean 'model3'?)"),
        ({"eval_prompts": "nothing.yaml"}, "there is no file nothing.yaml"),
    ],
)
def test_named_things_must_exist(study_file: Path, changes: dict, message: str, main: Main) -> None:
    study_file.with_name("machines.yaml").write_text("distributed_type: MULTI_GPU\nnum_machines: 2\nnum_processes: 16\n")
    change(study_file, **changes)
    status, _, errors = main(study_file, "--plan")
    assert status == 1 and message in errors


def test_content_that_decides_weights_is_in_the_key(study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe's file, an adapter to go on from, tasks by which a checkpoint is chosen; not those of a curve alone."""
    folder = study_file.parent
    (folder / "recipe.yaml").write_text("a: 1\n")
    (folder / "task").mkdir()
    (folder / "task" / "test.jsonl").write_text("{}\n")
    recipe, task = str(folder / "recipe.yaml"), str(folder / "task")
    choice = {"eval_tasks": [task], "load_best_model_at_end": True}

    def changes(flags: dict[str, Any], file: str) -> bool:
        before = training_key(flags)
        with (folder / file).open("a") as stream:
            stream.write("# more\n")
        return training_key(flags) != before

    monkeypatch.setenv("HOME", str(folder))
    (folder / "lora.json").write_text('{"r": 4}')
    (folder / "mix.yaml").write_text("- name: train.jsonl\n")

    for rank, flags in enumerate(({"lora_config": "~/lora.json"}, {"stages": [{"lora_config": "~/lora.json"}]}), start=5):
        before = training_key(flags)
        (folder / "lora.json").write_text(f'{{"r": {rank}}}')
        assert training_key(flags) != before
    assert changes({"stages": [{"dataset_config": "~/mix.yaml"}]}, "train.jsonl")
    assert changes({"stages": [choice]}, "task/test.jsonl")
    assert not changes({"stages": [{"eval_tasks": [task]}]}, "task/test.jsonl")
    assert changes({"recipe": recipe}, "recipe.yaml")
    assert changes({"peft_model_name_or_path": task}, "task/test.jsonl")
    assert changes(choice, "task/test.jsonl")
    assert not changes({"eval_tasks": [task]}, "task/test.jsonl")


def test_a_path_in_the_home_folder_is_found(study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(study_file.parent))
    assert find_path("~/train.jsonl", study_file) == str((study_file.parent / "train.jsonl").resolve())
    assert find_path("~/nowhere.jsonl", study_file) == "~/nowhere.jsonl"


def test_base_models_without_safetensors_have_keys_of_their_own(tmp_path: Path) -> None:
    keys = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pytorch_model.bin").write_bytes(name.encode() * 10)
        keys.append(base_key(str(tmp_path / name), FileHashes()))
    assert keys[0] != keys[1] and all(keys)


def test_the_pooling_of_a_published_adapter_is_in_its_key(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    keys = [folder_key(folder)]
    (tmp_path / "adapterattn_pool.pt").write_bytes(b"beside")
    keys.append(folder_key(folder))
    (folder / "attn_pool.pt").write_bytes(b"inside")
    keys.append(folder_key(folder))
    assert keys[0] != keys[1] != keys[2]


def test_a_plan_counts_negatives_rows_and_no_quantised_base(study_file: Path) -> None:
    assert mean_negatives(LoadedDataSet([], negatives=[2, 0, 2])) == 1
    training = yaml.safe_load(study_file.read_text())["training"]
    change(study_file, training={**training, "peft_model_name_or_path": str(study_file.parent)})
    study = read_study(study_file)
    cell = next(cell for cell in study.cells if cell.trains)
    assert "not known before one cell has finished: memory is planned of a new adapter" in make_estimate(study, cell).how
    change(study_file, training={**training, "objective": "mntp", "mask_token": "word0"}, designs=["bidirectional_mean"])
    study = read_study(study_file)
    cell = next(cell for cell in study.cells if cell.trains)
    assert "no plan knows the steps of --objective mntp" in make_estimate(study, cell).how
