"""Training on a GPU: the CPU's gradients, dropout replayed, and the command line from the first step to a resumed end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.contracts.gradients import DESIGNS, batch_of, gradients, literal, relative, rows_with
from tests.on_gpu import needs_gpu
from tests.tiny import LORA, new_model
from tests.trainers.commands import SMALL, arguments
from trainers.step import contrastive as step_module
from trainers.step.chunks import Chunker, Grouping
from trainers.step.contrastive import ContrastiveStep
from trainers.step.engines import Engine
from trainers.train import main

pytestmark = needs_gpu


def on_gpu() -> Engine:
    from accelerate import Accelerator

    return Engine(Accelerator())


def on_cpu(found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: gradient.double().cpu() for name, gradient in found.items()}


@pytest.mark.parametrize("design", DESIGNS)
def test_gradients_are_those_of_one_pass_on_the_cpu(base: Path, design: str) -> None:
    true = literal(new_model(design, base).train().double(), batch_of(new_model(design, base), rows_with("ragged")))
    model = new_model(design, base, device="cuda").train()
    batch = batch_of(model, rows_with("ragged"))
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        for chunk_tokens in (16, 40, None):
            loss = ContrastiveStep.of(model, on_gpu(), chunk_tokens=chunk_tokens)(model, batch).loss.item()
            assert loss == pytest.approx(true[0], abs=1e-5)
            assert relative(on_cpu(gradients(model)), true[1]) < 1e-4
            with torch.autocast("cuda", dtype=torch.bfloat16):
                ContrastiveStep.of(model, on_gpu(), chunk_tokens=chunk_tokens)(model, batch)
            assert relative(on_cpu(gradients(model)), true[1]) < 0.3  # wide weights: bf16 of them is rough


@pytest.mark.parametrize("design", ["model1", "model5"])
def test_dropout_is_replayed(base: Path, monkeypatch: pytest.MonkeyPatch, design: str) -> None:
    model = new_model(design, base, lora={**LORA, "lora_dropout": 0.3}, device="cuda").train()
    batch = batch_of(model, rows_with("ragged"))

    def run(**options: Any) -> tuple[dict[str, Tensor], Tensor]:
        torch.manual_seed(5)
        ContrastiveStep(Chunker(model.tokenizer, **options), on_gpu())(model, batch)
        return gradients(model), torch.cuda.get_rng_state()

    kept = run(grouping=Grouping(24, overhead=128))
    cached = run(chunk_tokens=24)
    assert relative(cached[0], kept[0]) <= 1e-5
    assert torch.equal(cached[1], kept[1])
    monkeypatch.setattr(step_module, "random_state", lambda *_: __import__("contextlib").nullcontext())
    assert relative(run(chunk_tokens=24)[0], kept[0]) > 0.01


@pytest.mark.parametrize("design", ["model1", "model3", "model5"])
def test_a_dry_run_a_run_and_its_end_once_more(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], design: str
) -> None:
    argv = [word for word in arguments(base, tmp_path, *([] if design == "model1" else SMALL)) if word != "--use_cpu"]
    argv += ["--bf16", "--torch_dtype", "bfloat16", "--chunk_tokens", "40", "--save_strategy", "steps", "--save_steps", "8",
             "--max_steps", "20"]  # fmt: skip
    assert main([*argv, "--dry_run"], design=design) == 0
    assert "torch.cuda.max_memory_allocated" in capsys.readouterr().out
    assert main(argv, design=design) == 0
    out = tmp_path / "out"
    losses = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in losses if "loss" in line]
    assert losses[-1] < losses[0], losses

    weights = out / "adapter_model.safetensors"
    whole = weights.read_bytes()
    for name in ("train_result.json", "embedder.json", weights.name):
        (out / name).unlink()
    shutil.rmtree(out / "checkpoint-20")
    assert main([*argv, "--resume_from_checkpoint", "true"], design=design) == 0
    assert weights.read_bytes() == whole
