"""The search finds a known best setting, looks at development tasks alone, and has one budget for all designs."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from common.errors import UserError
from common.files import write_json
from study.command import check_flags, print_search
from study.study import Study, development_dir, read_study
from study.tuning.apart import check_apart, check_choice, ensure_apart
from study.tuning.choice import choose, mean_ranks
from study.tuning.settings import TuneConfig
from study.tuning.table import budget_line, rows_of, save_tuning, tuning_finding, tuning_markdown
from tests.study.tiny_study import Main, change, record_of, run_main, write_lines, write_study
from tests.tiny import WORDS, triplets
from trainers.scoring.arguments import ScoringArguments

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
    assert "the same 3 settings (low, common, high), 2 steps each, seed 0" in budget_line(tuning)
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


def test_every_split_of_a_development_task_is_compared_with_the_split_that_is_scored(tuned: Path) -> None:
    """A classifier of a development task that learns from test texts chooses by them as well."""
    rows = triplets(32)[24:]  # texts of WordRetrieval
    task = tuned.parent / "development" / "Labelled"
    write_lines(task / "train.jsonl", [{"text": row["positive"], "label": "a"} for row in rows])
    write_lines(task / "test.jsonl", [{"text": "words of no other task at all", "label": "a"}])
    study = read_study(tuned)
    with pytest.raises(UserError, match="development task Labelled stand in test tasks"):
        ensure_apart(study)


def test_a_single_cell_of_the_search_needs_tasks_apart_too(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_development(tuned.parent, "Overlapping", first=28)
    for words in (["--tuning", "--cell", "0"], ["--cell", "0"], ["--compare"]):
        status, _, err = run_main(capsys, tuned, *words)
        assert status == 1 and "development task Overlapping stand in test tasks" in err


def test_the_same_data_are_compared_once(tuned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("study.tuning.apart.check_apart", lambda study, tuning: calls.append(1) or ["said"])
    assert ensure_apart(read_study(tuned)) == ["said"] and ensure_apart(read_study(tuned)) == []
    write_development(tuned.parent, "Another", first=44)
    assert ensure_apart(read_study(tuned)) == ["said"] and len(calls) == 2


@pytest.mark.parametrize("choice", [{"load_best_model_at_end": True}, {"early_stopping_patience": 2}])
def test_no_checkpoint_is_chosen_by_a_test_task(tuned: Path, choice: dict[str, Any]) -> None:
    study = read_study(tuned)
    copy = tuned.parent / "another_name"
    copy.symlink_to(tuned.parent / "eval" / "WordRetrieval", target_is_directory=True)
    for folder in (tuned.parent / "eval" / "WordRetrieval", copy):
        with pytest.raises(UserError, match="is the study's test task WordRetrieval"):
            check_choice(study, ScoringArguments(eval_tasks=[str(folder)], **choice))
        check_choice(study, ScoringArguments(eval_tasks=[str(folder)]))  # a curve chooses nothing
    check_choice(study, ScoringArguments(eval_tasks=[str(tuned.parent / "development" / "Held")], **choice))
    test = str(tuned.parent / "eval" / "WordRetrieval")
    for metric in ("loss", "accuracy", "Held"):  # the test task's scores are a curve then
        check_choice(study, ScoringArguments(eval_tasks=[test], metric_for_best_model=metric, **choice))
    for metric in ("mean", "WordRetrieval"):
        with pytest.raises(UserError, match="would choose by its scores"):
            check_choice(study, ScoringArguments(eval_tasks=[test], metric_for_best_model=metric, **choice))


def test_no_cell_of_a_study_its_search_or_a_stage_chooses_by_a_test_task(
    tuned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_scores = {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 1, "save_steps": 1}
    test = {**by_scores, "eval_tasks": [str(tuned.parent / "eval" / "WordRetrieval")]}
    held = {**by_scores, "eval_tasks": [str(tuned.parent / "development" / "Held")]}
    training = yaml.safe_load(tuned.read_text())["training"]

    def refused(*words: str) -> bool:
        status, _, err = run_main(capsys, tuned, *words)
        return status == 1 and "is the study's test task WordRetrieval" in err

    change(tuned, training={**training, **test})
    assert refused("--cell", "0") and refused("--tuning", "--cell", "0") and refused()
    change(tuned, training=training, tune={**TUNE, "training": {"max_steps": 2, **test}})
    assert refused("--tuning", "--cell", "0") and refused()
    change(tuned, training={**training, **held}, tune=TUNE)
    whole = read_study(tuned)
    for study in (whole, search_of(tuned)):
        check_flags(study, whole)
    stages = tuned.parent / "stages.yaml"
    stages.write_text(yaml.safe_dump([{"name": "first", **test}, {"name": "second", "start": "merged"}]))
    change(tuned, training={**training, "stages": str(stages)}, tune=None)
    assert refused("--cell", "0")


def test_a_setting_goes_before_the_flags_of_the_search(tuned: Path) -> None:
    settings = {**TUNE["settings"], "warm": {"learning_rate": 0.05, "warmup_steps": 2, "max_steps": 3}}
    change(tuned, tune={**TUNE, "settings": settings, "training": {"max_steps": 2, "warmup_steps": 1}})
    flags = {name: search_of(tuned).config.flags(name) for name in ("low", "warm")}
    assert (flags["low"]["warmup_steps"], flags["low"]["max_steps"]) == (1, 2)
    assert (flags["warm"]["warmup_steps"], flags["warm"]["max_steps"]) == (2, 3)


def test_a_file_of_prompts_may_name_tasks_of_both(tuned: Path) -> None:
    """The search's cells and the study's read one file."""
    study = read_study(tuned)
    assert study.tuning is not None
    assert (study.inputs.prompted, study.tuning.inputs.prompted) == (("Held",), ("WordRetrieval",))


def test_the_embedded_corpus_has_a_development_task(tuned: Path) -> None:
    study = read_study(tuned)
    embedded = replace(study.config, corpus="docstrings", train_file=None, eval_dir=None, tasks=[])
    tune = TuneConfig(settings=TUNE["settings"])
    assert development_dir(embedded, tune) == str(study.output_dir.resolve() / "corpus" / "dev")
    assert development_dir(embedded, replace(tune, tasks=["STS12"])) is None
    change(tuned, tune={**TUNE, "eval_dir": "nowhere"})
    with pytest.raises(UserError, match="tune: eval_dir: there is no folder nowhere"):
        read_study(tuned)


def test_two_cells_of_one_name_are_refused(tuned: Path) -> None:
    """The name of a system may be that of a design at a setting."""
    change(tuned, systems={"model3-low": {"design": "model3", "lora_r": 2}})
    simulate(search_of(tuned), lambda design, setting: 0.6 if setting == "low" else 0.4)
    with pytest.raises(UserError, match="two cells are called model3-low-seed1"):
        read_study(tuned)


def test_choices_at_an_end_unequal_searches_and_missing_runs_are_said(tuned: Path) -> None:
    change(tuned, systems={"matched": {"design": "model1", "lora_r": 2}})
    simulate(search_of(tuned), lambda design, setting: {"low": 0.6, "common": 0.5, "high": 0.4}[setting])
    study = read_study(tuned)
    assert study.tuning is not None
    simulate(replace(study, cells=[cell for cell in study.cells if cell.seed == 1]), lambda design, setting: 0.7)
    text = tuning_markdown(study, study.tuning)
    assert "model1, model3: learning_rate 0.001 was the smallest that was tried" in text
    assert "Nothing was searched for matched" in text
    assert "| 0.7000 (1 of 2 runs) | 0.7000 (1 of 2 runs) |" in text


@pytest.mark.parametrize("key", ["training", "settings"])
def test_a_plan_finds_a_wrong_flag_of_the_search(tuned: Path, key: str, main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    tune = dict(yaml.safe_load(tuned.read_text())["tune"])
    if key == "training":
        tune["training"] = {**tune.get("training", {}), "max_stepps": 2}
    else:
        tune["settings"] = {**tune["settings"], "steep": {"max_stepps": 2}}
    change(tuned, tune=tune)
    with pytest.raises(SystemExit, match="2"):
        main(tuned, "--plan")
    told = capsys.readouterr()
    assert "unknown flag --max_stepps (did you mean --max_steps?)" in told.err and not told.out


def test_a_plan_says_what_comes_before_and_behind(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_search(read_study(tuned))
    told = " ".join(capsys.readouterr().out.split())
    assert "before these: a search of 6 runs, 0 of them done (--tuning --plan); behind them: up to 4 more cells" in told
    simulate(search_of(tuned), lambda design, setting: 0.5)
    print_search(read_study(tuned))
    assert "6 of them done" in (told := capsys.readouterr().out) and "behind" not in told


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
    assert "| model3 | 0.3000 | 0.4000 | 0.4500 | high | 0.6000 | 0.7000 |" in text  # by learning rate
    assert "The search took 12 s" in text and "6 of 6 runs" in text
    [panel] = tuning_finding(study, study.tuning).panels
    assert panel.ticks == ["low", "common", "high"]
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
