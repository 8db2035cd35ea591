"""The memory that a step is planned to need is what it needs: every tensor counted, beside a run with memory."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import nn

from model_loaders.text.named import named_recipe
from tests.tiny import LORA, ROOT, new_model, triplets
from trainers.flags.command_line import parse
from trainers.masked.step import MaskedTokensStep
from trainers.memory.live_bytes import LiveBytes
from trainers.memory.longest_batch import longest_batch
from trainers.memory.placeholders import chunks_at_peak
from trainers.memory.plan import optimizer_values, packs_texts, plan_step, plan_training
from trainers.memory.plan_config import plan_config
from trainers.memory_plan import main
from trainers.monitor.out_of_memory import kept_tokens, out_of_memory
from trainers.run.trainer import ContrastiveTrainer
from trainers.step.batch import TripletCollator
from trainers.step.chunks import Chunker, Grouping
from trainers.step.contrastive import ContrastiveStep
from trainers.step.engines import SingleProcessEngine
from trainers.step.gather import ProcessGroup
from trainers.step.loss import ContrastiveLoss
from trainers.step.matryoshka import MatryoshkaLoss
from triplets.dataset import TripletRows

WIDE = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}


def test_live_bytes_counts_storages_once_until_they_are_freed() -> None:
    weight = torch.ones(100)
    with LiveBytes([weight]) as live:
        weight.view(10, 10).mul_(2)  # no new memory
        assert live.live == 0
        first = torch.zeros(1000)  # 4,000 bytes
        second = first[:10].view(5, 2)
        assert live.live == 4000
        del first
        assert live.live == 4000  # the view keeps it
        del second
        assert live.live == 0 and live.peak == 4000
        leaf = torch.ones(50, requires_grad=True)
        kept = (leaf * 2).exp()  # autograd keeps exp's result, which is alive anyway
        assert live.live == 400
        kept.sum().backward()
        assert live.live == 600  # and the gradient
    assert live.peak >= 600


def measured(model: nn.Module, step: ContrastiveStep, batch: Any) -> int:
    """Peak of tensor bytes above the model in one step."""
    with LiveBytes([*model.parameters(), *model.buffers()]) as live:
        step(model, batch)
    return live.peak


# Every design cached and whole, with and without checkpointing; the other half of the combinations is slow.
PLANS = [("model1", True, 64), ("model1", False, None), ("model3", True, None), ("model3", False, 64),
         ("model5", True, 64), ("model5", False, None)]  # fmt: skip
SLOW_PLANS = [(design, checkpointing, None if chunk_tokens else 64) for design, checkpointing, chunk_tokens in PLANS]


@pytest.mark.parametrize(
    ("design", "checkpointing", "chunk_tokens"),
    [*PLANS, *(pytest.param(*plan, marks=pytest.mark.slow) for plan in SLOW_PLANS)],
)
def test_a_plan_is_what_a_step_takes(
    make_base: Callable[..., Path], design: str, checkpointing: bool, chunk_tokens: int | None
) -> None:
    model = new_model(design, make_base(**WIDE), lora=LORA | {"lora_dropout": 0.1}).train()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    step = ContrastiveStep.of(model, SingleProcessEngine(), chunk_tokens=chunk_tokens)
    batch = TripletCollator(model.tokenizer, model.recipe)(triplets(24, negatives=2))
    plan = plan_step(model, step, batch, optimizer="sgd", checkpointing=checkpointing)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in weights.items())
    assert all(parameter.grad is None for parameter in model.parameters())
    if checkpointing:
        model.activation_checkpointing_enable()
    # What differs is 5 kB a chunk, its random state, which would not show in a model of any size.
    assert plan.above_model == pytest.approx(measured(model, step, batch), rel=0.06)


@pytest.mark.parametrize(("design", "chunk_tokens"), [("model1", None), ("model4", None), ("model4", 64)])
def test_a_plan_counts_no_padding_that_is_not_computed(base: Path, design: str, chunk_tokens: int | None) -> None:
    """Queries of many lengths stand in a group; groups that placeholders stand for are counted a little high."""
    model = new_model(design, base).train()
    collator = TripletCollator(model.tokenizer, model.recipe)
    batch = collator([{**row, "query": row["query"] + " word3" * (k % 8)} for k, row in enumerate(triplets(12))])
    plans = []
    for packing in (True, False):
        step = ContrastiveStep.of(model, SingleProcessEngine(), chunk_tokens=chunk_tokens, packing=packing)
        plans.append(plan_step(model, step, batch, optimizer="sgd").above_model)
        assert plans[-1] == pytest.approx(measured(model, step, batch), rel=0.1)
    assert chunk_tokens or plans[0] < plans[1]


def test_placeholders_hold_what_chunks_hold(base: Path) -> None:
    model = new_model("model3", base).train()
    chunker = Chunker(model.tokenizer, causal=True, grouping=Grouping(64, overhead=64))
    step = ContrastiveStep(chunker, SingleProcessEngine())  # a dozen groups, of which four run
    batch = TripletCollator(model.tokenizer, model.recipe)(triplets(48, negatives=1))
    assert len(step.groups([len(row) for row in batch.ids])) >= 10
    plan = plan_step(model, step, batch, optimizer="sgd")
    # Groups of shorter texts keep a little less a token than the first one, by which the others are counted.
    assert plan.above_model == pytest.approx(measured(model, step, batch), rel=0.07)


def test_the_peak_may_be_in_the_middle(make_base: Callable[..., Path]) -> None:
    """With checkpointing it is in the backward pass of a group between the first two and the last two."""
    base = make_base(hidden_size=192, num_hidden_layers=4, head_dim=16)
    model = new_model("model1", base, lora=LORA | {"r": 16, "lora_dropout": 0.1}).train()
    step = ContrastiveStep.of(model, SingleProcessEngine())
    rows = [{**row, "positive": row["positive"] + " word3" * 120} for row in triplets(64)]
    batch = TripletCollator(model.tokenizer, model.recipe)(rows)
    assert len(step.groups([len(row) for row in batch.ids])) == 7
    plan = plan_step(model, step, batch, optimizer="sgd", checkpointing=True)
    model.activation_checkpointing_enable()
    assert plan.above_model == pytest.approx(measured(model, step, batch), rel=0.06)


def test_which_chunks_decide_the_peak() -> None:
    assert chunks_at_peak([9, 9, 9, 9, 9, 9, 9]) == {0, 1, 5, 6}
    # The fifth is hardly larger than the sixth.
    assert chunks_at_peak([1584, 1965, 1950, 1677, 1152, 1100, 340]) == {0, 1, 2, 3, 5, 6}
    assert chunks_at_peak([1, 2, 30, 4, 20, 6, 7, 8]) == {0, 1, 2, 4, 6, 7}
    assert chunks_at_peak([5]) == {0} and chunks_at_peak([]) == set()


def test_what_adds_to_a_plan(base: Path) -> None:
    model = new_model("model3", base).train()
    trained = 4 * sum(p.numel() for p in model.parameters() if p.requires_grad)
    batch = TripletCollator(model.tokenizer, model.recipe)(triplets(8))

    def plan(processes: int = 1, **options: Any) -> Any:
        step = ContrastiveStep.of(model, SingleProcessEngine(), loss=ContrastiveLoss(), processes=ProcessGroup(processes))
        return plan_step(model, step, batch, **options)

    adam = plan()
    assert adam.optimizer == 2 * trained
    assert plan(optimizer="sgd").above_model == adam.above_model - 2 * trained
    assert plan(accumulating=True).above_model > adam.above_model  # gradients are there when the next batch comes
    two = plan(processes=2)
    assert two.buffers == trained and two.gathered > 0
    assert plan(autocast=torch.bfloat16).activations != adam.activations
    assert [optimizer_values(name) for name in ("adamw_torch", "adamw_8bit", "sgd", "lion_32bit")] == [2.0, 0.5, 0.0, 1.0]


def test_the_longest_batch_is_that_of_most_tokens(base: Path) -> None:
    model = new_model("model1", base)
    collator = TripletCollator(model.tokenizer, model.recipe)
    data = triplets(30, negatives=2)
    data[7]["negatives"] = ["word1 " * 40]
    data[21]["positive"] = "word2 " * 30
    for rows in (data, Dataset.from_list(data)):
        batch = longest_batch(TripletRows.of(rows), collator, 2)
        assert batch.texts == [data[7]["query"], data[21]["query"]]
    assert longest_batch(TripletRows.of(data), collator, 99).queries == 30
    data[3]["query"] = "word3 " * 20
    for rows in (data, Dataset.from_list(data)):  # SimCSE reads the queries alone
        own = longest_batch(TripletRows.of(rows), TripletCollator(model.tokenizer, model.recipe, own_positive=True), 1)
        assert own.texts == [data[3]["query"]]


def test_rows_that_only_others_read_are_no_candidates(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many rows those of most characters are tokenised: of SimCSE's, by their queries."""
    monkeypatch.setattr("trainers.memory.longest_batch.CANDIDATES", 0)
    model = new_model("model1", base)
    data = triplets(30)
    data[7]["negatives"], data[3]["query"] = ["word1 " * 40], "word3 " * 20
    collator = TripletCollator(model.tokenizer, model.recipe, own_positive=True)
    for rows in (data, Dataset.from_list(data)):
        assert longest_batch(TripletRows.of(rows), collator, 1).texts == [data[3]["query"]]


def test_chunks_that_are_freed_are_not_added_up(base: Path) -> None:
    """Masked prediction keeps one chunk, so half of it is the first advice, not half of the batch."""
    model = new_model("bidirectional_mean", base)
    chunker = Chunker(model.tokenizer, grouping=Grouping(64, overhead=0))
    lengths = [16] * 40
    assert kept_tokens(lengths, MaskedTokensStep(chunker, SingleProcessEngine())) == 64
    assert kept_tokens(lengths, ContrastiveStep(chunker, SingleProcessEngine())) == 640


def test_a_plan_from_a_config_alone(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text((base / "config.json").read_text())  # no weights, no tokenizer
    argv = ["--design", "model3", "--model_name_or_path", str(tmp_path), "--use_cpu",
            "--per_device_train_batch_size", "4", "--pooling_heads", "2", "--pooling_head_dim", "4"]  # fmt: skip

    def told(*more: str) -> str:
        assert main([*argv, *more]) == 0
        return capsys.readouterr().out

    plain = told("--max_seq_length", "32")
    assert "1 processes of 4 queries with 1 hard negatives each" in plain and "optimizer" in plain
    assert "DDP buffers" in told("--max_seq_length", "32", "--processes", "8")
    assert len({plain, told("--max_seq_length", "64"), told("--max_seq_length", "32", "--negatives", "5")}) == 3
    assert told("--max_seq_length", "32", "--dataset_name", "nowhere/data") == plain  # data may be named: none is read
    assert main([*argv, "--model_name_or_path", str(tmp_path / "missing")]) == 1
    assert "has no config that can be read" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "first"), [([], "--chunk_tokens"), (["--chunk_tokens", "12"], "--gradient_checkpointing")])
def test_running_out_of_memory_says_what_to_turn(
    base: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    first: str,
) -> None:
    import trainers.step.contrastive
    import trainers.train
    from tests.trainers.commands import arguments

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("Tried to allocate 20.00 GiB")

    monkeypatch.setattr(trainers.step.contrastive, "encode_chunk", full)
    assert trainers.train.main(arguments(base, tmp_path, *options), design="model1") == 1
    told = capsys.readouterr().err
    assert "step 1 does not fit the memory of the device: 12 texts of" in told
    assert told.split("In this order: ")[1].startswith(first)
    assert "--per_device_train_batch_size 2, which means fewer negatives" in told
    assert "goes on only as it was: begin a new one in another --output_dir" in told


def test_a_plan_follows_the_objective_and_the_precision(
    base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["--design", "bidirectional_mean", "--model_name_or_path", str(base), "--use_cpu", "--max_seq_length", "16"]
    assert main([*argv, "--objective", "mntp"]) == 1
    assert "--objective mntp has another one: the training command with --dry_run" in capsys.readouterr().err
    taken: list[Any] = []
    monkeypatch.setattr("trainers.memory.plan_config.plan_step", lambda _, __, batch, **options: taken.append((batch, options)))
    config = parse([*argv, "--objective", "simcse", "--output_dir", "run"], needs_data=False)
    config.training.fp16 = True
    plan_config(config, negatives=5, processes=1)
    (batch, options), queries = taken[0], config.training.per_device_train_batch_size
    assert len(batch.ids) == 2 * queries and options["autocast"] is torch.float16


def test_running_out_of_memory_with_an_empty_share(base: Path) -> None:
    model = new_model("model1", base)
    nothing = TripletCollator(model.tokenizer, model.recipe)([])
    args = SimpleNamespace(per_device_train_batch_size=2, activation_checkpointing=False)
    for chunk_tokens in (None, 64):
        step = ContrastiveStep.of(model, SingleProcessEngine(), chunk_tokens=chunk_tokens)
        told = out_of_memory(torch.OutOfMemoryError("full"), nothing, number=3, step=step, args=args)
        assert told.startswith("step 3 does not fit the memory of the device: 0 texts")


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("design", ["model1", "model3", "model5"])
def test_a_plan_of_about_a_gigabyte(
    make_base: Callable[..., Path], tmp_path: Path, design: str, checkpointing: bool, record_property: Any
) -> None:
    """Two whole steps of a training with AdamW; the second one finds the optimizer's state."""
    from transformers import TrainingArguments

    inner = 6912 if checkpointing else 2048
    base = make_base(
        hidden_size=768, intermediate_size=inner, num_hidden_layers=6, num_attention_heads=12, num_key_value_heads=4,
        head_dim=64, initializer_range=0.02,
    )  # fmt: skip
    pooling = {"latents": 64, "heads": 8, "head_dim": 64}
    model = new_model(design, base, lora=LORA | {"r": 16, "lora_dropout": 0.1}, pooling_sizes=pooling)
    args = TrainingArguments(
        output_dir=str(tmp_path), report_to="none", use_cpu=True, save_strategy="no", disable_tqdm=True, max_steps=2,
        remove_unused_columns=False, per_device_train_batch_size=128 if checkpointing else 16,
        activation_checkpointing=checkpointing,
    )  # fmt: skip
    collator = TripletCollator(model.tokenizer, model.recipe)
    rows = [{**row, "positive": row["positive"] + " word3" * 120} for row in triplets(128)]
    trainer = ContrastiveTrainer(model, args, rows, collator)
    batch = longest_batch(trainer.train_dataset, collator, args.per_device_train_batch_size)
    plan = plan_training(trainer, batch)
    gc.collect()
    with LiveBytes([*model.parameters(), *model.buffers()]) as live:
        trainer.train()
    record_property("planned and measured", json.dumps([plan.above_model, live.peak]))
    print(f"{design} checkpointing {checkpointing}: planned {plan.above_model:,}, measured {live.peak:,}")
    assert live.peak >= 8e8
    assert plan.above_model == pytest.approx(live.peak, rel=0.15)


def test_the_command_runs_from_elsewhere(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = str(ROOT / "trainers" / "memory_plan.py")
    done = subprocess.run([sys.executable, script, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "--negatives" in done.stdout


def test_a_causal_design_that_pools_without_an_end_token_is_planned(base: Path) -> None:
    """Its masks are compared while the plan is made, where no tensor has values."""
    model = new_model("causal_mean", base, recipe=named_recipe("kalm_v1").recipe)
    batch = TripletCollator(model.tokenizer, model.recipe)(triplets(4))
    loss = MatryoshkaLoss.of(ContrastiveLoss(), [32, 8])
    assert plan_step(model, ContrastiveStep.of(model, SingleProcessEngine(), loss=loss), batch).activations > 0


@pytest.mark.parametrize(
    ("packing", "device", "checkpointing", "packs"),
    [
        ("auto", "cpu", False, True),
        ("auto", "cuda", False, False),
        ("on", "cuda", False, True),
        ("on", "cpu", True, False),
        ("off", "cpu", False, False),
    ],
)
def test_where_texts_are_packed(packing: str, device: str, checkpointing: bool, packs: bool) -> None:
    args: Any = SimpleNamespace(device=torch.device(device), activation_checkpointing=checkpointing)
    assert packs_texts(packing, args) == packs
