"""Trainings of several stages: each from the weights of the one before, killed and resumed, recorded, refused."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors import SafetensorError

import model_loaders
from common.errors import UserError
from model_loaders.layouts.merged_base import MERGED_FILE, merge_adapter
from model_loaders.saving import save
from tests.contracts.warm import Warm
from tests.tiny import WORDS, new_model, triplets
from trainers.flags.command_line import parse
from trainers.flags.resolve import check_start
from trainers.flags.stages import Stage
from trainers.run.stage_start import merge_and_check
from trainers.train import main

pytestmark = pytest.mark.usefixtures("unplanned")

STAGES: list[dict[str, Any]] = [
    {"name": "mntp", "objective": "mntp", "mask_token": "word0", "max_steps": 2},
    {"name": "simcse", "objective": "simcse", "start": "merged", "attention_dropout": 0.2, "lora_r": 2},
    {"name": "supervised", "start": "continued", "loss_scale": 50, "max_steps": 2},
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("data")
    texts = [" ".join(WORDS[(index * 7 + 3 * k) % 50] for k in range(4 + index % 5)) for index in range(40)]
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    rows = [{"query": r["query"], "positive": r["positive"], "negative": r["negatives"]} for r in triplets(12)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stages = [dict(stage) for stage in STAGES]
    for stage in stages[:2]:
        stage["dataset_name"] = str(folder / "texts.jsonl")
    stages[2]["dataset_name"] = str(folder / "rows.jsonl")
    (folder / "stages.yaml").write_text(yaml.safe_dump({"stages": stages}))
    return {"texts": folder / "texts.jsonl", "stages": folder / "stages.yaml"}


def argv_of(base: Path, files: dict[str, Path], output: Path, *more: str) -> list[str]:
    return ["--model_name_or_path", str(base), "--output_dir", str(output), "--dataset_name", str(files["texts"]), "--use_cpu",
            "--disable_tqdm", "true", "--per_device_train_batch_size", "4", "--max_seq_length", "16", "--learning_rate", "0.01",
            "--max_steps", "2", "--save_steps", "1", "--logging_steps", "1", "--lora_r", "4", "--lora_dropout", "0.1",
            "--stages", str(files["stages"]), "--design", "bidirectional_mean", *more]  # fmt: skip


@pytest.fixture(scope="module")
def finished(base: Path, files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("stages") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainers.run.build.fit_memory", lambda *_: "not planned")
        patch.setattr("trainers.run.banner.plan_or_reason", lambda *_: "not planned")
        assert main(argv_of(base, files, output)) == 0
    return output


def lora(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def test_each_stage_is_a_run_of_its_own(finished: Path) -> None:
    names = sorted(path.name for path in (finished / "stages").iterdir())
    assert names == ["1-mntp", "2-base", "2-simcse"]
    for folder, objective in (("stages/1-mntp", "mntp"), ("stages/2-simcse", "simcse"), ("", "contrastive")):
        record = json.loads((finished / folder / "train_config.json").read_text())
        assert record["objective"] == objective and (finished / folder / "train_result.json").is_file()
    assert json.loads((finished / "train_config.json").read_text())["loss_scale"] == 50


def test_the_manifest_lists_what_was_merged(finished: Path) -> None:
    (entry,) = json.loads((finished / "embedder.json").read_text())["merged"]
    assert entry["adapter"] == "1-mntp" and len(entry["weights"]) == 64
    assert entry["base"] == json.loads((finished / "stages" / "1-mntp" / "embedder.json").read_text())["base_model"]["weights"]
    assert json.loads((finished / "stages" / "2-base" / MERGED_FILE).read_text())["merged"] == [entry]
    assert "merged" not in json.loads((finished / "stages" / "1-mntp" / "embedder.json").read_text())
    assert model_loaders.load(finished).encode(["word1"]).shape == (1, 32)


def test_a_continued_stage_keeps_the_adapter(finished: Path) -> None:
    config = json.loads((finished / "adapter_config.json").read_text())
    assert config["r"] == 2  # the second stage's own, not that of every stage
    assert lora(finished) != lora(finished / "stages" / "2-simcse")


def test_killed_in_the_second_stage(finished: Path, base: Path, files: dict[str, Path], tmp_path: Path) -> None:
    killed = tmp_path / "run"
    shutil.copytree(finished / "stages", killed / "stages")
    second = killed / "stages" / "2-simcse"
    for name in ("train_result.json", "embedder.json", "adapter_model.safetensors"):
        (second / name).unlink()
    shutil.rmtree(second / "checkpoint-2")
    # The adapter and the base have other places, and what decides the runs is the same.
    argv = argv_of(base, files, killed, "--resume_from_checkpoint", "true")
    assert main(argv) == 0
    assert lora(second) == lora(finished / "stages" / "2-simcse")
    assert lora(killed) == lora(finished)


def test_finished_stages_are_left_alone(
    finished: Path, base: Path, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    before = lora(finished)
    assert main(argv_of(base, files, finished, "--resume_from_checkpoint", "true")) == 0
    told = capsys.readouterr().out
    assert told.count("is finished") == 3 and lora(finished) == before
    assert told.count("to train it further") == 1  # the last stage


def test_a_stage_that_later_ones_began_on_is_not_trained_further(
    finished: Path, base: Path, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its adapter would be replaced, and with it the merged base that their adapters belong to."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    stages = [dict(stage) for stage in yaml.safe_load(files["stages"].read_text())["stages"]]
    stages[0]["max_steps"] = 4
    (tmp_path / "longer.yaml").write_text(yaml.safe_dump(stages))
    argv = argv_of(base, {**files, "stages": tmp_path / "longer.yaml"}, run, "--resume_from_checkpoint", "true")
    assert main(argv) == 1
    told = capsys.readouterr().err
    assert "--max_steps differ from those that it ended with" in told and str(run / "stages" / "2-simcse") in told
    assert "Give another --output_dir" in told
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    shutil.rmtree(run / "stages" / "1-mntp")
    assert main(argv_of(base, files, run, "--resume_from_checkpoint", "true")) == 1
    assert "(it has not ended), and later stages were trained on its weights" in capsys.readouterr().err
    assert not (run / "stages" / "1-mntp").exists()


def test_the_last_stage_is_trained_further(finished: Path, base: Path, files: dict[str, Path], tmp_path: Path) -> None:
    """Also where the training has moved: the bases of its stages have other names then, and their weights stay."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    stages = [dict(stage) for stage in yaml.safe_load(files["stages"].read_text())["stages"]]
    stages[2]["max_steps"] = 3
    (tmp_path / "longer.yaml").write_text(yaml.safe_dump(stages))
    argv = argv_of(base, {**files, "stages": tmp_path / "longer.yaml"}, run, "--resume_from_checkpoint", "true")
    assert main(argv) == 0
    assert lora(run / "stages" / "2-simcse") == lora(finished / "stages" / "2-simcse")
    assert json.loads((run / "train_result.json").read_text())["steps"] == 3
    assert model_loaders.load(run).encode(["word1"]).shape == (1, 32)


@pytest.mark.slow
def test_dry_run(base: Path, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv_of(base, files, tmp_path / "run", "--dry_run")) == 0
    assert capsys.readouterr().out.count("vectors equal within") == 3
    assert not (tmp_path / "run").exists()


def test_merging_gives_the_adapters_vectors(base: Path, tmp_path: Path) -> None:
    from model_loaders.create import create
    from model_loaders.options import LoadOptions

    model = new_model("bidirectional_mean", base)
    save(model, tmp_path / "adapter")
    merge_adapter(tmp_path / "adapter", tmp_path / "merged")
    options = LoadOptions(device="cpu", dtype="float32")
    merged = create("bidirectional_mean", tmp_path / "merged", lora=None, options=options).eval()
    texts = ["word1 word2 word3", "word4"]
    assert np.abs(merged.encode(texts) - model.eval().encode(texts)).max() <= 1e-5
    plain = create("bidirectional_mean", base, lora=None, options=options).eval()
    assert np.abs(plain.encode(texts) - merged.encode(texts)).max() > 1e-3
    with torch.no_grad():
        model.backbone.get_base_model().layers[0].self_attn.q_proj.lora_A["default"].weight.mul_(2)
    save(model, tmp_path / "other")
    before = (tmp_path / "merged" / MERGED_FILE).read_text()
    merge_adapter(tmp_path / "other", tmp_path / "merged")
    assert (tmp_path / "merged" / MERGED_FILE).read_text() != before


def test_a_full_disk_while_merging(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says where and what to do, and nothing of the merged base is left; then it is made."""
    save(new_model("bidirectional_mean", base), tmp_path / "adapter")

    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr("model_loaders.layouts.merged_base.save_file", full)
        with pytest.raises(UserError, match=r"could not be made in .*base.*No space left .*--resume_from_checkpoint true"):
            merge_adapter(tmp_path / "adapter", tmp_path / "stages" / "2-base")
    assert list((tmp_path / "stages").iterdir()) == []
    merge_adapter(tmp_path / "adapter", tmp_path / "stages" / "2-base")
    assert (tmp_path / "stages" / "2-base" / MERGED_FILE).is_file()


def test_a_merged_base_that_was_not_checked_is_none(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets its name when its vectors are right, or the next start would take it as it is; rounding noise is allowed."""
    adapter, target = tmp_path / "adapter", tmp_path / "stages" / "2-base"
    save(new_model("bidirectional_mean", base), adapter)
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr("trainers.run.stage_start.farthest", lambda *_: 5e-3)
            with pytest.raises(UserError, match=r"changed its vectors \(1 - cosine is 0.005, rounding explains 0.001\)"):
                merge_and_check(adapter, target, None)
        assert list(target.parent.iterdir()) == []
    manifest = json.loads((adapter / "embedder.json").read_text())
    (adapter / "embedder.json").write_text(json.dumps({**manifest, "noise": 2e-3}))
    for off, made in ((9e-3, False), (7e-3, True)):
        with monkeypatch.context() as patch, contextlib.suppress(UserError):
            patch.setattr("trainers.run.stage_start.farthest", lambda *_, off=off: off)
            merge_and_check(adapter, target, None)
        assert target.is_dir() == made


def test_lora_of_a_quantised_base_is_not_merged(base: Path, files: dict[str, Path], tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    save(new_model("bidirectional_mean", base), adapter)
    manifest = json.loads((adapter / "embedder.json").read_text())
    manifest["base_model"]["quantisation"] = "4bit"
    (adapter / "embedder.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="on a base LLM in 4bit: LoRA belongs to those rounded weights"):
        merge_adapter(adapter, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    config = parse(argv_of(base, files, tmp_path / "run"))
    before = replace(config.before[0], model=replace(config.before[0].model, load_in_4bit=True))
    stage = Stage({}, {}, "", None, "stage 2", "merged")
    check_start(stage, config.before[1], config.before[0])
    with pytest.raises(UserError, match="stage 2: start: merging would add LoRA to other weights"):
        check_start(stage, config.before[1], before)


def test_a_pooling_is_not_lost(base: Path, tmp_path: Path) -> None:
    save(new_model("model4", base), tmp_path / "adapter")
    with pytest.raises(UserError, match="trainable pooling, which a merged base would lose"):
        merge_adapter(tmp_path / "adapter", tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        ([], "expected a list of stages"),
        ([{"start": "merged"}], "there is no stage before the first"),
        ([{}, {"start": "frozen"}], "there is no 'frozen'"),
        ([{}, {"output_dir": "x"}], "stage 2: output_dir is set by the list of stages"),
        ([{"los_scale": 3}], "stage 1: los_scale is no known key (did you mean 'loss_scale'?)"),
        ([{"max_steps": "many"}], "stage 1: max_steps: expected a whole number"),
        ([{}, {"lora_r": 8}], "--lora_r comes with the adapter"),
        ([{"objective": "mntp", "loss_scale": 3}], "--loss_scale does nothing with --objective mntp"),
        ([{"name": "a/b"}], "make a folder's name"),
        ([{}, {"name": "base", "start": "merged"}, {}], "stage 2: name: base is the name of merged base LLMs' folders"),
        (
            [{}, {"design": "model1"}],
            "stage 2: start: continued keeps the design of the stage before, which is bidirectional_mean",
        ),
        ([{"train": "full"}, {}], "stage 2: start: continued goes on with what the stage before trains"),
        ([{"tf32": False}, {}], "--tf32 acts on the whole process, and stages have several values of it (False, unset)"),
        ([{"design": "model4"}, {"start": "merged"}], "stage 2: start: merging would lose the trainable pooling of model4"),
    ],
)
def test_mistakes(stages: list[Any], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "stages.yaml").write_text(yaml.safe_dump(stages))
    words = ["--model_name_or_path", "m", "--dataset_name", "d", "--output_dir", str(tmp_path / "o"), "--use_cpu"]
    with pytest.raises(SystemExit):
        parse([*words, "--design", "bidirectional_mean", "--stages", str(tmp_path / "stages.yaml")])
    assert told in capsys.readouterr().err


def test_stages_in_a_config_file(tmp_path: Path) -> None:
    content = {"design": "model1", "model_name_or_path": "m", "dataset_name": "d", "output_dir": str(tmp_path / "o"),
               "use_cpu": True, "stages": [{"max_steps": 3}, {"design": "causal_mean", "start": "merged"}]}  # fmt: skip
    (tmp_path / "system.yaml").write_text(yaml.safe_dump(content))
    config = parse(["--config", str(tmp_path / "system.yaml")])
    (first,) = config.before
    assert (first.design, first.training.max_steps, config.design) == ("model1", 3, "causal_mean")
    assert config.merges == (str(tmp_path / "o" / "stages" / "1-contrastive"), str(tmp_path / "o" / "stages" / "2-base"))
    assert config.model.model_name_or_path == config.merges[1]


@pytest.mark.parametrize(("given", "earlier"), [("false", None), ("true", True)])
def test_stages_go_on_or_begin_together(
    base: Path, files: dict[str, Path], tmp_path: Path, given: str, earlier: bool | None
) -> None:
    config = parse(argv_of(base, files, tmp_path / "run", "--resume_from_checkpoint", given))
    assert [stage.training.resume_from_checkpoint for stage in (*config.before, config)] == [earlier] * 3


def test_data_of_a_later_stage_are_read_before_the_first(
    base: Path, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stages.yaml").write_text(yaml.safe_dump([*STAGES[:1], {"name": "last", "dataset_name": "gone.jsonl"}]))
    argv = argv_of(base, {**files, "stages": tmp_path / "stages.yaml"}, tmp_path / "run")
    assert main(argv) == 1
    assert f"the stage in {tmp_path / 'run'}: there is no data file or folder gone.jsonl" in capsys.readouterr().err
    assert not list((tmp_path / "run").rglob("*.safetensors"))


@pytest.mark.parametrize("name", ["dataset_name", "dataset_config"])
def test_a_stages_own_data_take_the_place_of_the_others(name: str, tmp_path: Path) -> None:
    """Whichever flag names either: the file of several data sets would be refused beside one of another stage."""
    for data in ("a.jsonl", "b.jsonl"):
        (tmp_path / data).write_text('{"query": "word1", "positive": "word2"}\n')
    (tmp_path / "mix.yaml").write_text(yaml.safe_dump([{"name": "b.jsonl"}]))
    values = {"dataset_name": str(tmp_path / "a.jsonl"), "dataset_config": str(tmp_path / "mix.yaml")}
    (other,) = values.keys() - {name}
    stages = [{"name": "first"}, {"name": "second", other: values[other]}]
    content = {"output_dir": str(tmp_path / "run"), "model_name_or_path": "base", "stages": stages, name: values[name]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**content, "use_cpu": True}))
    config = parse(["--config", str(tmp_path / "config.yaml"), "--design", "model1"])
    names = [stage.data.dataset_name or stage.data.dataset_config[0]["name"] for stage in (*config.before, config)]
    assert sorted(Path(data).name for data in names) == ["a.jsonl", "b.jsonl"]


@pytest.mark.slow
def test_on_two_processes(base: Path, files: dict[str, Path], tmp_path: Path, warm: Warm) -> None:
    """One launcher runs all stages, each on both processes."""
    argv = argv_of(base, files, tmp_path / "run", "--per_device_train_batch_size", "2")
    for pid in warm.start_two(argv, tmp_path / "log", design=None):
        assert warm.wait(pid) == 0, (tmp_path / "log.0").read_text()[-3000:]
    assert json.loads((tmp_path / "run" / "embedder.json").read_text())["merged"][0]["adapter"] == "1-mntp"
    for folder in ("stages/1-mntp", "stages/2-simcse", ""):
        assert (tmp_path / "run" / folder / "train_result.json").is_file()
