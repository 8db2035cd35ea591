"""The search finds a known best setting, looks at development tasks alone, and has one budget for all designs."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import UserError
from common.files import write_json
from study.study import Study, read_study
from study.tuning.apart import check_apart
from study.tuning.choice import choose, mean_ranks
from study.tuning.table import budget_line, rows_of, save_tuning, tuning_markdown
from tests.study.tiny_study import Main, change, record_of, run_main, write_lines, write_study
from tests.tiny import WORDS, triplets

TUNE = {
    "settings": {"low": {"learning_rate": 0.001}, "high": {"learning_rate": 0.1}},
    "eval_dir": "development",
    "training": {"max_steps": 2},
}
OF_SETTINGS = ("common", "high", "low")  # as the file has them, whose keys are sorted


def write_development(folder: Path, name: str = "Held", first: int = 40) -> None:
    """A retrieval task of texts that neither training nor test has."""
    rows = triplets(first + 10)[first:]
    task = folder / "development" / name
    write_lines(task / "corpus.jsonl", [{"id": f"d{i}", "title": "", "text": row["positive"]} for i, row in enumerate(rows)])
    write_lines(task / "queries.jsonl", [{"id": f"q{i}", "text": row["query"]} for i, row in enumerate(rows)])
    write_lines(task / "qrels.test.jsonl", [{"query-id": f"q{i}", "corpus-id": f"d{i}", "score": 1} for i in range(len(rows))])


@pytest.fixture
def tuned(base: Path, tmp_path: Path) -> Path:
    """A study with a search, of which nothing has run."""
    write_development(tmp_path)
    return write_study(tmp_path, base, tune=TUNE, headline=None, baselines=[], seeds=[1, 2])


def simulate(study: Study, score: Callable[[str, str], float]) -> None:
    """Write the scores of all cells as if they had run: ``score`` takes a design and a setting."""
    for cell in study.cells:
        entry = {"score": score(cell.design, cell.recipe), "metric": "ndcg_at_10", "type": "Retrieval", "items": None}
        content = {"cell": cell.name, "system": cell.system, "evaluation": cell.evaluation_key, "results": "evaluation",
                   "scores": dict.fromkeys(study.inputs.tasks, entry), "failures": {}, "untrained": {},
                   "training_seconds": 2.0}  # fmt: skip
        cell.folder.mkdir(parents=True)
        write_json(content, cell.scores_file)


def search_of(study_file: Path) -> Study:
    tuning = read_study(study_file).tuning
    assert tuning is not None
    return tuning


def test_the_best_setting_is_found_among_noise() -> None:
    """A tuner of known answer: 'high' is one noise better on each of six tasks."""
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        scores = {}
        for setting, gain in (("common", 0.0), ("low", -0.01), ("high", 0.02)):
            scores[setting] = {f"task{task}": 0.5 + gain + 0.01 * float(generator.standard_normal()) for task in range(6)}
        hits += choose(scores) == "high"
    assert hits >= 185


def test_a_diverged_setting_is_last_and_equal_ones_keep_the_common_one() -> None:
    scores: dict[str, dict[str, float]] = {"common": {"a": 0.3}, "wild": {}, "low": {"a": 0.3}}
    assert mean_ranks(scores) == {"common": 1.5, "wild": 3.0, "low": 1.5}
    assert choose(scores) == "common"


def test_each_design_gets_its_own_best_and_the_same_budget(tuned: Path) -> None:
    tuning = search_of(tuned)
    assert [cell.name for cell in tuning.cells] == [f"{d}-{s}-seed0" for s in OF_SETTINGS for d in ("model1", "model3")]
    assert "the same 3 settings (common, high, low), 2 steps each, seed 0" in budget_line(tuning)
    before = read_study(tuned)
    assert [cell.system for cell in before.cells] == ["model1", "model3"] * 2  # nothing is tuned yet
    best = {"model1": "high", "model3": "low"}
    simulate(tuning, lambda design, setting: 0.6 if setting == best[design] else 0.4)
    after = read_study(tuned)
    assert after.cells[:4] == before.cells  # numbers and folders stay
    assert [cell.system for cell in after.cells[4:]] == ["model1, tuned", "model3, tuned"] * 2
    rates = {cell.system: after.config.flags(cell.recipe)["learning_rate"] for cell in after.cells}
    assert rates == {"model1": 0.01, "model3": 0.01, "model1, tuned": 0.1, "model3, tuned": 0.001}
    assert all(after.config.flags(cell.recipe)["max_steps"] == 4 for cell in after.cells)  # the search's steps are its own


def test_tuning_on_test_data_gains_nothing(tuned: Path) -> None:
    """With 'high' model3 is far better on the test tasks and no better on the development tasks: it stays at the common one."""
    simulate(search_of(tuned), lambda design, setting: 0.5 if setting == "common" else 0.49)
    study = read_study(tuned)
    simulate(study, lambda design, setting: 0.9 if setting == "high" else 0.3)
    assert [cell.system for cell in study.cells] == ["model1", "model3"] * 2
    assert study.tuning is not None
    for row in rows_of(study, study.tuning):
        assert (row.chosen, row.common, row.best) == ("common", pytest.approx(0.3), pytest.approx(0.3))
    with pytest.raises(UserError, match="is a test task of the study"):
        read_study(
            write_study(tuned.parent / "other", Path(study.config.base_models[0]), tune={**TUNE, "tasks": ["WordRetrieval"]})
        )


def test_a_development_task_with_test_data_is_refused(tuned: Path) -> None:
    study = read_study(tuned)
    assert study.tuning is not None
    assert check_apart(study, study.tuning) == []
    write_development(tuned.parent, "Overlapping", first=28)
    study = read_study(tuned)
    assert study.tuning is not None
    with pytest.raises(UserError, match=r"development task Overlapping stand in test tasks, such as .* in WordRetrieval"):
        check_apart(study, study.tuning)
    copy = tuned.parent / "development" / "Copy"
    copy.symlink_to(tuned.parent / "eval" / "WordRetrieval", target_is_directory=True)
    with pytest.raises(UserError, match="Copy is the study's test task WordRetrieval"):
        read_study(tuned)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": {}}, "give at least one"),
        ({"settings": {"common": {"learning_rate": 1.0}}}, "no name for a setting"),
        ({"settings": {"a": {"pooling_learning_rate": 0.1}, "b": {"pooling_latents": 2}}}, "are the same for model1"),
        ({"settings": {"a": {"seed": 3}}}, "seed is set by the study"),
        ({"rates": [1]}, "unknown key 'rates'"),
    ],
)
def test_mistakes_are_refused(change: dict[str, Any], message: str, base: Path, tmp_path: Path) -> None:
    write_development(tmp_path)
    with pytest.raises(UserError, match=message):
        read_study(write_study(tmp_path, base, tune={**TUNE, **change}))
    with pytest.raises(UserError, match="leave recipes out"):
        read_study(write_study(tmp_path, base, tune=TUNE, recipes={"slow": {"learning_rate": 0.1}}))


def test_the_table_has_both_settings_the_curve_and_the_cost(tuned: Path) -> None:
    simulate(search_of(tuned), lambda design, setting: {"common": 0.4, "low": 0.3, "high": 0.45}[setting])
    study = read_study(tuned)
    simulate(study, lambda design, setting: 0.7 if setting == "high" else 0.6)
    assert study.tuning is not None
    text = tuning_markdown(study, study.tuning)
    assert "| model3 | 0.4000 | 0.4500 | 0.3000 | high | 0.6000 | 0.7000 |" in text
    assert "The search took 12 s" in text and "6 of 6 runs" in text
    files = save_tuning(study, study.tuning)
    assert all(path.is_file() for path in files)
    content = json.loads(files[-1].read_text())
    assert content["seconds"] == 12.0 and content["development_tasks"] == ["Held"]
    assert content["designs"][0]["development"] == {"common": 0.4, "low": 0.3, "high": 0.45}


def test_the_search_is_asked_for_by_its_flag(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run_main(capsys, tuned, "--tuning")
    assert status == 2 and "--tuning goes with --cell or --plan" in err


@pytest.mark.slow
def test_a_whole_study_with_a_search(tuned: Path, main: Main) -> None:
    """Searched, trained at both settings, probed, compared; the second start trains nothing and probes nothing."""
    corpus = tuned.parent / "corpus.txt"
    corpus.write_text("\n".join(" ".join(random.Random(number).sample(WORDS, 8)) + "." for number in range(60)))
    change(tuned, probes={"corpus": str(corpus), "texts": 20, "probes": ["word_order", "layers"]})
    status, out, err = main(tuned)
    assert status == 0, err
    assert "tuning: every design tries the same 3 settings" in out and "## Tuning" in out
    content = json.loads((tuned.parent / "out" / "report" / "tuning.json").read_text())
    study = read_study(tuned)
    chosen = {row["design"]: row["chosen"] for row in content["designs"]}
    assert set(chosen) == {"model1", "model3"} and all(cell.done for cell in study.cells)
    systems = {cell.system for cell in study.cells}
    for design, setting in chosen.items():
        assert (f"{design}, tuned" in systems) == (setting != "common")
    titles = [finding.title for finding in record_of(tuned).findings]
    assert titles == ["Tuning", "Probe: word order", "Probe: layers"]
    page = (tuned.parent / "out" / "report" / "report.html").read_text()
    assert "Probe: layers" in page and "a ring marks the setting" in page
    probes = (tuned.parent / "out" / "probes" / "probes.json").stat().st_mtime_ns
    results = {path: path.stat().st_mtime_ns for path in (tuned.parent / "out").rglob("train_result.json")}
    assert main(tuned)[0] == 0
    assert probes == (tuned.parent / "out" / "probes" / "probes.json").stat().st_mtime_ns
    assert results == {path: path.stat().st_mtime_ns for path in (tuned.parent / "out").rglob("train_result.json")}
