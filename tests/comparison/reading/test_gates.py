"""What is not comparable is not compared, or stands in the headline with its share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

from comparison.claims.outcome import Comparison
from comparison.compare import Options, compare
from comparison.reading.families import read_families
from comparison.reading.results_folder import read
from comparison.reading.selection import select
from comparison.report.tables.markdown import as_markdown
from tests.comparison.conftest import Write, write_items, write_result

TASKS = ["ArguAna", "FiQA2018", "HotpotQA", "NFCorpus", "NQ", "SCIDOCS", "SciFact", "TRECCOVID", "FEVER", "DBPedia"]
RANDOM = np.random.default_rng(5)


def compared(*folders: Path) -> Comparison:
    families = read_families()
    return compare(select(read(list(folders)), families), families, Options("a"))


def level(shift: float, tasks: list[str] = TASKS) -> dict[str, float]:
    return {task: round(0.4 + 0.01 * number + shift + 0.001 * (number % 3), 4) for number, task in enumerate(tasks)}


def said(comparison: Comparison, *parts: str) -> bool:
    return any(all(part in note for part in parts) for note in comparison.notes)


def pairs(noise: float) -> tuple[list[dict[str, Any]], float]:
    gold = np.random.default_rng(1).normal(size=200)
    score = gold + noise * RANDOM.normal(size=200)
    rows = [{"score": float(value), "gold": float(truth)} for value, truth in zip(score, gold, strict=True)]
    return rows, float(spearmanr(score, gold).statistic)


def labelled(noise: float) -> tuple[list[dict[str, Any]], float]:
    gold = np.random.default_rng(1).integers(0, 2, size=200)
    score = gold + noise * RANDOM.normal(size=200)
    rows = [{"score": float(value), "gold": int(truth)} for value, truth in zip(score, gold, strict=True)]
    return rows, float(average_precision_score(gold, score))


def texts(share: float) -> tuple[list[dict[str, Any]], float]:
    right = RANDOM.random(size=(200, 3)) < share
    rows = [{"gold": 1, "predicted": [int(hit) for hit in row]} for row in right]
    return rows, float(right.mean())


def draws(mean: float) -> tuple[list[dict[str, Any]], float]:
    values = mean + 0.01 * RANDOM.normal(size=10)
    rows = [{"level": "Level 0", "v_measure": float(value), "documents": 500, "drawn": 100} for value in values]
    return rows, float(values.mean())


KINDS = {
    "pairs": (pairs, "cosine_spearman", 0.3, 1.5),
    "labelled pairs": (labelled, "cosine_ap", 0.3, 1.5),
    "texts": (texts, "accuracy", 0.8, 0.6),
    "draws": (draws, "v_measure", 0.5, 0.4),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beside", ["main score", "another main score"])
def test_items_of_another_model_are_refused(write: Write, kind: str, beside: str) -> None:
    """They gave up to 83 points beside a difference of 2, with the opposite winner."""
    make, metric, good, bad = KINDS[kind]
    root = write({"o/a": {}, "o/b": {}})
    own = {}
    for name, quality in (("a", good), ("b", bad)):
        rows, score = make(quality)
        own[name] = (rows, score)
        main = score if beside == "main score" else round(score - 0.05, 6)
        row = {"hf_subset": "default", "main_score": main, metric: score, "another": main}
        write_result(root / f"o__{name}" / "rev", "Mine", {"test": [row]})
        write_items(root / f"o__{name}" / "rev", "Mine", rows)
    (contrast,) = compared(root).categories[0].contrasts
    within = contrast.these_tasks.tasks["Mine"]
    assert within.difference == pytest.approx(own["b"][1] - own["a"][1], abs=1e-9), "the product's own are used"
    write_items(root / "o__b" / "rev", "Mine", make(good)[0])
    comparison = compared(root)
    assert comparison.categories[0].contrasts[0].these_tasks is None
    assert said(comparison, "their statistic is not the score in the result file", "b on Mine")


def test_a_measure_is_compared_with_the_same_measure(write: Write) -> None:
    """One's main score is its map, the other's its nDCG: it was a "**" without a word."""
    root = write({"o/a": level(0), "o/b": level(0.1), "o/c": level(0.001)})
    for task, score in level(0.1).items():
        row = {"hf_subset": "default", "main_score": score, "map_at_10": score, "ndcg_at_10": score - 0.1}
        write_result(root / "o__b" / "rev", task, {"test": [row]})
    comparison = compared(root)
    assert [contrast.a for contrast in comparison.categories[0].contrasts] == ["c"]
    assert said(comparison, "b on NQ (its main score is map_at_10; compared is ndcg_at_10)")


def test_metrics_of_old_versions_are_the_same(write: Write) -> None:
    root = write({"o/a": {"STS12": 0.5}}, metric="cos_sim_spearman")
    write({"o/b": {"STS12": 0.6}}, metric="cosine_spearman")
    assert len(compared(root).categories[0].contrasts) == 1


def test_a_file_that_names_no_metric_is_said(write: Write) -> None:
    root = write({"o/a": {"NQ": 0.5}})
    write({"o/b": {"NQ": {"test": [{"hf_subset": "default", "main_score": 0.6}]}}})
    comparison = compared(root)
    assert len(comparison.categories[0].contrasts) == 1 and said(comparison, "which metric their main score is: 1 of 2")


def test_absent_tasks_stand_in_the_headline_and_count_as_losses(write: Write) -> None:
    """Three tasks that failed were "not chosen", three that were just absent "choose b, also over the whole table"."""
    root = write({"o/a": level(0), "o/b": level(0.02, TASKS[:7])})
    comparison = compared(root)
    (contrast,) = comparison.categories[0].contrasts
    assert contrast.starred and not contrast.carried
    assert (contrast.sensitivity.failed_a, contrast.sensitivity.absent, contrast.sensitivity.failed) == (3, 3, False)
    largest = max(map(abs, contrast.differences.values()))
    assert contrast.sensitivity.mean == pytest.approx((sum(contrast.differences.values()) - 3 * largest) / 10)
    text = as_markdown(comparison)
    assert "b leads a on the tasks that both have; b has no score on 3 of 10 tasks, so b is not chosen" in text
    assert "with absences counted as losses (3 and 0)" in text


def test_a_choice_on_some_of_the_tasks_says_so(write: Write) -> None:
    root = write({"o/a": level(0, TASKS[:9]), "o/b": level(0.03)})
    comparison = compared(root)
    assert comparison.categories[0].contrasts[0].carried
    assert "choose b (checkpoints, p .0039, also over the whole table, on 9 of 10 tasks; of what was scored" in as_markdown(
        comparison
    )


def test_other_revisions_of_the_data_stand_in_the_headline(write: Write) -> None:
    root = write({"o/a": level(0)})
    write({"o/b": level(0.03)}, dataset_revision="r2")
    comparison = compared(root)
    assert comparison.categories[0].contrasts[0].data.unlike_revisions == sorted(TASKS)
    assert "also over the whole table, 10 of 10 on different revisions of the data)" in as_markdown(comparison)


def test_items_that_are_not_the_same_are_counted(write: Write) -> None:
    root = write({"o/a": {}, "o/b": {}})
    for name, mean in (("a", 0.4), ("b", 0.8)):
        for task in ("NQ", "FEVER"):
            values = np.clip(mean + 0.05 * RANDOM.normal(size=60), 0, 1).round(6)
            folder = root / f"o__{name}" / "rev"
            write_result(folder, task, float(values.mean()))
            other = {"id": "other"} if (name, task) == ("b", "NQ") else {}
            rows = [{"ndcg_at_10": float(value)} for value in values]
            rows[0] |= other
            write_items(folder, task, rows)
    comparison = compared(root)
    (contrast,) = comparison.categories[0].contrasts
    assert contrast.data.unlike_items == ["NQ"] and list(contrast.these_tasks.tasks) == ["FEVER"] and contrast.mark == "o"


def test_equal_runs_are_one_run(write: Write) -> None:
    """The same files under seed0 to seed2 gave a variance of zero, and "designs"."""
    root = write({f"o/b-seed{seed}": level(0.03) for seed in range(3)} | {"o/a": level(0)})
    comparison = compared(root)
    assert comparison.systems == {"a": 1, "b": 1} and comparison.categories[0].contrasts[0].checkpoint
    assert said(comparison, "b: 3 runs (seed 0, seed 1, seed 2) have the same score on every task and are one run")
    write({"o/b-seed1": {"NQ": 0.5}})
    assert compared(root).systems == {"a": 1, "b": 2}


def test_per_cent_below_one_is_noticed(write: Write) -> None:
    root = write({"o/a": level(0), "o/c": level(0.01), "o/b": level(0.02) | {"NQ": 46.0, "FEVER": 0.9}})
    comparison = compared(root)
    assert said(comparison, "1 results of b are in per cent, so its scores below 1 may be, too", "FEVER")


def test_a_score_out_of_line_is_noticed(write: Write) -> None:
    root = write({"o/a": level(0), "o/c": level(0.01), "o/b": level(0.02) | {"FEVER": 0.9}})
    assert said(compared(root), "b on FEVER (Retrieval) is +41.3 points from the others' median, more than ten times")
    assert not said(compared(write({"o/a": level(0), "o/b": level(0.02)}, root="fine")), "from the others' median")
