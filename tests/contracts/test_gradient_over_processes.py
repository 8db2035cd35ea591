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

# Every value of design, shares and chunks meets every value of the others in half of the combinations; the other half is slow.
TWO = [
    Case("model1-even-24", "model1", EVEN2, 24),
    Case("model1-ragged-None", "model1", RAGGED2),
    Case("model1-empty-24", "model1", EMPTY2, 24),
    Case("model5-even-None", "model5", EVEN2),
    Case("model5-ragged-24", "model5", RAGGED2, 24),
    Case("model5-empty-None", "model5", EMPTY2),
    Case("model2-ragged-24", "model2", RAGGED2, 24),
    Case("model3-ragged-24", "model3", RAGGED2, 24),
    Case("model4-ragged-24", "model4", RAGGED2, 24),
    Case("some alone", "model1", RAGGED2, 24, alone=True),
    Case("checkpointing", "model5", RAGGED2, 24, checkpointing=True),
    Case("adam", "model5", RAGGED2, 24, arguments=ADAM),
    Case("several groups at once", "model5", EMPTY2, None, group_tokens=24),
    Case("matryoshka", "model1", RAGGED2, 24, arguments={"learning_rate": 1e-4}, widths=[32, 8, 4]),
    Case("divergence", "model1", RAGGED2, 24, arguments={"learning_rate": 1e-3}, distilled="kl"),
    Case("full", "bidirectional_mean", RAGGED2, 24, arguments={"learning_rate": 1e-3}, full=True),
    Case("accumulation", "model3", [*RAGGED2, [3, 4]], 24, arguments={"gradient_accumulation_steps": 2}),
    Case("accumulation at once", "model1", [*RAGGED2, [3, 4]], None, arguments={"gradient_accumulation_steps": 2}),
]
TWO_SLOW = [
    Case("margins", "model5", EMPTY2, None, arguments={"learning_rate": 1e-4}, distilled="margin_mse"),
    Case("model1-even-None", "model1", EVEN2),
    Case("model1-ragged-24", "model1", RAGGED2, 24),
    Case("model1-empty-None", "model1", EMPTY2),
    Case("model5-even-24", "model5", EVEN2, 24),
    Case("model5-ragged-None", "model5", RAGGED2),
    Case("model5-empty-24", "model5", EMPTY2, 24),
]
FOUR = [
    Case("model1-ragged-None", "model1", RAGGED4),
    Case("model5-empty-24", "model5", EMPTY4, 24),
    Case("adam", "model1", RAGGED4, 24, arguments=ADAM),
]
FOUR_SLOW = [
    Case("model1-even-None", "model1", EVEN4),
    Case("model1-empty-None", "model1", EMPTY4),
    Case("model5-even-24", "model5", EVEN4, 24),
    Case("model5-ragged-24", "model5", RAGGED4, 24),
]
BROKEN = [
    Case("unwrapped model-24", "model1", EVEN2, 24, broken="unwrapped model"),
    Case("local gather-None", "model1", EVEN2, broken="local gather"),
]
BROKEN_SLOW = [
    Case("unwrapped model-None", "model1", EVEN2, broken="unwrapped model"),
    Case("local gather-24", "model1", EVEN2, 24, broken="local gather"),
]
WITHIN = {"negatives_across_processes": False}
LOCAL = [Case(f"local-{chunk}", "model1", [[4, 7]], chunk, options=WITHIN) for chunk in (None, 24)]
EMPTY_LOCAL = [Case(f"local-empty-{chunk}", "model1", [[5, 0]], chunk, options=WITHIN) for chunk in (None, 24)]
FAST_GROUPS = {"two": (2, TWO), "four": (4, FOUR), "broken": (2, BROKEN), "local": (2, [*LOCAL, *EMPTY_LOCAL])}
SLOW_GROUPS = {"two": (2, TWO_SLOW), "four": (4, FOUR_SLOW), "broken": (2, BROKEN_SLOW)}


def fast_and_slow(fast: Sequence[Case], slow: Sequence[Case]) -> list[Any]:
    """Make parameters of all cases; those of the second list belong to the slow tier."""
    return [*fast, *(pytest.param(case, marks=pytest.mark.slow) for case in slow)]


def launch(jobs: Sequence[dict[str, Any]], folder: Path, python: str = sys.executable) -> None:
    path = folder / "jobs.json"
    path.write_text(json.dumps(jobs))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")} | {
        "OMP_NUM_THREADS": "1"
    }
    done = subprocess.run([python, str(RANKS), str(path)], env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-5000:]


class Results:
    """The results of every process by group and case; the fast and the slow cases are each run once, when first needed."""

    def __init__(self, base: Path, folder: Path) -> None:
        self.base, self.folder, self.launched = base, folder, set()

    def __getitem__(self, key: tuple[str, str]) -> list[dict[str, Any]]:
        group, name = key
        tier, groups = "fast", FAST_GROUPS
        if name not in {case.name for case in FAST_GROUPS[group][1]}:
            tier, groups = "slow", SLOW_GROUPS
        if tier not in self.launched:
            self.launch(self.folder / tier, groups)
            self.launched.add(tier)
        files = [self.folder / tier / group / f"{name}-{rank}.pt" for rank in range(groups[group][0])]
        return [torch.load(file, weights_only=True) for file in files]

    def launch(self, folder: Path, groups: dict[str, tuple[int, list[Case]]]) -> None:
        jobs = []
        for name, (world, cases) in groups.items():
            (folder / name).mkdir(parents=True)
            jobs.append(job_of(world, "ddp", self.base, folder / name, cases))
        launch(jobs, folder)


@pytest.fixture(scope="module")
def results(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return Results(base, tmp_path_factory.mktemp("ranks"))


def reference(case: Case, base: Path) -> dict[str, Any]:
    return ShareTrainer(case.joined(), str(base), 0).run()


def check(ranks: list[dict[str, Any]], single: dict[str, Any], weights_within: float) -> None:
    """Gradients, losses and weights of all processes are those of a single one."""
    for rank in ranks:
        if single["gradients"] and rank["gradients"]:
            assert relative(rank["gradients"], single["gradients"]) <= NOISE
        # In the third step one process alone, with other sizes of chunks, differs by up to 1.5e-5.
        assert rank["losses"][:2] == pytest.approx(single["losses"][:2], abs=5e-6)
        assert rank["losses"] == pytest.approx(single["losses"], abs=2e-5)
        for name, weight in single["weights"].items():
            assert torch.equal(rank["weights"][name], ranks[0]["weights"][name]), name
            assert float((rank["weights"][name] - weight).abs().max()) <= weights_within, name


# Two ways to sum the same fp32 numbers; see test_exact_gradient.py, where the same sums are compared in float64.
NOISE = 2e-6


@pytest.mark.parametrize("case", fast_and_slow(TWO, TWO_SLOW), ids=lambda case: case.name)
def test_two_processes_equal_one(base: Path, results: Results, case: Case) -> None:
    ranks = results["two", case.name]
    assert [rank["world"] for rank in ranks] == [2, 2]
    assert {rank["wrapper"] for rank in ranks} == {"DistributedDataParallel"}
    check(ranks, reference(case, base), 2e-4 if "adam" in case.name else 2e-6)


@pytest.mark.parametrize("case", fast_and_slow(FOUR, FOUR_SLOW), ids=lambda case: case.name)
def test_four_processes_equal_one(base: Path, results: Results, case: Case) -> None:
    ranks = results["four", case.name]
    assert [rank["world"] for rank in ranks] == [4] * 4
    check(ranks, reference(case, base), 2e-4 if "adam" in case.name else 2e-6)


@pytest.mark.parametrize(
    "case", fast_and_slow([*TWO, *FOUR], [*TWO_SLOW, *FOUR_SLOW]), ids=lambda case: f"{len(case.splits[0])}-{case.name}"
)
def test_each_parameter_is_reduced_once_a_step(results: Results, case: Case) -> None:
    world = {2: "two", 4: "four"}[len(case.splits[0])]
    accumulation = case.arguments.get("gradient_accumulation_steps", 1)
    for rank in results[world, case.name]:
        assert len(rank["reduced"]) == len(case.splits)
        for number, buckets in enumerate(rank["reduced"]):
            last_of_step = (number + 1) % accumulation == 0
            assert sum(buckets) == (rank["trainable"] if last_of_step else 0)


@pytest.mark.parametrize("case", fast_and_slow(BROKEN, BROKEN_SLOW), ids=lambda case: case.name)
def test_the_comparison_notices_mistakes(base: Path, results: Results, case: Case) -> None:
    single = reference(Case(case.name, case.design, case.splits, case.chunk_tokens), base)
    assert relative(results["broken", case.name][0]["gradients"], single["gradients"]) > 0.1
    with pytest.raises(AssertionError):
        check(results["broken", case.name], single, 1e-6)


@pytest.mark.parametrize("case", LOCAL, ids=lambda case: case.name)
def test_negatives_may_stay_within_a_process(base: Path, results: Results, case: Case) -> None:
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
    for rank in results["local", case.name]:
        assert rank["losses"] == pytest.approx([sum(losses)], abs=5e-6)
        assert relative(rank["gradients"], expected) <= NOISE
    assert relative(results["local", case.name][0]["gradients"], reference(case, base)["gradients"]) > 0.01


@pytest.mark.parametrize("case", EMPTY_LOCAL, ids=lambda case: case.name)
def test_a_process_without_rows_adds_nothing(base: Path, results: Results, case: Case) -> None:
    """Also where negatives stay within a process: the other one's rows are the whole batch."""
    single = reference(case, base)
    for rank in results["local", case.name]:
        # In the third step one process alone, with other sizes of chunks, differs by up to 1.5e-5.
        assert rank["losses"][:2] == pytest.approx(single["losses"][:2], abs=5e-6)
        assert rank["losses"] == pytest.approx(single["losses"], abs=2e-5)
        assert relative(rank["gradients"], single["gradients"]) <= NOISE
