"""The figures of a collapse: right on vectors whose figures are known; a collapsed run warns, a healthy one does not."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from tests.trainers.commands import arguments
from trainers.monitor.collapse import collapse_figures, collapse_warning
from trainers.train import main


def test_orthogonal_queries() -> None:
    queries = torch.eye(32)
    figures = collapse_figures(queries, queries)
    assert figures["mean_cosine"] == 0.0 and figures["margin"] == 1.0
    assert figures["effective_rank"] == pytest.approx(31, abs=1e-3)  # 32 points span 31 directions
    assert not collapse_warning(figures, 32)


def test_two_directions_of_unequal_weight() -> None:
    # Pairs at plus and minus along two axes, around a common direction: variances 0.3 and 0.1 of these, and one between
    # the pairs, whose common directions differ in length.
    up, side, gap = 0.3**0.5, 0.1**0.5, (0.9**0.5 - 0.7**0.5) / 2
    queries = torch.tensor([[up, 0, 0.7**0.5], [-up, 0, 0.7**0.5], [0, side, 0.9**0.5], [0, -side, 0.9**0.5]])
    variances = [2 * 0.3, 2 * 0.1, 4 * gap**2]
    shares = [variance / sum(variances) for variance in variances]
    expected = math.exp(-sum(share * math.log(share) for share in shares))
    assert collapse_figures(queries, queries)["effective_rank"] == pytest.approx(expected, abs=1e-3)


def test_margin_is_against_other_positives() -> None:
    queries, positives = torch.eye(4), torch.eye(4).roll(1, dims=0)
    assert collapse_figures(queries, positives)["margin"] == pytest.approx(-1 / 3, abs=1e-4)


@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_equal_vectors_are_a_collapse(noise: float) -> None:
    vectors = torch.nn.functional.normalize(torch.ones(16, 8) + noise * torch.randn(16, 8), dim=-1)
    assert "mean cosine" in collapse_warning(collapse_figures(vectors, vectors), 16)


def test_one_direction_is_a_collapse() -> None:
    angle = torch.linspace(0, 0.9, 32)
    vectors = torch.stack([angle.cos(), angle.sin()], dim=1)
    figures = collapse_figures(vectors, vectors)
    assert "directions" in collapse_warning(figures, 32)
    assert not collapse_warning(figures, 4)  # four queries say too little of it


def test_one_query_has_no_figures() -> None:
    assert collapse_figures(torch.eye(1), torch.eye(1)) == {}
    assert collapse_warning({}, 1) == ""


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "out" / "metrics.jsonl").read_text().splitlines()]


def test_a_healthy_run_logs_the_figures_and_warns_of_nothing(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(base, tmp_path), design="model1") == 0
    assert "collapsed" not in capsys.readouterr().err
    logged = [line for line in lines(tmp_path) if "loss" in line]
    assert len(logged) == 2
    assert all({"mean_cosine", "margin", "effective_rank"} <= line.keys() for line in logged)


def test_a_run_without_candidates_warns(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(arguments(base, tmp_path, "--similarity_margin", "-2"), design="model1")
    assert "left out as false negatives" in capsys.readouterr().err


def test_a_collapsed_run_warns_once(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.run.trainer.SETTLED", 0)
    argv = arguments(base, tmp_path, "--loss", "published", "--logging_steps", "1")
    rows = [{"query": f"x{number}", "positive": f"y{number}"} for number in range(8)]  # no word of the vocabulary
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    main(argv, design="model1")  # whether it ends well is another question: nothing can be learned
    assert capsys.readouterr().err.count("look collapsed") == 1
    assert lines(tmp_path)[0]["mean_cosine"] == pytest.approx(1.0, abs=1e-4)
