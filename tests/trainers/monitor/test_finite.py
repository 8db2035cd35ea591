"""What is not finite stops the run before the optimizer applies it, on every process, and names the rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from common.errors import UserError
from tests.tiny import ROOT, trained_parameters, triplets
from tests.trainers.commands import SMALL, arguments
from trainers.flags.command_line import parse
from trainers.memory.placeholders import PeakChunkEncoder
from trainers.monitor.finite import ADVICE, GRADIENTS, LOSS, NOTHING, VECTORS, FailureReport, check_finite, describe_failure
from trainers.run.build import build_trainer
from trainers.train import main


def poisoned(base: Path, folder: Path, *more: str) -> list[str]:
    """A command whose fifth row has a negative that no finite vector comes of."""
    argv = arguments(base, folder, *more)
    rows = [{"query": row["query"], "positive": row["positive"], "negative": ["word1", "word2"]} for row in triplets(8)]
    rows[4]["negative"] = ["word1", "unknown"]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return argv


def break_unknown_words(model: Any) -> None:
    """Make the vector of every text with an unknown word NaN."""
    model.backbone.get_input_embeddings().weight.data[0] = float("nan")


def trained(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in trained_parameters(trainer.model).items()}


def test_the_row_of_a_vector_that_is_not_finite_is_named(base: Path, tmp_path: Path) -> None:
    argv = poisoned(base, tmp_path, "--per_device_train_batch_size", "8", *SMALL)
    trainer = build_trainer(parse(argv, design="model3"))
    break_unknown_words(trainer.model)
    before = trained(trainer)
    with pytest.raises(UserError, match=r"step 1 .* vectors of 1 row: ") as caught:
        trainer.train()
    row = json.loads((tmp_path / "rows.jsonl").read_text().splitlines()[4])
    assert f"rows.jsonl:5 {row['query'][:60]!r}. The weights" in str(caught.value)
    assert all(torch.equal(tensor, trained(trainer)[name]) for name, tensor in before.items())


def test_parameters_are_named_when_only_the_gradient_is_not_finite(base: Path, tmp_path: Path) -> None:
    trainer = build_trainer(parse(arguments(base, tmp_path, "--max_grad_norm", "0", *SMALL), design="model3"))
    parameter = trainer.model.pooling.latents
    parameter.register_hook(lambda gradient: gradient * float("inf") if trainer.state.global_step == 2 else gradient)
    steps: list[dict[str, torch.Tensor]] = []
    original = trainer.training_step

    def noted(*args: Any, **kwargs: Any) -> torch.Tensor:
        steps.append(trained(trainer))
        return original(*args, **kwargs)

    trainer.training_step = noted
    with pytest.raises(
        UserError, match=r"step 3 .*gradients of 1 parameter: pooling\.latents; the batch's 4 rows: .* and 1 more"
    ):
        trainer.train()
    assert all(torch.equal(tensor, trained(trainer)[name]) for name, tensor in steps[2].items())
    assert any(not torch.equal(tensor, trained(trainer)[name]) for name, tensor in steps[0].items())


def test_infinite_gradients_belong_to_loss_scaling(base: Path, tmp_path: Path) -> None:
    trainer = build_trainer(parse(arguments(base, tmp_path), design="model1"))
    trainer.current_gradient_accumulation_steps = 1
    batch = next(iter(trainer.get_train_dataloader()))
    result = trainer.contrastive_step(trainer.model, batch)
    next(p for p in trainer.model.parameters() if p.grad is not None).grad.fill_(float("inf"))
    check_finite(trainer.model, batch, result, step=1, loss_scaling=True)
    with pytest.raises(UserError, match="gradients of 1 parameter"):
        check_finite(trainer.model, batch, result, step=1)
    bad = replace(result, loss=torch.tensor(float("nan")))  # no scaler heals a forward pass
    with pytest.raises(UserError, match="loss nan"):
        check_finite(trainer.model, batch, bad, step=1, loss_scaling=True)


def test_a_large_but_finite_gradient_is_none_of_this(base: Path, tmp_path: Path) -> None:
    trainer = build_trainer(parse(arguments(base, tmp_path), design="model1"))
    batch = next(iter(trainer.get_train_dataloader()))
    result = trainer.contrastive_step(trainer.model, batch)
    for parameter in trainer.model.parameters():
        if parameter.grad is not None:
            parameter.grad.fill_(1e30)  # its square overflows
    check_finite(trainer.model, batch, result, step=1)


def test_the_status_is_1_and_the_last_checkpoint_stays_whole(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import trainers.step.contrastive

    argv = arguments(base, tmp_path)
    argv[argv.index("--save_strategy") : argv.index("--save_strategy") + 2] = ["--save_steps", "1"]
    calls, original = [0], trainers.step.contrastive.encode_chunk

    def broken(model: Any, batch: Any) -> torch.Tensor:
        calls[0] += model.training and not isinstance(model, PeakChunkEncoder)  # the memory plan makes a step, too
        vectors = original(model, batch)
        return vectors * float("nan") if calls[0] == 3 else vectors

    monkeypatch.setattr(trainers.step.contrastive, "encode_chunk", broken)
    assert main(argv, design="model1") == 1
    told = capsys.readouterr().err
    assert "error: step 3 is not finite" in told and "--resume_from_checkpoint true" in told
    assert "For a lower --learning_rate" in told and "begin a new run in another --output_dir" in told
    assert sorted(path.name for path in (tmp_path / "out").glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-2"]
    assert not (tmp_path / "out" / "embedder.json").exists()
    monkeypatch.undo()
    assert main([*argv, "--resume_from_checkpoint", "true"], design="model1") == 0


PROCESSES = """
import os, socket, sys
sys.path.insert(0, {root!r})
import torch
from tests.trainers.monitor.test_finite import break_unknown_words
from trainers import train
from trainers.run import train_run

def broken(config, original=train_run.build_trainer):
    trainer = original(config)
    break_unknown_words(trainer.model)
    return trainer

torch.set_num_threads(1)
train_run.build_trainer = broken
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
child = os.fork()
rank = "0" if child else "1"
os.environ.update(RANK=rank, LOCAL_RANK=rank)
status = train.main(sys.argv[1:], design="model1")
if child:
    status = [status, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])] != [1, 1]
sys.stderr.flush()
os._exit(status)
"""


def test_all_processes_leave_together(base: Path, tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(PROCESSES.format(root=str(ROOT)))
    argv = poisoned(base, tmp_path, "--train_sampling_strategy", "sequential")
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(script), *argv], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]  # both processes ended with 1
    lines = [line for line in done.stderr.splitlines() if "is not finite" in line]
    assert len(lines) == 1, done.stderr[-3000:]
    start, _, rows = lines[0].partition("process 1: not finite are vectors of 1 row: ")
    assert start == "error: step 1 is not finite (loss nan): "  # nothing of the first process, whose vectors are finite
    assert "rows.jsonl:5" in rows and rows.endswith(ADVICE)


def test_the_process_that_is_nearest_to_the_cause_is_named() -> None:
    causes = (VECTORS, GRADIENTS, LOSS, NOTHING)
    vectors, gradients, loss, nothing = (FailureReport(1.0 + cause, cause, f"text {cause}") for cause in causes)
    assert describe_failure([gradients, vectors, loss]) == "loss 1): process 1: text 0"
    assert describe_failure([vectors, gradients, vectors]) == "loss 1): process 0: text 0; process 2: text 0"
    # One process has the bad part of a sharded parameter; losses differ where negatives are not shared.
    assert describe_failure([loss, gradients, gradients]) == "loss 2): process 1: text 1"
    assert describe_failure([nothing, loss, loss]) == "loss 3): process 1: text 2"
    assert describe_failure([gradients]) == "loss 2): text 1"
    assert describe_failure([vectors] * 9).endswith("; process 2: text 0 and 6 more")
