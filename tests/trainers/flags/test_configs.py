"""Every file in configs/ is what the program that reads it accepts, and says what the paper and the docs say."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_loaders.designs import DESIGNS
from trainers.flags.command_line import parse
from trainers.flags.inherited import RENAMED
from trainers.flags.train_config import TrainConfig

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = ROOT / "configs"
LAUNCHER_FILES = [ROOT / "accelerate_config.yaml", *sorted((CONFIGS / "accelerate").glob("*.yaml"))]
RECIPES = [CONFIGS / f"{name}.yaml" for name in ("mistral-7b", "qwen2-0.5b", "single-gpu-24gb")]


def read_recipe(path: Path, output_dir: Path, *words: str, design: str = "model3") -> TrainConfig:
    return parse(["--config", str(path), "--output_dir", str(output_dir), *words], design=design)


def launcher_arguments(path: Path, *words: str) -> Any:
    """What ``accelerate launch`` makes of a command line and of the file."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    arguments = launch_command_parser().parse_args(["--config_file", str(path), *words])
    return _validate_launch_command(arguments)[0]


def test_every_training_recipe_is_tested() -> None:
    """The quickstart and other studies have their own readers; a recipe for a trainer names a base LLM."""
    found = [path for path in CONFIGS.glob("*.yaml") if "model_name_or_path" in (yaml.safe_load(path.read_text()) or {})]
    assert set(RECIPES) <= set(found)
    assert {path for path in found if "quickstart" not in path.name} == set(RECIPES)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
@pytest.mark.parametrize("design", DESIGNS)
def test_recipes_parse_for_every_design(path: Path, design: str, tmp_path: Path) -> None:
    config = read_recipe(path, tmp_path, design=design)
    resolved = config.resolved()
    for key, value in yaml.safe_load(path.read_text()).items():
        assert resolved[RENAMED.get(key, key)] == value, key


SYSTEMS = sorted((CONFIGS / "systems").rglob("*.yaml"))


@pytest.mark.parametrize("path", SYSTEMS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_systems_parse(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a whole training: nothing but the place of its output is missing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mixture.yaml").write_text("- name: some/data\n- name: other/data\n")
    monkeypatch.setattr("trainers.flags.training_arguments.torch.accelerator.is_available", lambda: False)
    config = parse(["--config", str(path), "--output_dir", str(tmp_path / "out")])
    content = yaml.safe_load(path.read_text())
    assert len(config.before) == len(content.get("stages", [0])) - 1
    for stage, entry in zip([*config.before, config], content.get("stages", [content]), strict=True):
        for key, value in entry.items():
            if key not in ("name", "start", "dataset_config", "design") and not key.startswith("lora_"):
                assert stage.resolved()[RENAMED.get(key, key)] == value, key


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_key_of_a_recipe_has_a_comment(path: Path) -> None:
    for line in path.read_text().splitlines():
        assert not line or "#" in line, line


@pytest.mark.parametrize(("name", "processes"), [("mistral-7b", 8), ("qwen2-0.5b", 1)])
def test_the_papers_recipe(name: str, processes: int, tmp_path: Path) -> None:
    config = read_recipe(CONFIGS / f"{name}.yaml", tmp_path)
    training = config.training
    assert training.per_device_train_batch_size * training.gradient_accumulation_steps * processes == 2048
    assert training.per_device_train_batch_size * processes == 8  # queries that share negatives
    assert (training.learning_rate, training.weight_decay, training.warmup_steps) == (1e-5, 0.01, 100)
    assert (training.max_steps, training.lr_scheduler_type, training.bf16) == (1000, "linear", True)
    assert (config.data.dataset_name, config.data.max_seq_length) == ("yixuantt/ir_data", 512)
    assert (config.contrastive.loss, config.contrastive.loss_scale) == ("published", 20.0)
    model = config.model
    assert (model.pooling_latents, model.pooling_heads, model.pooling_head_dim) == (768, 32, 2048)


def test_one_gpu_of_24_gb_by_count(tmp_path: Path) -> None:
    """What the file's comment says it adds up to: base in bfloat16, fp32 weights, gradients and Adam states of the rest."""
    config = read_recipe(CONFIGS / "single-gpu-24gb.yaml", tmp_path)
    hidden, inner = 4096, config.model.pooling_heads * config.model.pooling_head_dim
    pooling = 4 * hidden * inner + 12 * hidden**2 + config.model.pooling_latents * hidden + 15 * hidden
    assert round(pooling / 1e6) == 219 and "219 million" in (CONFIGS / "single-gpu-24gb.yaml").read_text()
    assert 2 * 7.24e9 + 16 * (pooling + 41.9e6) < 20e9
    assert config.training.activation_checkpointing and config.contrastive.chunk_tokens is not None


def test_lora_as_published() -> None:
    from peft import LoraConfig

    options = json.loads((CONFIGS / "lora.json").read_text())
    config = LoraConfig(**options)
    assert (config.r, config.lora_alpha, config.lora_dropout, config.bias) == (16, 32, 0.1, "none")
    assert config.target_modules == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert config.task_type == "FEATURE_EXTRACTION"


def test_the_launcher_files_are_there() -> None:
    assert {path.stem for path in LAUNCHER_FILES[1:]} >= {"single_gpu", "ddp", "cpu", "fsdp2", "zero2"}


@pytest.mark.parametrize("path", LAUNCHER_FILES, ids=lambda path: path.stem)
def test_launcher_files_load(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    loaded = load_config_from_file(str(path))  # raises for unknown keys
    assert loaded.num_machines == 1 and loaded.num_processes >= 1
    assert path.read_text().startswith("#"), "what it is for, and the command"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("../accelerate_config", {"multi_gpu": True, "num_processes": 8, "mixed_precision": "bf16"}),
        ("accelerate/ddp", {"multi_gpu": True, "num_processes": 2, "mixed_precision": "bf16"}),
        ("accelerate/single_gpu", {"multi_gpu": False, "num_processes": 1, "mixed_precision": "bf16"}),
        ("accelerate/fsdp2", {"use_fsdp": True, "fsdp_version": 2, "num_processes": 8, "mixed_precision": "no"}),
        ("accelerate/zero2", {"use_deepspeed": True, "zero_stage": 2, "num_processes": 8, "mixed_precision": "no"}),
        # multi_gpu, or accelerate starts one process
        ("accelerate/cpu", {"multi_gpu": True, "use_cpu": True, "num_processes": 2, "mixed_precision": "no"}),
    ],
)
def test_what_the_launcher_makes_of_them(name: str, expected: dict[str, Any]) -> None:
    arguments = launcher_arguments(CONFIGS / f"{name}.yaml", "script.py")
    assert {key: getattr(arguments, key) for key in expected} == expected


@pytest.mark.parametrize("name", ["fsdp2", "zero2"])
def test_the_trainer_accepts_what_the_files_ask_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the environment that the launcher makes of them."""
    import argparse

    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

    from trainers.flags import launcher

    monkeypatch.setattr(launcher, "find_spec", lambda name: object())
    arguments = launcher_arguments(CONFIGS / "accelerate" / f"{name}.yaml", "script.py")
    arguments.deepspeed_fields_from_accelerate_config = ""  # as the launcher sets it
    assert isinstance(arguments, argparse.Namespace)
    environment = prepare_deepspeed_cmd_env(arguments)[1] if name == "zero2" else prepare_multi_gpu_env(arguments)
    assert environment["ACCELERATE_USE_DEEPSPEED" if name == "zero2" else "ACCELERATE_USE_FSDP"] == "true"
    launcher.check_launcher(environment, {}, has_accelerator=True)


def test_the_published_launch_line(tmp_path: Path) -> None:
    """Both halves of it: the launcher's flags with the file, and the rest by the trainer."""
    words = "--main_process_ip 10.0.0.1 --main_process_port 29500 --num_processes 16 --num_machines 2 --machine_rank 1"
    rest = ["trainers/model3_trainer.py", "--dataset_name", "d", "--model_name_or_path", "m", "--bf16", "--output_dir"]
    arguments = launcher_arguments(ROOT / "accelerate_config.yaml", *words.split(), *rest, str(tmp_path / "out"))
    assert (arguments.num_processes, arguments.num_machines, arguments.machine_rank) == (16, 2, 1)
    assert arguments.multi_gpu and arguments.main_process_ip == "10.0.0.1"
    assert arguments.training_script == "trainers/model3_trainer.py"
    assert parse(arguments.training_script_args, design="model3").training.bf16 is True


@pytest.mark.slow
def test_two_processes_on_the_cpu_find_each_other(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from trainers.flags.command_line import parse\n"
        "training = parse(sys.argv[1:], design='model1').training\n"
        "print(f'process {training.process_index} of {training.world_size} on {training.device.type};')\n"
    )
    words = ["--dataset_name", "d", "--model_name_or_path", "m", "--output_dir", str(tmp_path / "out")]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / "accelerate" / "cpu.yaml")]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    done = subprocess.run([*launch, "--main_process_port", port, str(script), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "process 0 of 2 on cpu;" in done.stdout and "process 1 of 2 on cpu;" in done.stdout
