"""The command line and the YAML file: every flag is alive, translated or refused, and mistakes are one clear message."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from trainers.flags.arguments import GROUPS, MASKING_FLAGS, POOLING_FLAGS
from trainers.flags.command_line import parse
from trainers.flags.flag import Flag, flags_of
from trainers.flags.inherited import GONE, REFUSED, REFUSED_VALUES, RENAMED
from trainers.flags.lora import lora_options
from trainers.flags.read_flags import SYNONYMS
from trainers.flags.train_config import TrainConfig
from trainers.flags.training_arguments import build_training_arguments, inherited_flags
from trainers.scoring.arguments import CHOICE_FLAGS, EVALUATION_FLAGS

ROOT = Path(__file__).resolve().parents[3]
OWN = flags_of(*GROUPS)
Fails = Callable[..., str]


@pytest.fixture(autouse=True)
def trackers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tracker passes for installed."""
    monkeypatch.setattr("trainers.flags.installed.check_trackers", lambda training: None)


@pytest.fixture
def minimal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The smallest command line that parses; without a launcher around it."""
    for name in ("ACCELERATE_MIXED_PRECISION", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return ["--dataset_name", "d", "--model_name_or_path", "m", "--output_dir", str(tmp_path / "out")]


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Fails:
    """Parse, expect exit code 2 and one message, and return the message."""

    def run(argv: list[str], design: str | None = "model3") -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as raised:
            parse(argv, design=design)
        assert raised.value.code == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("error: ") == 1 and "Traceback" not in err
        return err

    return run


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def example(flag: Flag) -> str:
    """A valid value that is not the default."""
    if flag.choices:
        return next(choice for choice in flag.choices if choice != getattr(flag.default, "value", flag.default))
    if flag.kind == "bool":
        return "false" if flag.default else "true"
    if flag.kind in ("int", "float"):
        return "0.25" if flag.kind == "float" else "7"
    if flag.type.element in ("int", "float"):
        return "7"
    return '{"a": 1}' if flag.kind == "json" else "something"


# What is accepted


def test_published_launch_command(minimal: list[str], tmp_path: Path) -> None:
    published = (
        "--dataset_name yixuantt/ir_data --max_seq_length 1024 --model_name_or_path mistralai/Mistral-7B-v0.1 "
        "--per_device_train_batch_size 1 --per_device_eval_batch_size 1 --learning_rate 1e-5 --bf16 --max_steps 1000 "
        "--save_steps 100 --save_total_limit 15 --logging_steps 1 --weight_decay 0.01 --torch_dtype bfloat16 "
        "--num_train_epochs 5 --gradient_accumulation_steps 256 --lr_scheduler_type linear --warmup_steps 100"
    )
    config = parse([*published.split(), "--output_dir", str(tmp_path / "out")], design="model3")
    training = config.training
    assert (config.design, config.data.dataset_name, config.data.max_seq_length) == ("model3", "yixuantt/ir_data", 1024)
    assert (training.learning_rate, training.max_steps, training.warmup_steps) == (1e-5, 1000, 100)
    assert (training.bf16, training.gradient_accumulation_steps, training.save_total_limit) == (True, 256, 15)
    assert (training.save_steps, training.logging_steps, training.num_train_epochs) == (100, 1, 5.0)
    assert config.model.torch_dtype == "bfloat16"


@pytest.mark.parametrize("flag, value", [("task_prompts", "all"), ("prompt_template", "Query: {text}")])
def test_prompts_are_checked(fails: Fails, minimal: list[str], flag: str, value: str) -> None:
    assert flag.split("_")[-1] in fails([*minimal, f"--{flag}", value])


def test_our_defaults(minimal: list[str]) -> None:
    config = parse(minimal, design="model3")
    training = config.training
    assert training.report_to == []
    assert training.remove_unused_columns is False
    assert training.ddp_find_unused_parameters is False
    assert training.dataloader_drop_last is False
    assert (training.logging_steps, training.save_strategy) == (10, "steps")
    assert (config.contrastive.loss_scale, config.contrastive.loss) == (20.0, "default")
    assert (config.model.pooling_latents, config.model.pooling_heads, config.model.pooling_head_dim) == (768, 32, 2048)
    assert Path(config.model.lora_config) == ROOT / "configs" / "lora.json"
    assert config.explicit == {"dataset_name", "model_name_or_path", "output_dir"}


@pytest.mark.parametrize("name", sorted(OWN))
def test_own_flag_reaches_the_configuration(
    name: str, minimal: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = OWN[name]
    needs_evaluation = name in ("eval_dataset_split", "eval_dataset_config_name", "max_eval_samples")
    extra = ["--eval_dataset", "e"] if needs_evaluation else []
    if name in CHOICE_FLAGS:
        extra = ["--eval_dataset", "e", "--save_strategy", "epoch", "--early_stopping_patience", "2"]
    if name == "early_stopping_patience":
        extra = ["--eval_dataset", "e"]
    if name == "matryoshka_weights":
        extra = ["--matryoshka_dims", "8"]
    if name in ("distillation_share", "teacher_temperature"):
        extra = ["--distillation", "kl"]
    if name == "hardness_of":
        extra = ["--hardness", "1"]
    if name.startswith("hub_"):
        extra = ["--push_to_hub"]
    if name == "last_layers":
        extra = ["--train", "full"]
    if name in MASKING_FLAGS:
        extra = ["--objective", "mntp"]
    design = "bidirectional_mean" if extra == ["--objective", "mntp"] else "model3"
    named = {"lora_config": str(ROOT / "pyproject.toml"), "torch_dtype": "float32", "task_prompts": "own", "recipe": "mean"}
    value = {**named, "prompt_template": "instruct", "extra_terms": "query_query"}.get(name) or example(flag)
    if name.startswith("load_in"):
        monkeypatch.setattr("trainers.flags.checks._check_quantisation", lambda values, has_gpu: None)
    if name in ("dataset_config", "batching"):  # these speak of several data sets, in a file
        mix = write(tmp_path / "mix.yaml", "- name: some/data\n- name: other/data\n")
        minimal = ["--dataset_config", mix, *minimal[2:]]
        value = {"dataset_config": mix, "batching": "0.25"}[name]
    if name == "stages":
        value = write(tmp_path / "stages.yaml", "- max_steps: 1\n- max_steps: 2\n")
    config = parse([*minimal, *extra, f"--{name}", value], design=design)
    if name == "stages":
        assert len(config.before) == 1
        return
    if name == "dataset_config":
        assert [entry["name"] for entry in config.data.dataset_config] == ["some/data", "other/data"]
        return
    groups = (config.model, config.data, config.contrastive, config.objective, config.scoring, config.run, config.hub)
    group = next(part for part in groups if hasattr(part, name))
    assert getattr(group, name) == flag.convert(value, "")
    assert getattr(group, name) != flag.default
    assert name in config.explicit


@pytest.mark.parametrize("words", [["--bf16"], ["--bf16", "true"], ["--bf16=True"], ["--bf16", "1"]])
def test_booleans(words: list[str], minimal: list[str]) -> None:
    assert parse([*words, *minimal], design="model3").training.bf16 is True


def test_booleans_switched_off(minimal: list[str], tmp_path: Path) -> None:
    config = write(tmp_path / "c.yaml", "gradient_checkpointing: true\n")
    assert parse([*minimal, "--config", config], design="model3").training.gradient_checkpointing is True
    for off in (["--gradient_checkpointing", "false"], ["--no_gradient_checkpointing"], ["--no-gradient-checkpointing"]):
        assert parse([*minimal, "--config", config, *off], design="model3").training.gradient_checkpointing is False


def test_hyphens_and_lists(minimal: list[str]) -> None:
    config = parse([*minimal, "--max-seq-length=64", "--query-prompt", "find-this: ", "--report_to", "tensorboard", "wandb"],
                   design="model3")  # fmt: skip
    assert config.data.max_seq_length == 64
    assert config.model.query_prompt == "find-this: "
    assert config.training.report_to == ["tensorboard", "wandb"]


# Other names


@pytest.mark.parametrize(
    ("old", "value", "new", "expected"),
    [
        ("gradient_checkpointing", "true", "activation_checkpointing", True),
        (
            "gradient_checkpointing_kwargs",
            '{"use_reentrant": false}',
            "gradient_checkpointing_kwargs",
            {"use_reentrant": False},
        ),
        ("evaluation_strategy", "steps", "eval_strategy", "steps"),
        ("no_cuda", "true", "use_cpu", True),
        ("warmup_ratio", "0.1", "warmup_steps", 0.1),
        ("per_gpu_train_batch_size", "3", "per_device_train_batch_size", 3),
        ("per_gpu_eval_batch_size", "3", "per_device_eval_batch_size", 3),
    ],
)
@pytest.mark.filterwarnings("error::FutureWarning")
def test_renamed_flags(old: str, value: str, new: str, expected: object, minimal: list[str], tmp_path: Path) -> None:
    extra = ["--eval_dataset", "e"] if "eval" in old else []
    assert getattr(parse([*minimal, *extra, f"--{old}", value], design="model3").training, new) == expected
    config = write(tmp_path / "c.yaml", yaml.safe_dump({old: value}))
    assert getattr(parse([*minimal, *extra, "--config", config], design="model3").training, new) == expected


def test_every_renaming_is_tested() -> None:
    cases = next(mark for mark in test_renamed_flags.pytestmark if mark.name == "parametrize").args[1]
    assert {case[0] for case in cases} == set(RENAMED)


def test_override_under_another_name(minimal: list[str], tmp_path: Path) -> None:
    config = write(tmp_path / "c.yaml", "warmup_steps: 100\n")
    assert parse([*minimal, "--config", config, "--warmup_ratio", "0.2"], design="model3").training.warmup_steps == 0.2


def test_two_names_must_agree(minimal: list[str], fails: Fails) -> None:
    message = fails([*minimal, "--warmup_ratio", "0.1", "--warmup_steps", "5"])
    assert "--warmup_ratio" in message and "--warmup_steps" in message
    assert "[0, 1)" in fails([*minimal, "--warmup_ratio", "5"])


@pytest.mark.parametrize("name", sorted(set(GONE)))
def test_gone_flag(name: str, minimal: list[str], fails: Fails) -> None:
    harmless, advice = GONE[name]
    message = fails([*minimal, f"--{name}", "something"])
    assert f"--{name}" in message and advice in message
    if harmless:
        assert parse([*minimal, f"--{name}", harmless], design="model3").explicit == parse(minimal, design="model3").explicit


def test_published_loss_class(minimal: list[str], fails: Fails) -> None:
    assert parse([*minimal, "--loss_class", "HardNegativeNLLLoss"], design="model3").contrastive.loss == "published"
    assert "HardNegativeNLLLoss" in fails([*minimal, "--loss_class", "Other"])
    assert "same setting" in fails([*minimal, "--loss_class", "HardNegativeNLLLoss", "--loss", "default"])


# Refusals


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused_flag(name: str, minimal: list[str], fails: Fails) -> None:
    flag = inherited_flags().get(name)
    assert flag is not None, "the table names a flag that transformers does not have"
    message = fails([*minimal, f"--{name}", example(flag)])
    assert f"--{name}" in message and REFUSED[name] in message
    if flag.kind in ("bool", "int", "float"):  # the default says what happens anyway
        parse([*minimal, f"--{name}", str(flag.default)], design="model3")


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in REFUSED_VALUES.items() for value in values])
def test_refused_value(name: str, value: str, minimal: list[str], fails: Fails) -> None:
    choices = inherited_flags()[name].choices
    full = next((choice for choice in choices if choice.startswith(value)), value)
    assert REFUSED_VALUES[name][value] in fails([*minimal, f"--{name}", full])


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("--lora_rank 4", ["--lora_rank", "--lora_r"]),
        ("--modle_name_or_path x", ["--model_name_or_path"]),
        ("--modle x", ["--model_name_or_path"]),
        ("--gradient_checkpoint", ["--gradient_checkpointing"]),
        ("--batch_size 3", ["--per_device_train_batch_size"]),
        ("--lr 3", ["--learning_rate"]),
        ("--design model1", ["trainers/train.py"]),
        ("stray", ["stray", "no flag"]),
        ("--max_steps", ["--max_steps", "expected one argument"]),
        ("--max_steps many", ["--max_steps", "whole number", "many"]),
        ("--learning_rate fast", ["--learning_rate", "a finite number"]),
        ("--bf16 maybe", ["--bf16", "true or false"]),
        ("--torch_dtype float8", ["--torch_dtype", "bfloat16"]),
        ("--lr_scheduler_type lineal", ["--lr_scheduler_type", "linear"]),
        ("--max_seq_length 0", ["--max_seq_length", "above 0"]),
        ("--max_negatives -1", ["--max_negatives"]),
        ("--lora_dropout 1.0", ["--lora_dropout"]),
        ("--loss_scale 0", ["--loss_scale"]),
        ("--load_in_4bit --load_in_8bit", ["--load_in_4bit", "--load_in_8bit"]),
        ("--max_steps 0", ["--max_steps 0 trains nothing"]),
        ("--max_steps -3", ["--max_steps -3 trains nothing"]),
        ("--num_train_epochs 0", ["--num_train_epochs 0 trains nothing"]),
        ("--lora_config nowhere.json", ["--lora_config", "nowhere.json"]),
        ("--torch_dtype float16", ["--fp16", "bfloat16"]),
        ("--peft_model_name_or_path a --lora_r 4", ["--lora_r", "--peft_model_name_or_path"]),
        ("--peft_model_name_or_path a --load_in_8bit", ["--load_in_8bit", "--peft_model_name_or_path"]),
        ("--eval_strategy epoch", ["--eval_strategy", "--eval_dataset"]),
        ("--eval_steps 3", ["--eval_steps", "--eval_dataset"]),
        ("--max_eval_samples 3", ["--max_eval_samples", "--eval_dataset"]),
        ("--eval_dataset e --eval_strategy no", ["--eval_dataset", "--eval_strategy"]),
        ("--resume_from_checkpoint nowhere", ["--resume_from_checkpoint", "nowhere"]),
        ("--simcse_dropout 0.1", ["--simcse_dropout", "--lora_dropout"]),
        ('--gradient_checkpointing_kwargs {"use_reentrant":true}', ["use_reentrant", "DDP"]),
        ("--config nowhere.yaml", ["nowhere.yaml"]),
        ("--warmup_steps -3", ["warmup_steps"]),
        ("--ddp_backend gloo", ["--ddp_backend", "several processes"]),
    ],
)
def test_mistakes_on_the_command_line(words: str, parts: list[str], minimal: list[str], fails: Fails) -> None:
    message = fails([*minimal, *words.split()])
    for part in parts:
        assert part in message


def test_missing_flag_is_named(minimal: list[str], fails: Fails) -> None:
    for name in ("dataset_name", "model_name_or_path", "output_dir"):
        start = minimal.index(f"--{name}")
        assert f"--{name}" in fails(minimal[:start] + minimal[start + 2 :])


def test_suggestions_are_valid() -> None:
    assert set(SYNONYMS.values()) <= {*OWN, *inherited_flags()} - set(REFUSED)


def test_unwritable_output_dir(minimal: list[str], fails: Fails, tmp_path: Path) -> None:
    blocked = write(tmp_path / "file", "")
    message = fails([*minimal, "--output_dir", f"{blocked}/out"])
    assert "--output_dir" in message and blocked in message
    assert "--output_dir" in fails([*minimal, "--output_dir", blocked])
    assert Path(blocked).read_text() == ""


def test_quantisation_without_its_needs(minimal: list[str], fails: Fails, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "--load_in_4bit needs a GPU" in fails([*minimal, "--load_in_4bit"])
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else find_spec(name))
    assert "pip install bitsandbytes" in fails([*minimal, "--load_in_8bit"])


# The design


def test_design_flag(minimal: list[str], fails: Fails) -> None:
    assert parse([*minimal, "--design", "model5"]).design == "model5"
    assert "model1" in fails(minimal, design=None)
    message = fails([*minimal, "--design", "modle5"], design=None)
    assert "modle5" in message and "did you mean 'model" in message


def test_design_in_the_file(minimal: list[str], fails: Fails, tmp_path: Path) -> None:
    config = write(tmp_path / "c.yaml", "design: model5\n")
    assert parse([*minimal, "--config", config]).design == "model5"
    assert parse([*minimal, "--config", config, "--design", "model1"]).design == "model1"
    assert parse([*minimal, "--config", config], design="model5").design == "model5"
    assert f"{config}:1" in fails([*minimal, "--config", config], design="model3")


@pytest.mark.parametrize("name", POOLING_FLAGS)
def test_pooling_flags_without_pooling(name: str, minimal: list[str], fails: Fails, tmp_path: Path) -> None:
    assert f"--{name}" in fails([*minimal, f"--{name}", "4"], design="model1")
    # A recipe for all designs may hold them.
    assert parse([*minimal, "--config", write(tmp_path / "c.yaml", f"{name}: 4\n")], design="model1").design == "model1"


@pytest.mark.parametrize(
    ("name", "value"), [*((name, "4") for name in EVALUATION_FLAGS), ("per_gpu_eval_batch_size", "4"), ("eval_delay", "0")]
)
def test_evaluation_flags_without_evaluation(name: str, value: str, minimal: list[str], fails: Fails, tmp_path: Path) -> None:
    words = [f"--{name}", value]
    assert f"--{RENAMED.get(name, name)} does nothing without --eval_dataset" in fails([*minimal, *words])
    parse([*minimal, *words, "--eval_dataset", "e"], design="model3")
    # A recipe for several runs may hold them.
    parse([*minimal, "--config", write(tmp_path / "c.yaml", f"{name}: {value}\n")], design="model3")


# The YAML file


def test_file_values_and_overrides(minimal: list[str], tmp_path: Path) -> None:
    text = "learning_rate: 1e-5\nmax_seq_length: 64\nbf16: true\nlora_dropout: null\nreport_to: [tensorboard, wandb]\n"
    text += "lr_scheduler_type: cosine_with_restarts\nlr_scheduler_kwargs: {num_cycles: 2}\n"
    text += "per-device-train-batch-size: 3\nquery_prompt: 'q: '\n"
    config = parse([*minimal, "--config", write(tmp_path / "c.yaml", text), "--max_seq_length", "32"], design="model3")
    assert config.training.learning_rate == 1e-5  # YAML makes a text of it
    assert config.data.max_seq_length == 32
    assert config.training.bf16 is True and config.model.lora_dropout is None
    assert config.training.report_to == ["tensorboard", "wandb"]
    assert config.training.lr_scheduler_kwargs == {"num_cycles": 2}
    assert config.training.per_device_train_batch_size == 3
    assert config.model.query_prompt == "q: "
    nothing = parse([*minimal, "--config", write(tmp_path / "n.yaml", "report_to: null\n")], design="model3")
    assert nothing.training.report_to == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("bf16: true\n\nlearing_rate: 1.0\n", [":3", "learing_rate", "learning_rate"]),
        ("config: other.yaml\n", [":1", "config"]),
        ("bf16: true\nmax_steps: many\n", [":2: max_steps", "whole number"]),
        ("max_steps: 1\nmax_steps: 2\n", [":2", "max_steps", "line 1"]),
        ("max_steps: [1, 2]\n", [":1: max_steps", "whole number"]),
        ("max_steps:\n", [":1: max_steps", "needs a value"]),
        ("- a\n- b\n", [":1", "flag: value"]),
        ("a: [1\nb: 2\n", ["no valid YAML"]),
        ("label_smoothing_factor: 0.5\n", ["label_smoothing_factor", "InfoNCE"]),
        ("group_by_length: true\n", [":1: group_by_length", "--chunk_tokens"]),
    ],
)
def test_mistakes_in_the_file(text: str, parts: list[str], minimal: list[str], fails: Fails, tmp_path: Path) -> None:
    config = write(tmp_path / "c.yaml", text)
    message = fails([*minimal, "--config", config])
    assert all(part in message for part in parts)
    assert config in message or "label" in text


# What is saved with the run


def test_resolved_configuration_repeats_the_run(minimal: list[str], tmp_path: Path) -> None:
    words = "--bf16 --gradient_checkpointing --eval_dataset e --lora_r 4 --warmup_ratio 0.1 --loss published --chunk_tokens 64"
    first = parse([*minimal, *words.split(), "--optim", "sgd", "--query_prompt", "q: "], design="model3")
    resolved = first.resolved()
    assert json.loads(json.dumps(resolved)) == resolved
    second = parse(["--config", write(tmp_path / "r.yaml", yaml.safe_dump(resolved))])
    assert second.resolved() == resolved
    # The LoRA settings themselves are in it: their file lies elsewhere on another machine.
    assert second.model.lora_config == lora_options(first.model) == lora_options(second.model)
    assert lora_options(first.model) == json.loads((ROOT / "configs" / "lora.json").read_text()) | {"r": 4}
    assert str(ROOT) not in json.dumps(resolved)
    unchanged = dataclasses.replace(first.model, lora_config=second.model.lora_config, lora_r=None)
    assert dataclasses.asdict(second.model) == dataclasses.asdict(unchanged)
    assert (second.training.optim, second.training.eval_strategy, second.training.warmup_steps) == ("sgd", "epoch", 0.1)


def test_resolved_configuration_of_an_adapter(minimal: list[str], tmp_path: Path) -> None:
    resolved = parse([*minimal, "--peft_model_name_or_path", "a", "--query_prompt", "q: "], design="model3").resolved()
    assert resolved["query_prompt"] == "q: "
    assert not {"lora_r", "lora_config", "pooling_latents", "pooling_heads", "max_seq_length"} & set(resolved)
    again = parse(["--config", write(tmp_path / "r.yaml", yaml.safe_dump(resolved))])
    assert "max_seq_length" not in again.explicit and again.resolved() == resolved


def test_configuration_is_frozen(minimal: list[str]) -> None:
    config: TrainConfig = parse(minimal, design="model3")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.design = "model1"  # type: ignore[misc]


# Settings that depend on each other or on the launcher


def test_evaluation_follows_its_data(minimal: list[str]) -> None:
    assert parse([*minimal, "--eval_dataset", "e"], design="model3").training.eval_strategy == "epoch"
    training = parse([*minimal, "--eval_dataset", "e", "--eval_steps", "5"], design="model3").training
    assert (training.eval_strategy, training.eval_steps) == ("steps", 5)


def test_resuming(minimal: list[str], tmp_path: Path) -> None:
    for words in (["--resume_from_checkpoint"], ["--resume_from_checkpoint", "true"], ["--resume_from_checkpoint", "last"]):
        assert parse([*words, *minimal], design="model3").training.resume_from_checkpoint is True
    assert parse([*minimal, "--resume_from_checkpoint", "false"], design="model3").training.resume_from_checkpoint is None
    given = parse([*minimal, "--resume_from_checkpoint", str(tmp_path)], design="model3").training.resume_from_checkpoint
    assert given == str(tmp_path)


def test_launchers_mixed_precision(minimal: list[str], fails: Fails, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert parse(minimal, design="model3").resolved()["bf16"] is True
    message = fails([*minimal, "--bf16", "false"])
    assert "mixed_precision" in message and "--bf16" in message


def test_cpu_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or accelerate lets each of them believe that it is alone."""
    import torch

    monkeypatch.setattr("trainers.flags.training_arguments.TrainingArguments", lambda **values: values)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("ACCELERATE_USE_DEEPSPEED", raising=False)
    assert build_training_arguments({})["use_cpu"] is False
    assert build_training_arguments({"bf16": True})["use_cpu"] is True
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert build_training_arguments({"use_cpu": False})["use_cpu"] is True
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    assert "use_cpu" not in build_training_arguments({})
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert "use_cpu" not in build_training_arguments({"bf16": True})


def test_first_process_speaks_first(minimal: list[str], fails: Fails, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("trainers.flags.command_line.time.sleep", waited.append)
    fails([*minimal, "--nothing"])
    assert waited == []
    monkeypatch.setenv("LOCAL_RANK", "1")
    fails([*minimal, "--nothing"])
    assert waited == [30]


def test_float16_without_a_gpu(minimal: list[str], fails: Fails, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert "--fp16 needs a GPU" in fails([*minimal, "--torch_dtype", "float16", "--fp16"])


@pytest.mark.parametrize(
    "words",
    ["--per_device_train_batch_size 0", "--gradient_accumulation_steps 0", "--learning_rate nan", "--learning_rate -1",
     "--learning_rate 0", "--adam_beta1 2", "--seed -1", "--weight_decay nan", "--max_grad_norm -1",
     "--both_directions --in_batch_negatives false", "--matryoshka_dims 0 8", "--matryoshka_dims 8 8",
     "--matryoshka_weights 1", "--matryoshka_weights 1 2 --matryoshka_dims 8", "--matryoshka_weights 0 --matryoshka_dims 8",
     "--train pooling", "--extra_terms query", "--extra_terms query_query query_query", "--hardness -1", "--hardness_of all",
     "--extra_terms query_query --both_directions", "--distillation_share 0.5", "--distillation_share 0 --distillation kl",
     "--teacher_temperature 2 --distillation margin_mse", "--hardness 1 --distillation kl"],
)  # fmt: skip
def test_senseless_numbers(words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(
            ["--model_name_or_path", "m", "--dataset_name", "d", "--output_dir", str(tmp_path), *words.split()], design="model1"
        )
    assert words.split()[0] in capsys.readouterr().err


def test_mistake_in_a_real_process(tmp_path: Path) -> None:
    """One line on stderr and exit code 2, from another working directory."""
    words = ["--dataset_name", "d", "--model_name_or_path", "m", "--output_dir", str(tmp_path), "--nothing", "3"]
    environment = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "PYTHONPATH")}
    command = [sys.executable, str(ROOT / "trainers" / "model3_trainer.py"), *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1 and "--nothing" in done.stderr


# Flags that would do nothing beside others

IDLE = [
    (["--distillation", "kl", "--similarity_margin", "0.0"], "--similarity_margin is of the contrastive loss"),
    (["--distillation", "kl", "--both_directions"], "--both_directions is of the contrastive loss"),
    (["--distillation", "margin_mse", "--loss", "published"], "--loss is of the contrastive loss"),
    (["--lr_scheduler_type", "constant", "--warmup_steps", "9"], "give --lr_scheduler_type constant_with_warmup"),
    (
        ["--gradient_checkpointing", "--gradient_checkpointing_kwargs", '{"determinism_check": "none"}'],
        "with determinism_check",
    ),
    (["--objective", "mntp", "--design", "bidirectional_mean", "--packing", "off"], "--packing does nothing"),
]


@pytest.mark.parametrize(("words", "told"), IDLE)
def test_idle_flags(words: list[str], told: str, minimal: list[str], fails: Fails, tmp_path: Path) -> None:
    """A run that has begun with one goes on with it: its record cannot change."""
    words = words if "--design" in words else ["--design", "model3", *words]
    assert told in fails([*minimal, *words], design=None)
    resumed = [*minimal, *words, "--resume_from_checkpoint", "true"]
    assert told in fails(resumed, design=None)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "train_config.json").write_text("{}")
    parse(resumed)
    assert told in fails([*minimal, *words, "--resume_from_checkpoint", "false"], design=None)


def test_flags_that_act_beside_others(minimal: list[str]) -> None:
    for words in (
        ["--distillation", "kl", "--similarity_margin", "0.1", "--distillation_share", "0.5"],
        ["--distillation", "kl", "--loss", "default"],
        ["--lr_scheduler_type", "constant", "--warmup_steps", "0"],
        ["--lr_scheduler_type", "constant_with_warmup", "--warmup_steps", "9"],
        ["--gradient_checkpointing", "--gradient_checkpointing_kwargs", '{"use_reentrant": false}'],
    ):
        parse([*minimal, *words], design="model3")


def test_steps_of_evaluations_after_epochs(minimal: list[str], fails: Fails) -> None:
    words = [*minimal, "--eval_dataset", "e", "--eval_strategy", "epoch", "--eval_steps", "5"]
    assert "--eval_steps does nothing with --eval_strategy epoch" in fails(words)
