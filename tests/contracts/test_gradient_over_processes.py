"""Several gloo processes give the gradients and weights of one process on the joined batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.contracts.gradients import relative
from tests.contracts.ranks import Case, ShareTrainer, job_of

RANKS = Path(__file__).with_name("ranks.py")
EVEN2, RAGGED2, EMPTY2 = [[6, 6]] * 3, [[11, 1], [2, 10], [6, 6]], [[12, 0], [0, 12], [5, 1]]
EVEN4, RAGGED4, EMPTY4 = [[3, 3, 3, 3]] * 3, [[5, 1, 4, 2]] * 3, [[5, 1, 6, 0], [3, 3, 3, 3], [0, 0, 1, 0]]
ADAM = {"optim": "adamw_torch", "learning_rate": 1e-3}

TWO = [
    Case(f"{design}-{name}-{chunk}", design, splits, chunk)
    for design in ("model1", "model5")
    for name, splits in (("even", EVEN2), ("ragged", RAGGED2), ("empty", EMPTY2))
    for chunk in (None, 24)
] + [
    Case("model2-ragged-24", "model2", RAGGED2, 24),
    Case("model3-ragged-24", "model3", RAGGED2, 24),
    Case("model4-ragged-24", "model4", RAGGED2, 24),
    Case("some alone", "model1", RAGGED2, 24, alone=True),
    Case("checkpointing", "model5", RAGGED2, 24, checkpointing=True),
    Case("adam", "model5", RAGGED2, 24, arguments=ADAM),
    Case("several groups at once", "model5", EMPTY2, None, group_tokens=24),
    Case("accumulation", "model3", [*RAGGED2, [3, 4]], 24, arguments={"gradient_accumulation_steps": 2}),
    Case("accumulation at once", "model1", [*RAGGED2, [3, 4]], None, arguments={"gradient_accumulation_steps": 2}),
]
FOUR = [
    Case(f"{design}-{name}-{chunk}", design, splits, chunk)
    for design, chunk in (("model1", None), ("model5", 24))
    for name, splits in (("even", EVEN4), ("ragged", RAGGED4), ("empty", EMPTY4))
] + [Case("adam", "model1", RAGGED4, 24, arguments=ADAM)]
BROKEN = [
    Case(f"{what}-{chunk}", "model1", EVEN2, chunk, broken=what)
    for what in ("unwrapped model", "local gather")
    for chunk in (None, 24)
]
LOCAL = [
    Case(f"local-{chunk}", "model1", [[4, 7]], chunk, options={"negatives_across_processes": False}) for chunk in (None, 24)
]
EMPTY_LOCAL = [
    Case(f"local-empty-{chunk}", "model1", [[5, 0]], chunk, options={"negatives_across_processes": False})
    for chunk in (None, 24)
]


def launch(jobs: Sequence[dict[str, Any]], folder: Path, python: str = sys.executable) -> None:
    path = folder / "jobs.json"
    path.write_text(json.dumps(jobs))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")} | {
        "OMP_NUM_THREADS": "1"
    }
    done = subprocess.run([python, str(RANKS), str(path)], env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-5000:]


@pytest.fixture(scope="module")
def found(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What every process of every case found, all run once."""
    folder = tmp_path_factory.mktemp("ranks")
    groups = {"two": (2, TWO), "four": (4, FOUR), "broken": (2, BROKEN), "local": (2, [*LOCAL, *EMPTY_LOCAL])}
    jobs = []
    for name, (world, cases) in groups.items():
        (folder / name).mkdir()
        jobs.append(job_of(world, "ddp", base, folder / name, cases))
    launch(jobs, folder)
    return {
        f"{name} {case.name}": [
            torch.load(folder / name / f"{case.name}-{rank}.pt", weights_only=True) for rank in range(world)
        ]
        for name, (world, cases) in groups.items()
        for case in cases
    }


def reference(case: Case, base: Path) -> dict[str, Any]:
    return ShareTrainer(case.joined(), str(base), 0).run()


def check(ranks: list[dict[str, Any]], one: dict[str, Any], weights_within: float) -> None:
    """Gradients, losses and weights of all processes are those of one."""
    for rank in ranks:
        if one["gradients"] and rank["gradients"]:
            assert relative(rank["gradients"], one["gradients"]) <= NOISE
        # In the third step one process alone, with other sizes of chunks, differs by up to 1.5e-5.
        assert rank["losses"][:2] == pytest.approx(one["losses"][:2], abs=5e-6)
        assert rank["losses"] == pytest.approx(one["losses"], abs=2e-5)
        for name, weight in one["weights"].items():
            assert torch.equal(rank["weights"][name], ranks[0]["weights"][name]), name
            assert float((rank["weights"][name] - weight).abs().max()) <= weights_within, name


# Two ways to sum the same fp32 numbers; see test_step.py, where the same sums are compared in float64.
NOISE = 2e-6


@pytest.mark.parametrize("case", TWO, ids=lambda case: case.name)
def test_two_processes_equal_one(base: Path, found: dict[str, list[dict[str, Any]]], case: Case) -> None:
    ranks = found[f"two {case.name}"]
    assert [rank["world"] for rank in ranks] == [2, 2]
    assert {rank["wrapper"] for rank in ranks} == {"DistributedDataParallel"}
    check(ranks, reference(case, base), 2e-4 if "adam" in case.name else 2e-6)


@pytest.mark.parametrize("case", FOUR, ids=lambda case: case.name)
def test_four_processes_equal_one(base: Path, found: dict[str, list[dict[str, Any]]], case: Case) -> None:
    ranks = found[f"four {case.name}"]
    assert [rank["world"] for rank in ranks] == [4] * 4
    check(ranks, reference(case, base), 2e-4 if "adam" in case.name else 2e-6)


@pytest.mark.parametrize("case", [*TWO, *FOUR], ids=lambda case: f"{len(case.splits[0])}-{case.name}")
def test_each_parameter_is_reduced_once_a_step(found: dict[str, list[dict[str, Any]]], case: Case) -> None:
    world = {2: "two", 4: "four"}[len(case.splits[0])]
    accumulation = case.arguments.get("gradient_accumulation_steps", 1)
    for rank in found[f"{world} {case.name}"]:
        assert len(rank["reduced"]) == len(case.splits)
        for number, buckets in enumerate(rank["reduced"]):
            last_of_step = (number + 1) % accumulation == 0
            assert sum(buckets) == (rank["trainable"] if last_of_step else 0)


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_the_comparison_notices_mistakes(base: Path, found: dict[str, list[dict[str, Any]]], case: Case) -> None:
    one = reference(Case(case.name, case.design, case.splits, case.chunk_tokens), base)
    assert relative(found[f"broken {case.name}"][0]["gradients"], one["gradients"]) > 0.1
    with pytest.raises(AssertionError):
        check(found[f"broken {case.name}"], one, 1e-6)


@pytest.mark.parametrize("case", LOCAL, ids=lambda case: case.name)
def test_negatives_may_stay_within_a_process(base: Path, found: dict[str, list[dict[str, Any]]], case: Case) -> None:
    """The loss is then the mean over all queries, each compared with its own process's documents."""
    trainer = ShareTrainer(case.joined(), str(base), 0)
    trainer.model.train()
    rows = trainer.train_dataset
    losses = []
    for begin, end in ((0, 4), (4, 11)):
        batch = trainer.data_collator([rows[index] for index in range(begin, end)])
        part = (end - begin) / 11
        losses.append(part * float(trainer.contrastive_step(trainer.model, batch, weight=part).loss))
    expected = {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}
    for rank in found[f"local {case.name}"]:
        assert rank["losses"] == pytest.approx([sum(losses)], abs=5e-6)
        assert relative(rank["gradients"], expected) <= NOISE
    assert relative(found[f"local {case.name}"][0]["gradients"], reference(case, base)["gradients"]) > 0.01


@pytest.mark.parametrize("case", EMPTY_LOCAL, ids=lambda case: case.name)
def test_a_process_without_rows_adds_nothing(base: Path, found: dict[str, list[dict[str, Any]]], case: Case) -> None:
    """Also where negatives stay within a process: the other one's rows are the whole batch."""
    one = reference(case, base)
    for rank in found[f"local {case.name}"]:
        # In the third step one process alone, with other sizes of chunks, differs by up to 1.5e-5.
        assert rank["losses"][:2] == pytest.approx(one["losses"][:2], abs=5e-6)
        assert rank["losses"] == pytest.approx(one["losses"], abs=2e-5)
        assert relative(rank["gradients"], one["gradients"]) <= NOISE
