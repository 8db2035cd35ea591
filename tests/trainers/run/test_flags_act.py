"""Every flag that the toolkit defines changes something: what the model is, which rows it sees, or what a step computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import trained_parameters, triplets, write_base
from trainers.flags.arguments import GROUPS
from trainers.flags.command_line import parse
from trainers.run.build import build_trainer
from trainers.train import main

pytestmark = pytest.mark.usefixtures("unplanned")

SMALL = ["--pooling_latents", "6", "--pooling_heads", "2", "--pooling_head_dim", "4", "--lora_dropout", "0"]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def world(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files that the flags point to."""
    folder = tmp_path_factory.mktemp("flags")
    rows = [{"query": r["query"], "positive": r["positive"], "negative": r["negatives"]} for r in triplets(8, negatives=2)]
    rows[1] = {**rows[1], "positive": rows[0]["positive"]}  # a duplicate, which --loss treats in two ways
    lora = {"r": 2, "lora_alpha": 4, "lora_dropout": 0.0, "target_modules": ["q_proj"]}
    (folder / "lora.json").write_text(json.dumps(lora))
    split = folder / "split"
    split.mkdir()
    write_rows(split / "train.jsonl", rows[:6])
    write_rows(split / "validation.jsonl", rows[6:])
    adapter = folder / "adapter"
    argv = arguments(base, write_rows(folder / "rows.jsonl", rows), adapter)
    assert main([*argv, "--max_steps", "1", "--learning_rate", "0.01"], design="model3") == 0
    return {
        "base": base,
        "other_base": write_base(folder / "other", seed=5),
        "rows": folder / "rows.jsonl",
        "bad_rows": write_rows(folder / "bad.jsonl", [*rows[:5], {"query": " ", "positive": "word1"}]),
        "six_rows": write_rows(folder / "six.jsonl", rows[:6]),
        "split": split,
        "lora": folder / "lora.json",
        "adapter": adapter,
    }


def arguments(base: Path, rows: Path, output: Path) -> list[str]:
    return ["--model_name_or_path", str(base), "--dataset_name", str(rows), "--output_dir", str(output), "--use_cpu", *SMALL,
            "--per_device_train_batch_size", "8", "--save_strategy", "no", "--disable_tqdm", "true"]  # fmt: skip


def observe(argv: list[str]) -> dict[str, Any]:
    """Run one step and say everything that a flag may change."""
    config = parse(argv, design="model3")
    trainer = build_trainer(config)
    model = trainer.model
    calls: list[int] = []
    model.register_forward_hook(lambda *_: calls.append(1))
    trainer.current_gradient_accumulation_steps = 1
    batch = next(iter(trainer.get_train_dataloader()))
    loss = float(trainer.training_step(model, batch))
    optimizer = trainer.create_optimizer()
    return {
        "loss": loss,
        "forward passes": len(calls),
        "rows": len(trainer.train_dataset),
        "evaluation rows": None if trainer.eval_dataset is None else len(trainer.eval_dataset),
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "pooling": model.pooling.config,
        "recipe": model.recipe,
        "dtype": model.dtype,
        "kernel": model.backbone.config._attn_implementation,
        "packs": trainer.contrastive_step.chunker.packs_up_to,
        "rates": sorted({group["lr"] for group in optimizer.param_groups}),
    }


def changes(world: dict[str, Path]) -> dict[str, list[str]]:
    """For each flag, the words that replace or extend the plain command line."""
    w = {name: str(path) for name, path in world.items()}
    return {
        "model_name_or_path": ["--model_name_or_path", w["other_base"]],
        "peft_model_name_or_path": ["--peft_model_name_or_path", w["adapter"]],
        "torch_dtype": ["--torch_dtype", "bfloat16"],
        "attn_implementation": ["--attn_implementation", "eager"],
        "train": ["--train", "pooling"],
        "lora_config": ["--lora_config", w["lora"]],
        "lora_r": ["--lora_r", "3"],
        "lora_alpha": ["--lora_alpha", "64"],
        "lora_dropout": ["--lora_dropout", "0.5"],
        "attention_dropout": ["--attention_dropout", "0.5"],
        "pooling_latents": ["--pooling_latents", "7"],
        "pooling_heads": ["--pooling_heads", "1"],
        "pooling_head_dim": ["--pooling_head_dim", "5"],
        "query_prompt": ["--query_prompt", "word9 "],
        "document_prompt": ["--document_prompt", "word9 "],
        "task_prompts": ["--task_prompts", "none"],
        "prompt_template": ["--prompt_template", "instruct"],
        "recipe": ["--recipe", "prompteol"],
        "end_token": ["--end_token", "none"],
        "pooled": ["--pooled", "text"],
        "truncation": ["--truncation", "text"],
        "dataset_name": ["--dataset_name", w["six_rows"]],
        "dataset_split": ["--dataset_name", w["split"], "--dataset_split", "validation"],
        "in_batch_negatives": ["--in_batch_negatives", "false"],
        "max_seq_length": ["--max_seq_length", "3"],
        "query_max_length": ["--query_max_length", "3"],
        "max_train_samples": ["--max_train_samples", "5"],
        "max_negatives": ["--max_negatives", "1"],
        "eval_dataset": ["--eval_dataset", w["six_rows"]],
        "eval_dataset_split": ["--eval_dataset", w["split"], "--eval_dataset_split", "train"],
        "max_eval_samples": ["--eval_dataset", w["six_rows"], "--max_eval_samples", "2"],
        "loss_scale": ["--loss_scale", "10"],
        "loss": ["--loss", "published"],
        "similarity_margin": ["--similarity_margin", "-0.5"],
        "both_directions": ["--both_directions"],
        "pooling_learning_rate": ["--pooling_learning_rate", "0.5"],
        "chunk_tokens": ["--chunk_tokens", "24"],
        "packing": ["--packing", "off"],
        "extra_terms": ["--extra_terms", "query_query", "document_document"],
        "hardness": ["--hardness", "5"],
        "hardness_of": ["--hardness", "0.001", "--hardness_of", "all"],
        "matryoshka_dims": ["--matryoshka_dims", "32", "8"],
        "matryoshka_weights": ["--matryoshka_dims", "32", "--matryoshka_weights", "0.5"],
    }


# Tested elsewhere: needs a GPU (its refusal is in test_arguments), a hub, several data sets (test_data_config) or
# processes, or rows that stop the run.
ELSEWHERE = {
    "load_in_4bit",
    "load_in_8bit",
    "cache_dir",
    "dataset_file_path",
    "dataset_config_name",
    "eval_dataset_config_name",
    "on_invalid_rows",
    "dataset_config",
    "batching",
    "dry_run",
    "negatives_across_processes",
    "distillation",  # test_distillation.py, as the next two
    "distillation_share",
    "teacher_temperature",
    "stages",  # test_stages.py
    "objective",  # test_masked_run.py, as the next four
    "mask_token",
    "mask_share",
    "masking",
    "block_diagonal",
    "last_layers",  # test_train_full.py
    "eval_tasks",  # tests/trainers/scoring, as the next four
    "load_best_model_at_end",
    "metric_for_best_model",
    "early_stopping_patience",
    "early_stopping_threshold",
    "push_to_hub",  # test_upload.py, as the next four
    "hub_model_id",
    "hub_private_repo",
    "hub_base_name",
    "hub_licence",
}


def test_the_table_names_every_flag(world: dict[str, Path]) -> None:
    flags = {name for group in GROUPS for name in group.__dataclass_fields__}
    assert set(changes(world)) | ELSEWHERE == flags


@pytest.fixture(scope="module")
def plain(world: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return observe(arguments(world["base"], world["rows"], tmp_path_factory.mktemp("plain")))


def test_the_same_flags_give_the_same(world: dict[str, Path], plain: dict[str, Any], tmp_path: Path) -> None:
    """Or every flag would seem to act."""
    assert observe(arguments(world["base"], world["rows"], tmp_path)) == plain


# LoRA's scale shows only once its B is not zero: looked at on the model itself.
@pytest.mark.parametrize("flag", sorted(set(changes(dict.fromkeys(
    ("other_base", "adapter", "lora", "six_rows", "split"), Path()))) - {"lora_alpha", "lora_dropout"}))  # fmt: skip
def test_a_flag_acts(flag: str, world: dict[str, Path], plain: dict[str, Any], tmp_path: Path) -> None:
    argv = arguments(world["base"], world["rows"], tmp_path)
    if flag == "peft_model_name_or_path":
        argv = [word for word in argv if word not in SMALL]
        argv = [word for word in argv if not word.startswith(("--pooling", "--lora"))]
    if flag == "train":
        place = argv.index("--lora_dropout")
        argv = argv[:place] + argv[place + 2 :]
    changed = observe([*argv, *changes(world)[flag]])
    assert changed != plain


@pytest.mark.parametrize(
    ("flag", "value", "attribute"), [("lora_alpha", "64", "lora_alpha"), ("lora_dropout", "0.5", "lora_dropout")]
)
def test_lora_flags_reach_peft(flag: str, value: str, attribute: str, world: dict[str, Path], tmp_path: Path) -> None:
    trainer = build_trainer(parse([*arguments(world["base"], world["rows"], tmp_path), f"--{flag}", value], design="model3"))
    assert getattr(trainer.model.backbone.peft_config["default"], attribute) == float(value)


def test_dataset_file_path_and_invalid_rows(world: dict[str, Path], tmp_path: Path) -> None:
    argv = arguments(world["base"], world["bad_rows"], tmp_path)
    assert len(build_trainer(parse([*argv, "--on_invalid_rows", "skip"], design="model3")).train_dataset) == 5
    assert main(argv, design="model3") == 1  # the default refuses them
    position = argv.index("--dataset_name")
    by_path = [*argv[:position], "--dataset_file_path", str(world["six_rows"]), *argv[position + 2 :]]
    assert len(build_trainer(parse(by_path, design="model3")).train_dataset) == 6


def test_the_seed_alone_decides_the_initial_weights(world: dict[str, Path], tmp_path: Path) -> None:
    def weights(seed: str) -> list[float]:
        argv = [*arguments(world["base"], world["rows"], tmp_path), "--seed", seed]
        return [t.sum().item() for t in trained_parameters(build_trainer(parse(argv, design="model3")).model).values()]

    assert weights("1") == weights("1")
    assert weights("1") != weights("2")


@pytest.mark.parametrize("design", ["model1", "model3"])
def test_learning_nothing_is_an_error(
    design: str, world: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*arguments(world["base"], world["rows"], tmp_path), "--max_steps", "2", "--learning_rate", "1e-30"]
    if design == "model1":  # has no pooling
        start = argv.index("--pooling_latents")
        argv = argv[:start] + argv[start + 6 :]
    assert main(argv, design=design) == 1
    assert "changed nothing" in capsys.readouterr().err


def test_diverging_is_an_error(world: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wild = [*arguments(world["base"], world["rows"], tmp_path / "wild"), "--max_steps", "9", "--learning_rate", "1e30"]
    assert main([*wild, "--max_grad_norm", "0"], design="model3") == 1
    assert "is not finite" in capsys.readouterr().err
    assert not (tmp_path / "wild" / "embedder.json").exists()


def test_one_query_without_negatives_is_refused(
    world: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*arguments(world["base"], world["rows"], tmp_path), "--per_device_train_batch_size", "1", "--max_negatives", "0"]
    assert main(argv, design="model3") == 1
    assert "one query and no negatives" in capsys.readouterr().err


def test_mistakes_in_a_lora_file(world: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, (content, told) in enumerate((("[]", "object"), ('{"lora_alfa": 3}', "lora_alpha"), ("{", "JSON"))):
        file = tmp_path / f"lora{number}.json"
        file.write_text(content)
        argv = [*arguments(world["base"], world["rows"], tmp_path / "out"), "--lora_config", str(file)]
        assert main(argv, design="model3") == 1
        assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()  # a refused run leaves nothing behind
