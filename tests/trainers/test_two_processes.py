"""Two gloo processes on the CPU give the gradients and weights of one process on the joined batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.trainers.two_processes import make_trainer, one_step_gradients

SCRIPT = Path(__file__).with_name("two_processes.py")


def run_two(base: Path, design: str, out: Path, mode: str) -> list[dict[str, torch.Tensor]]:
    out.mkdir(exist_ok=True)
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", str(SCRIPT)]
    done = subprocess.run(
        [*command, str(base), design, str(out), mode], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(out / f"{mode}-{rank}.pt", weights_only=True) for rank in (0, 1)]


def relative(ours: dict[str, torch.Tensor], reference: dict[str, torch.Tensor]) -> float:
    """Norm of the difference of two whole gradients, relative to the reference's."""
    off = sum(float((ours[name] - reference[name]).double().square().sum()) for name in reference)
    return (off / sum(float(reference[name].double().square().sum()) for name in reference)) ** 0.5


@pytest.mark.parametrize("mode", ["gradients", "chunked"])
@pytest.mark.parametrize("design", ["model1", "model5"])
def test_gradients_equal_one_process_on_the_joined_batch(base: Path, tmp_path: Path, design: str, mode: str) -> None:
    two = run_two(base, design, tmp_path, mode)
    one = one_step_gradients(make_trainer(str(base), design, str(tmp_path)), 8)
    assert one.keys() == two[0].keys() == two[1].keys()
    for rank in (0, 1):
        assert relative(two[rank], one) <= 1e-6
        for name, reference in one.items():  # a single small tensor is closer to the noise of fp32 sums
            assert relative({name: two[rank][name]}, {name: reference + 1e-12}) <= 1e-5, name


@pytest.mark.parametrize(("mode", "rows"), [("train", 7), ("ragged", 9)])
def test_parameters_after_three_steps(base: Path, tmp_path: Path, mode: str, rows: int) -> None:
    two = run_two(base, "model3", tmp_path, mode)
    trainer = make_trainer(str(base), "model3", str(tmp_path), rows=rows)
    trainer.args.per_device_train_batch_size = 8
    initial = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    moved = 0.0
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(two[0][name], two[1][name]), name
        assert float((two[0][name] - parameter.detach()).abs().max()) <= 1e-6, name
        moved = max(moved, float((parameter.detach() - initial[name]).abs().max()))
    assert moved > 1e-4
