"""Files of other tools: TREC runs with judgements, and mteb's predictions, become results with scores item by item."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval
from scipy import stats

from common.yaml_files import read_yaml
from comparison.__main__ import main as compare_main
from comparison.import_runs import main
from comparison.importing.measures import score_query
from comparison.importing.trec import OWN_IDS
from comparison.reading.families import OF_MTEB, parse_families
from comparison.reading.item_scores import read_items

TREC = {"ndcg_at_10": "ndcg_cut_10", "map_at_5": "map_cut_5", "recall_at_10": "recall_10", "precision_at_5": "P_5"}


def random_run(seed: int, better: float = 0.0) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, int]]]:
    """A run of 30 queries with ties, and grades from 0 to 3."""
    run, judgements = {}, {}
    generator, grades_of = np.random.default_rng(seed), np.random.default_rng(0)
    for query in range(30):
        documents = [f"d{number}" for number in range(40)]
        grades = grades_of.integers(0, 4, 40) * (grades_of.random(40) < 0.3)
        scores = generator.normal(size=40).round(1) + better * (grades > 0)
        judgements[f"q{query}"] = dict(zip(documents, map(int, grades), strict=True))
        run[f"q{query}"] = dict(zip(documents, map(float, scores), strict=True))
    return run, judgements


def write_run(path: Path, run: dict[str, dict[str, float]]) -> Path:
    lines = []
    for query, documents in run.items():
        for rank, (document, score) in enumerate(documents.items()):
            lines.append(f"{query} Q0 {document} {rank} {score} tag\n")
    path.write_text("".join(lines))
    return path


def write_qrels(path: Path, judgements: dict[str, dict[str, int]]) -> Path:
    lines = []
    for query, grades in judgements.items():
        lines += [f"{query} 0 {document} {grade}\n" for document, grade in grades.items()]
    path.write_text("".join(lines))
    return path


def test_measures_are_trec_evals() -> None:
    run, judgements = random_run(1)
    expected = pytrec_eval.RelevanceEvaluator(judgements, {"ndcg_cut", "map_cut", "recall", "P"}).evaluate(run)
    for query, documents in run.items():
        for name, of_trec in TREC.items():
            assert score_query(name, documents, judgements[query]) == pytest.approx(expected[query][of_trec], abs=1e-9), name
    assert score_query("mrr_at_10", {"a": 1.0, "b": 0.5}, {"b": 1}) == 0.5
    assert score_query("mrr_at_10", {"a": 1.0}, {"b": 1}) == score_query("map_at_5", {"a": 1.0}, {"b": 1}) == 0.0


def test_a_query_does_not_find_itself_where_mteb_leaves_it_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """mteb saves its predictions before it takes out the documents that have their query's id."""
    found = {"default": {"test": {"q1": {"q1": 0.9, "d1": 0.8, "d2": 0.1}}}}
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps(found))
    qrels = write_qrels(tmp_path / "qrels.txt", {"q1": {"d1": 1}})
    for task, score in (("ArguAna", "1.0000"), ("NFCorpus", "0.6309")):
        assert main([f"x={path}", "--task", task, "--qrels", str(qrels), "--output_dir", str(tmp_path / task)]) == 0
        printed = capsys.readouterr().out
        assert f"ndcg_at_10 {score} over" in printed
        said = "left out, as mteb does for this task: 1 hits with their query's own id" in printed
        assert said == (task == "ArguAna")


def test_the_tasks_that_leave_own_ids_out_are_mtebs() -> None:
    names = read_yaml(OWN_IDS, "")
    every = parse_families(read_yaml(OF_MTEB, "")).category
    assert names == sorted(set(names)) and set(names) <= set(every)
    assert {"ArguAna", "FiQA2018", "QuoraRetrieval", "FEVERHardNegatives"} <= set(names) and "NFCorpus" not in names


def test_runs_become_a_claim_on_these_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = []
    for name, seed, better in (("plain", 1, 0.0), ("o/tuned", 2, 1.5)):
        run, judgements = random_run(seed, better)
        words.append(f"{name}={write_run(tmp_path / f'{seed}.txt', run)}")
    qrels = write_qrels(tmp_path / "qrels.txt", judgements)
    results = tmp_path / "results"
    assert main([*words, "--task", "NFCorpus", "--qrels", str(qrels), "--output_dir", str(results)]) == 0
    assert "plain: ndcg_at_10" in capsys.readouterr().out
    assert compare_main([str(results), "--baseline", "plain", "--output_dir", str(tmp_path / "out")]) == 0
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    (contrast,) = content["categories"][0]["contrasts"]
    assert content["categories"][0]["name"] == "Retrieval" and contrast["mark"] == "o"
    assert contrast["these_tasks"]["tasks"]["NFCorpus"]["units"] == len(judgements)
    assert contrast["these_tasks"]["mean"] == pytest.approx(contrast["differences"]["NFCorpus"], abs=1e-6)


def test_a_query_that_the_run_lacks_counts_as_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, judgements = random_run(1)
    whole = np.mean([score_query("ndcg_at_10", run[query], judgements[query]) for query in judgements])
    del run["q0"]
    lost = score_query("ndcg_at_10", random_run(1)[0]["q0"], judgements["q0"])
    file, qrels = write_run(tmp_path / "a.txt", run), write_qrels(tmp_path / "qrels.txt", judgements)
    assert main([str(file), "--task", "NFCorpus", "--qrels", str(qrels), "--output_dir", str(tmp_path / "out")]) == 0
    assert "1 queries that the run lacks count as 0" in capsys.readouterr().out
    score = json.loads((tmp_path / "out/a/imported/NFCorpus.json").read_text())["scores"]["test"][0]["main_score"]
    assert score == pytest.approx(whole - lost / len(judgements))


def test_mtebs_predictions_of_queries_and_of_pairs(tmp_path: Path) -> None:
    run, judgements = random_run(1)
    qrels = tmp_path / "qrels.tsv"
    rows = [f"{query}\t{document}\t{grade}\n" for query, grades in judgements.items() for document, grade in grades.items()]
    qrels.write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    file = tmp_path / "NFCorpus_predictions.json"
    file.write_text(json.dumps({"mteb_model_meta": {"model_name": "o/m", "revision": "r"}, "default": {"test": run}}))
    assert main([f"o/m={file}", "--task", "NFCorpus", "--qrels", str(qrels), "--output_dir", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/o__m/imported/items/NFCorpus.jsonl.gz").is_file()
    similarities, wanted = np.random.default_rng(3).normal(size=(2, 50))
    gold = tmp_path / "gold.txt"
    gold.write_text("".join(f"{value}\n" for value in wanted))
    file = tmp_path / "STS12_predictions.json"
    file.write_text(json.dumps({"default": {"test": {"cosine_scores": similarities.tolist()}}}))
    assert main([f"o/m={file}", "--task", "STS12", "--gold", str(gold), "--output_dir", str(tmp_path / "out")]) == 0
    expected = stats.spearmanr(similarities, wanted).statistic
    items = read_items(tmp_path / "out/o__m/imported/items/STS12.jsonl.gz", {("test", "default")}, expected)
    assert items is not None and items.kind == "correlation" and len(items.ids) == 50
    result = json.loads((tmp_path / "out/o__m/imported/STS12.json").read_text())
    assert result["scores"]["test"][0]["cosine_spearman"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("run", "qrels", "flags", "said"),
    [
        ("q Q0 d 1 0.5 t\n", "q 0 d 1\n", ["--metric", "ndcg"], "with a cut"),
        ("q Q0 d 1 t\n", "q 0 d 1\n", [], "line 1: expected query, Q0, document"),
        ("q Q0 d 1 high t\n", "q 0 d 1\n", [], "'high' is not a number"),
        ("q Q0 d 1 1 t\nq Q0 d 2 1 t\n", "q 0 d 1\n", [], "line 2: the document 'd' stands twice"),
        ("q Q0 d 1 0.5 t\n", "q 0 d 0\n", [], "no query has a relevant document"),
        ("q Q0 d 1 0.5 t\n", "q 0 d one\n", [], "'one' is no whole number"),
        ("q Q0 d 1 0.5 t\n", "other 0 d 1\n", [], "none of the 1 queries with judgements"),
        ("q Q0 d 1 0.5 t\n", "q 0 d 1\n", ["--task", "../up"], "no name of a task"),
        ("q Q0 d 1 0.5 t\n", "q 0 d 1\n", ["--qrels", "nowhere.txt"], "there is no file nowhere.txt"),
        ("q Q0 d 1 0.5 t\n", "q 0 d 1\n", ["--task", ""], "no name of a task"),
    ],
)
def test_mistakes_are_told(
    run: str, qrels: str, flags: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.txt").write_text(run)
    (tmp_path / "qrels.txt").write_text(qrels)
    words = [str(tmp_path / "run.txt"), "--task", "NFCorpus", "--qrels", str(tmp_path / "qrels.txt"), *flags]
    assert main([*words, "--output_dir", str(tmp_path / "out")]) == 1
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_file_without_a_name_is_no_system(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.txt").write_text("q Q0 d 1 0.5 t\n")
    (tmp_path / "qrels.txt").write_text("q 0 d 1\n")
    words = ["--task", "NFCorpus", "--qrels", str(tmp_path / "qrels.txt"), "--output_dir"]
    assert main([f"={tmp_path / 'run.txt'}", *words, str(tmp_path / "out")]) == 1
    assert "'' is no name of a system" in capsys.readouterr().err
    assert main([f"a={tmp_path / 'run.txt'}", *words, str(tmp_path / "run.txt" / "out")]) == 1
    assert "cannot be written" in capsys.readouterr().err
