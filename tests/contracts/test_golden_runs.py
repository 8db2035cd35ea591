"""Training reproduces the published code's losses, gradients and weights, through the real trainer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model_loaders import load_design
from model_loaders.layouts.published import NAMES
from model_loaders.text.recipe import Recipe
from trainers.run.trainer import ContrastiveOptions, ContrastiveTrainer
from trainers.step.batch import TripletCollator
from trainers.step.loss import ContrastiveLoss, LossBatch

RUNS = ["m1", "m2", "m3", "m5", "m1_accum", "m5_accum"]


class RecordingTrainer(ContrastiveTrainer):
    """Keeps the loss of every batch and the first step's gradients."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.losses.append(float(loss) * self.current_gradient_accumulation_steps)
        if not self.first_gradients:
            self.first_gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        return loss


def golden_trainer(parity: Path, run: str, output_dir: Path, chunk_tokens: int | None = None) -> tuple[RecordingTrainer, Any]:
    from transformers import TrainingArguments

    golden = json.loads((parity / "train_golden.json").read_text())
    spec = golden["runs"][run]
    given = {name: value for name, value in spec["args"].items() if name != "world_size"}
    args = TrainingArguments(
        output_dir=str(output_dir), report_to="none", use_cpu=True, save_strategy="no", logging_steps=1, disable_tqdm=True,
        train_sampling_strategy="sequential", remove_unused_columns=False, **given,
    )  # fmt: skip
    model = load_design(
        f"model{spec['design']}", parity / "base", parity / spec["init"],
        num_heads=4, device="cpu", dtype="float32", trainable=True,
    )  # fmt: skip
    rows = [{"query": r["query"], "positive": r["positive"], "negatives": [r["negative"]]} for r in golden["data"]]
    collator = TripletCollator(model.tokenizer, Recipe(max_length=golden["max_seq_length"]))
    loss, options = ContrastiveLoss(mask_duplicates=False), ContrastiveOptions(chunk_tokens=chunk_tokens)
    trainer = RecordingTrainer(model, args, rows, collator, loss=loss, options=options)
    trainer.losses, trainer.first_gradients = [], {}
    return trainer, spec


@pytest.mark.parametrize("chunk_tokens", [None, 64])
@pytest.mark.parametrize("run", RUNS)
def test_losses_equal_the_published_ones(parity: Path, tmp_path: Path, run: str, chunk_tokens: int | None) -> None:
    trainer, spec = golden_trainer(parity, run, tmp_path, chunk_tokens)
    trainer.train()
    np.testing.assert_allclose(trainer.losses, spec["micro_batch_losses"], atol=1e-4, rtol=0)
    norms = [line["grad_norm"] for line in trainer.state.log_history if "grad_norm" in line]
    np.testing.assert_allclose(norms, [step["grad_norm_before_clip"] for step in spec["optimizer_steps"]], rtol=1e-3)


@pytest.mark.parametrize("design", [1, 5])
def test_final_weights_and_first_gradients(parity: Path, tmp_path: Path, design: int) -> None:
    trainer, _ = golden_trainer(parity, f"m{design}", tmp_path)
    initial = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    trainer.train()
    folder = parity / "train" / f"model{design}"
    final, gradients = np.load(folder / "final_params.npz"), np.load(folder / "grads_step1.npz")
    ours = dict(trainer.model.named_parameters())
    off = moved = 0.0
    for name in final.files:
        mine = our_name(name)
        golden = torch.tensor(final[name])
        off += float((ours[mine].detach() - golden).square().sum())
        moved += float((golden - initial[mine]).square().sum())
        # Gradients as in float32 sums: relative to the largest one.
        scale = max(float(np.abs(gradients[name]).max()), 1e-3)
        assert float((trainer.first_gradients[mine] - torch.tensor(gradients[name])).abs().max()) < 1e-4 * scale, name
    assert moved > 0
    assert (off / moved) ** 0.5 <= 0.01


def our_name(golden: str) -> str:
    """Translate the published module names into ours."""
    if "attn_pool." in golden:
        return "pooling." + NAMES[golden.split("attn_pool.")[1]]
    return "backbone." + golden[golden.index("base_model.") :]


def loss_cases(parity: Path) -> list[str]:
    return sorted({name.split(".")[0] for name in np.load(parity / "golden_loss.npz").files if "." in name})


def test_loss_and_gradients_equal_the_published_ones(parity: Path) -> None:
    golden = np.load(parity / "golden_loss.npz")
    cases = loss_cases(parity)
    assert len(cases) >= 13
    for case in cases:
        roles = [role for role in ("q", "p", "n") if f"{case}.{role}" in golden.files]
        q, *documents = (torch.tensor(golden[f"{case}.{role}"]).requires_grad_() for role in roles)
        loss = ContrastiveLoss(float(golden["scale"]), mask_duplicates=False)(LossBatch(q, torch.cat(documents))).loss
        loss.backward()
        prefix = "full_" if f"{case}.full_loss" in golden.files else ""
        assert abs(loss.item() - float(golden[f"{case}.{prefix}loss"])) < 1e-6, case
        for role, tensor in zip(roles, (q, *documents), strict=True):
            np.testing.assert_allclose(tensor.grad, golden[f"{case}.{prefix}grad_{role}"], atol=1e-6, rtol=0)
