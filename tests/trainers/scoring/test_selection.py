"""The best evaluation and the end of the patience, read from a run's log; and the checkpoints that stay."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common.errors import UserError
from trainers.checkpoints.write import kept_checkpoints
from trainers.scoring.curve import draw
from trainers.scoring.evaluation import evaluate_run, was_evaluated
from trainers.scoring.selection import Evaluated, Selection, metric_named
from trainers.step import distributed


def log_of(name: str, *values: float) -> list[dict[str, float]]:
    """One evaluation each ten steps, and lines of the training between them."""
    lines: list[dict[str, float]] = []
    for number, value in enumerate(values, start=1):
        lines += [{"step": 10 * number, "loss": 1.0}, {"step": 10 * number, name: value}]
    return lines


def test_best_and_waiting() -> None:
    log = log_of("eval_accuracy", 0.1, 0.3, 0.2, 0.3, 0.25)
    selection = Selection("accuracy", load_best=True, patience=3)
    assert selection.ranked(log)[0] == Evaluated(20, 0.3)  # of equal ones the earliest
    assert selection.kept_step(log) == 20
    assert [selection.waited(log[: 2 * count]) for count in range(6)] == [0, 0, 0, 1, 2, 3]
    assert selection.is_over(log) and not selection.is_over(log[:-2])
    assert Selection("accuracy", patience=3).kept_step(log) is None


def test_a_loss_is_best_low() -> None:
    log = log_of("eval_loss", 0.5, 0.4, 0.45)
    selection = Selection("loss", load_best=True, patience=1)
    assert selection.kept_step(log) == 20 and selection.is_over(log) and not selection.is_over(log[:-2])


def test_small_gains_add_up() -> None:
    """Each gain is within the threshold; two of them together are not."""
    selection = Selection("accuracy", patience=2, threshold=0.05)
    assert not selection.is_over(log_of("eval_accuracy", 0.10, 0.14, 0.18, 0.22))
    assert selection.is_over(log_of("eval_accuracy", 0.10, 0.11, 0.12))


def test_what_is_no_evaluation_of_the_run() -> None:
    """An evaluation before the first step, of other tasks, or that is not finite."""
    log = [
        {"step": 0, "eval_A": 0.9, "eval_B": 0.9, "eval_mean": 0.9},
        {"step": 10, "eval_A": 0.8, "eval_mean": 0.8},
        {"step": 20, "eval_A": 0.2, "eval_B": 0.4, "eval_mean": 0.3},
        {"step": 30, "eval_A": math.nan, "eval_B": 0.4, "eval_mean": math.nan},
    ]
    assert Selection("mean", ("A", "B")).history(log) == [Evaluated(20, pytest.approx(0.3))]
    assert Selection("mean", ("A",)).ranked(log)[0] == Evaluated(10, 0.8)
    assert Selection("mean", ()).history(log) == []


def test_an_evaluation_that_was_made_twice_counts_once() -> None:
    log = [*log_of("eval_loss", 0.5, 0.4), {"step": 20, "eval_loss": 0.4}]
    assert Selection("loss").history(log) == [Evaluated(10, 0.5), Evaluated(20, 0.4)]
    assert was_evaluated(log, 20) and not was_evaluated(log, 30) and not was_evaluated(log[:1], 10)


def test_the_figure_to_choose_by() -> None:
    assert metric_named(None, ["A"], has_loss=True) == "mean"
    assert metric_named(None, [], has_loss=True) == "loss"
    assert metric_named("eval_loss", [], has_loss=True) == "loss"
    assert metric_named("eval_A", ["A"], has_loss=False) == "A"
    with pytest.raises(UserError, match=r"did you mean 'Banking'\?\); they have mean, Banking"):
        metric_named("banking", ["Banking"], has_loss=False)
    with pytest.raises(UserError, match="no such figure; they have loss, accuracy"):
        metric_named("mean", [], has_loss=True)


@pytest.mark.parametrize(
    ("limit", "best", "kept"),
    [
        (1, None, [40]),
        (1, 40, [40]),
        (1, 10, [10, 40]),
        (2, 10, [10, 40]),
        (2, 30, [30, 40]),
        (3, 10, [10, 30, 40]),
        (9, 10, [10, 20, 30, 40]),
    ],
)
def test_the_best_checkpoint_stays(limit: int, best: int | None, kept: list[int]) -> None:
    saved = [Path(f"checkpoint-{step}") for step in (10, 20, 30, 40)]
    assert [int(path.name[11:]) for path in kept_checkpoints(saved, limit, best)] == kept


def test_a_curve_before_the_first_loss(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    draw([{"step": 2, "eval_mean": 0.5}], ["Task"], None, tmp_path / "curve.svg")
    assert (tmp_path / "curve.svg").is_file() and not list(recwarn)


def test_every_process_logs_the_held_out_loss_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that differ in the last bit would end a run at different steps, and wait for each other for ever."""

    def broadcast(answer: list[Any], src: int) -> None:
        assert src == 0
        answer[:] = [(0.5, 0.75), None]

    monkeypatch.setattr(distributed, "several", lambda: True)
    monkeypatch.setattr(distributed.dist, "get_rank", lambda: 1)
    monkeypatch.setattr(distributed.dist, "broadcast_object_list", broadcast)
    logged: list[dict[str, float]] = []
    trainer: Any = SimpleNamespace(
        held_out=lambda rows: (math.nextafter(0.5, 1.0), 0.75),
        task_scores=None,
        metrics=SimpleNamespace(since=0.0),
        log=logged.append,
        callback_handler=SimpleNamespace(on_evaluate=lambda args, state, control, named: control),
        args=None,
        state=None,
        control=None,
    )
    figures: Any = evaluate_run(trainer, ["row"], "eval")  # type: ignore[arg-type]
    assert logged == [figures] == [{"eval_loss": 0.5, "eval_accuracy": 0.75}]
