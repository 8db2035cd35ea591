"""What is read of result folders and studies, which scores are compared, and what is said of the rest."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from comparison.errors import ComparisonError
from comparison.reading.families import parse_families, read_families
from comparison.reading.results_folder import read
from comparison.reading.selection import select
from comparison.reading.table import Table
from tests.comparison.conftest import Write, write_result

TWO = {"org/a": {"ArguAna": 0.5, "NQ": 0.4}, "org/b": {"ArguAna": 0.6, "NQ": 0.3}}


def table_of(*folders: Path, tasks: list[str] | None = None) -> Table:
    return select(read(list(folders)), read_families(), tasks)


def said(table: Table, *parts: str) -> bool:
    return any(all(part in note for part in parts) for note in table.notes)


def test_mtebs_layout_at_any_depth(write: Write) -> None:
    root = write(TWO, root="clone/results")
    for folder in (root, root.parent):
        table = table_of(folder)
        assert table.systems == ("a", "b")
        assert table.categories == {"Retrieval": ["ArguAna", "NQ"]}
        assert table.scores["b", "NQ"] == [0.3]
    assert table_of(root / "org__a", root / "org__b" / "rev").systems == ("a", "b")


def test_the_name_is_the_models_own(write: Write) -> None:
    root = write(TWO)
    (root / "org__a" / "rev" / "model_meta.json").write_text(json.dumps({"name": "intfloat/e5"}), encoding="utf-8")
    assert table_of(root).systems == ("e5", "b")


def test_names_stay_apart(write: Write) -> None:
    one, other = write({"x/same": {"NQ": 0.1}, "y/same": {"NQ": 0.2}}), write({"x/same": {"NQ": 0.3}}, root="more")
    assert read([one]).systems[0].name == "x/same"
    assert {system.name for system in read([one, other]).systems} == {"x/same (results)", "x/same (more)", "y/same"}


def test_external_scores_fill_what_the_own_revision_lacks(write: Write) -> None:
    root = write(TWO)
    write({"org/a": {"ArguAna": 0.1, "SciFact": 0.7}}, revision="external")
    table = table_of(root)
    assert (table.scores["a", "ArguAna"], table.scores["a", "SciFact"]) == ([0.5], [0.7])
    assert said(table, "org/a: 1 tasks stand under its revision and as reported")
    assert said(table, "not audited: 1 of 5")


def test_revisions_are_systems_of_their_own(write: Write) -> None:
    write(TWO, revision="0123456789")
    root = write({"org/a": {"NQ": 0.1}}, revision="abcdef0123")
    table = table_of(root)
    assert table.systems == ("a@01234567", "a@abcdef01", "b")
    assert said(table, "org/a has 2 revisions")


def test_seeds_in_names_are_runs_of_one_system(write: Write) -> None:
    table = table_of(write({"o/a-seed1": {"NQ": 0.1}, "o/a-seed2": {"NQ": 0.3}, "o/a_seed7": {"NQ": 0.5}, "o/b": {"NQ": 0.2}}))
    assert table.runs == {"a": 3, "b": 1} and list(table.scores["a", "NQ"]) == [0.1, 0.3, 0.5]


def test_a_study_with_seeds_failures_and_older_settings(write_study: Write) -> None:
    scores = {"tfidf": 0.2, "model1-seed1": 0.5, "model1-seed2": 0.6, "model2-seed1": 0.4}
    study = write_study({cell: {"NQ": score} for cell, score in scores.items()}, failed={"model2-seed2": "out of memory\nat …"})
    older = study / "cells" / "tfidf-ffffffff"  # not among the study's cells, whatever its time
    shutil.copytree(next(study.glob("cells/tfidf-*")), older)
    (older / "scores.json").write_text(json.dumps({"scores": {"NQ": {"score": 0.9, "type": "Retrieval"}}}))
    os.utime(older, (2e9, 2e9))
    (study / "cells" / "model3-seed1-00000000").mkdir()
    table = table_of(study)
    assert table.runs == {"model1": 2, "model2": 2, "tfidf": 1}
    assert list(table.scores["model1", "NQ"]) == [0.5, 0.6] and table.scores["tfidf", "NQ"] == [0.2]
    assert table.failed["model2", "NQ"] == 1 and said(table, "model2 on NQ (1)")


def test_an_unfinished_study_takes_the_newest_cells(write_study: Write) -> None:
    study = write_study({"model1-seed1": {"NQ": 0.5}, "model2-seed1": {"NQ": 0.4}})
    (study / "comparison.json").unlink()
    newer = study / "cells" / "model1-seed1-ffffffff"
    shutil.copytree(next(study.glob("cells/model1*")), newer)
    content = json.loads((newer / "scores.json").read_text())
    content["scores"]["NQ"] |= {"score": 0.9, "items": None}
    (newer / "scores.json").write_text(json.dumps(content))
    os.utime(newer, (2e9, 2e9))
    (study / "cells" / "model3-seed1-00000009").mkdir()
    table = table_of(study)
    assert table.scores["model1", "NQ"] == [0.9]
    assert said(table, "model1-seed1 was run with 2 settings", "ffffffff") and said(table, "model3-seed1 is not finished")


def test_studies_and_result_folders_together(write: Write, write_study: Write) -> None:
    table = table_of(write_study({"model1-seed1": {"NQ": 0.5}}), write(TWO))
    assert table.systems == ("model1", "a", "b") and table.scores["model1", "NQ"] == [0.5]


def test_one_split_and_subset_for_everybody(write: Write, tmp_path: Path) -> None:
    def entry(score: float, subset: str = "default") -> dict[str, object]:
        return {"hf_subset": subset, "main_score": score, "ndcg_at_10": score}

    root = write({"o/a": {"MSMARCO": {"dev": [entry(0.4)], "train": [entry(0.9)]}, "STS17": {"test": [entry(0.8, "en-en")]}}})
    write({"o/b": {"MSMARCO": {"test": [entry(0.6)]}, "STS17": {"test": [entry(0.1, "ko-ko"), entry(0.7, "en-en")]}}})
    write({"o/c": {"MSMARCO": {"dev": [entry(0.3)]}, "Odd": {"validation": [entry(0.2, "x"), entry(0.4, "y")]}}})
    write({"o/d": {"Odd": {"validation": [entry(0.6, "x"), entry(0.9, "z")]}}})
    table = table_of(root)
    assert table.cells == {"MSMARCO": {("dev", "default")}, "STS17": {("test", "en-en")}, "Odd": {("validation", "x")}}
    assert table.scores["a", "MSMARCO"] == [0.4] and ("b", "MSMARCO") not in table.scores
    assert table.scores["b", "STS17"] == [0.7]
    both = {"Amazon": {"test": [entry(0.3, "de"), entry(0.9, "en")]}}
    english = table_of(write({"o/a": both, "o/b": both | {"Other": 0.1}}, root="english"))
    assert english.scores["a", "Amazon"] == [0.9], "English alone, though all have German too"
    assert said(table, "b on MSMARCO (has test; compared is dev, default)")
    assert said(table, "several subsets", "STS17 (en-en)") and said(table, "not compared: train")


def test_the_version_that_more_systems_have(write: Write) -> None:
    versions = {"RedditClustering": 0.5, "RedditClustering.v2": 0.6}
    table = table_of(write({"o/a": versions, "o/b": versions, "o/c": {"RedditClustering": 0.4}}))
    assert table.categories == {"Clustering": ["RedditClustering"]}
    assert said(table, "RedditClustering (3); left out: RedditClustering.v2 (2)")
    assert table_of(write({"o/c": versions})).categories == {"Clustering": ["RedditClustering.v2"]}, (
        "of two as frequent, the newer"
    )


def test_one_kind_of_version_in_a_category(write: Write) -> None:
    first = ["BiorxivClusteringP2P", "RedditClustering", "TwentyNewsgroupsClustering"]
    both = [*first, "ArxivClusteringP2P", *(f"{task}.v2" for task in first[:2])]
    scores = dict.fromkeys([*both, "NQ"], 0.5)
    root = write({"o/a": scores, "o/b": scores | {"NQ": 0.6}})
    table = table_of(root)
    assert table.categories["Clustering"] == sorted([*first, "ArxivClusteringP2P"]), "though the newer ones are as frequent"
    assert said(table, "Clustering: of tasks", "left out: BiorxivClusteringP2P.v2 (2), RedditClustering.v2 (2)")
    newer = {f"{task}.v2": 0.4 for task in first}
    table = table_of(write({"o/c": newer, "o/d": newer}))
    assert set(table.categories["Clustering"]) == {*newer, "ArxivClusteringP2P"}, "what the most pairs of systems have"
    assert said(table, "TwentyNewsgroupsClustering.v2 (2); left out", "in the only version there is: ArxivClusteringP2P")


def test_scores_of_two_revisions_in_one_category_are_told(write: Write) -> None:
    root = write({"o/a": {"ArguAna": 0.5}, "o/b": {"ArguAna": 0.6, "NQ": 0.5, "STS12": 0.2}})
    write({"o/a": {"NQ": 0.1, "STS12": 0.3}}, revision="external")
    assert said(table_of(root), "a difference may be one of revisions: a in Retrieval (1 of 2 external)")
    assert not said(table_of(root), "in STS (")


def test_differences_in_origin_are_told(write: Write) -> None:
    write({"o/a": {"NQ": 0.5, "FEVER": 0.5}})
    write({"o/b": {"NQ": 0.4}}, dataset_revision="r2", mteb_version="1.0")
    table = table_of(write({"o/b": {"FEVER": 0.4}}, dataset_revision="None", mteb_version=None))
    assert said(table, "different revisions of the data", "NQ (2)")
    assert said(table, "do not state", "1 of 4") and said(table, "versions of mteb: 1.0, 2.26.24, not stated")
    assert not table.same_revision("a", "b", "NQ") and table.same_revision("a", "b", "FEVER")


def test_a_score_that_is_no_number_is_a_failure(write: Write) -> None:
    root = write(TWO)
    write({"org/a": {"SciFact": float("nan"), "DBPedia": 0.2}, "org/b": {"SciFact": 0.3, "DBPedia": None}})
    table = table_of(root)
    assert ("a", "SciFact") not in table.scores and table.failed["a", "SciFact"] == 1 and table.failed["b", "DBPedia"] == 1
    assert said(table, "a on SciFact (the score is not a number")


def test_a_score_in_per_cent_is_left_out(write: Write) -> None:
    root = write(TWO)
    write({"org/a": {"SciFact": 71.5}, "org/b": {"SciFact": 0.7}})
    table = table_of(root)
    assert ("a", "SciFact") not in table.scores and not table.failed["a", "SciFact"]
    assert said(table, "a on SciFact (the score is 71.5, no fraction; if it is in per cent, divide by 100")
    root = write({"o/a": {"NQ": 71.5}, "o/b": {"NQ": 70.1}}, root="all")
    with pytest.raises(ComparisonError, match=r"no task is left to compare; scores left out: a on NQ \(the score is 71\.5"):
        table_of(root)


def test_a_folder_that_cannot_be_read_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    root, listed = write(TWO | {"org/c": {"NQ": 0.2}}), os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("org__c"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    table = table_of(root)
    assert table.systems == ("a", "b") and said(table, "org__c: left out, the folder cannot be read: Permission denied")
    monkeypatch.setattr(os, "scandir", listed)
    is_dir = Path.is_dir

    def inside(path: Path) -> bool:
        if path.parent.name == "org__c" and path.name in ("failures", "cells"):
            raise PermissionError(13, "Permission denied", str(path))
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", inside)
    assert said(table_of(root), "org__c: left out, the folder cannot be read: Permission denied"), "its names can be listed"
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ComparisonError, match=r"holds no results.*org__c: left out, the folder cannot be read"):
        read([root / "org__c"])


def test_links_are_followed_once(write: Write, tmp_path: Path) -> None:
    root = write(TWO)
    links = tmp_path / "links"
    links.mkdir()
    for name in ("org__a", "org__b"):
        (links / name).symlink_to(root / name)
    (links / "loop").symlink_to(links)
    assert table_of(links).systems == ("a", "b")


def test_failures_of_our_evaluation_are_counted(write: Write) -> None:
    root = write(TWO)
    failures = root / "org__a" / "rev" / "failures"
    failures.mkdir()
    (failures / "SciFact.txt").write_text("Traceback …\nOutOfMemoryError: CUDA\n", encoding="utf-8")
    (failures / "NQ.txt").write_text("of an earlier try\n", encoding="utf-8")
    write({"org/b": {"SciFact": 0.3}})
    table = table_of(root)
    assert table.failed["a", "SciFact"] == 1 and not table.failed["a", "NQ"]


@pytest.mark.parametrize("category", ["Retrieval", "Reranking", "STS", "Classification", "Clustering", "PairClassification"])
def test_types_are_guessed_from_metrics(write: Write, category: str) -> None:
    metrics = {
        "Retrieval": {"ndcg_at_10": 0.5, "map_at_10": 0.3},
        "Reranking": {"map": 0.5, "ndcg_at_10": 0.6},
        "STS": {"cosine_spearman": 0.5, "cosine_pearson": 0.4},
        "Classification": {"accuracy": 0.5, "f1": 0.4},
        "Clustering": {"v_measure": 0.5},
        "PairClassification": {"max_ap": 0.5, "cosine_accuracy": 0.9},
    }
    entry = {"hf_subset": "default", "main_score": 0.5, **metrics[category]}
    table = table_of(write({"o/a": {"Mine": {"test": [entry]}}, "o/b": {"Mine": {"test": [entry]}}, "o/c": {"NQ": 0.1}}))
    assert "Mine" in table.categories[category]
    assert said(table, "in no map of families", "Mine")


def test_refusals_name_what_is_wrong(write: Write, write_study: Write, tmp_path: Path) -> None:
    root = write(TWO)
    write_study({"model1-seed1": {"NQ": 0.5}}, root="many/first")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "x.json").write_text('{"a": 1}')
    shutil.copytree(root, tmp_path / "copy")
    cases = {
        "there is no directory": [root, tmp_path / "gone"],
        "is given twice": [root, tmp_path / "copy" / ".." / "results"],
        "empty holds no results": [root, tmp_path / "empty"],
        "notes holds no results": [root, tmp_path / "notes"],
        "many holds studies; give them themselves: .*many/first": [root, tmp_path / "many"],
        "the same results of org/a twice": [root, tmp_path / "copy"],
        "needs two systems, found only one: a": [root / "org__a"],
    }
    for message, folders in cases.items():
        with pytest.raises(ComparisonError, match=message):
            read(folders)


@pytest.mark.parametrize("content", [b'{"task_name": "NQ", "scores": {', b"\xff\x00"], ids=["cut short", "no text"])
def test_a_damaged_file_is_named(write: Write, content: bytes) -> None:
    root = write(TWO)
    path = root / "org__b" / "rev" / "NQ.json"
    path.write_bytes(content)
    with pytest.raises(ComparisonError, match=r"org__b/rev/NQ\.json is damaged"):
        read([root])


def test_two_files_of_one_task_are_refused(write: Write) -> None:
    root = write(TWO)
    shutil.copy(root / "org__b" / "rev" / "NQ.json", root / "org__b" / "rev" / "NQ copy.json")
    with pytest.raises(ComparisonError, match=r"NQ\.json and .*NQ copy\.json are both of NQ"):
        read([root])


def test_odd_files_are_no_results(write: Write) -> None:
    root = write(TWO)
    (root / "org__a" / "rev" / "list.json").write_text("[1, 2]")
    write_result(root / "org__a" / "rev" / "items", "Hidden", 0.5)
    write_result(root / "org__a" / "rev", "Hollow", {"test": "nothing"})
    (root / "org__a" / "rev" / "Old.json").write_text(json.dumps({"mteb_dataset_name": "Old", "test": {"ndcg_at_10": 0.1}}))
    table = table_of(root)
    assert table.categories == {"Retrieval": ["ArguAna", "NQ"]}
    assert said(table, "org__a/rev: left out, no results of mteb", ": list.json")
    assert said(table, "Old.json: left out, in the layout of mteb before 1.11") and said(
        table, "Hollow (no scores in its files)"
    )


def test_only_the_named_tasks(write: Write) -> None:
    assert table_of(write(TWO), tasks=["NQ"]).categories == {"Retrieval": ["NQ"]}
    with pytest.raises(ComparisonError, match=r"'ArguAnna' \(did you mean 'ArguAna'\?\)"):
        table_of(write(TWO), tasks=["ArguAnna"])


def test_the_default_families() -> None:
    families = read_families()
    assert len(families.group([f"STS1{n}" for n in range(2, 7)] + ["STSBenchmark", "SICK-R", "BIOSSES"])) == 3
    assert families.group(["RedditClustering.v2", "RedditClusteringP2P.v2", "Mine"]) == [
        ["RedditClustering.v2", "RedditClusteringP2P.v2"],
        ["Mine"],
    ]
    assert families.group(["FEVERHardNegatives", "ClimateFEVERHardNegatives.v2"]) == [
        ["FEVERHardNegatives", "ClimateFEVERHardNegatives.v2"]
    ]
    assert families.category_of("Touche2020Retrieval.v3") == "Retrieval"


def test_a_users_families_change_only_what_they_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("Retrieval:\n  - [NQ, HotpotQA]\nDocs:\n  - [One, Two]\n", encoding="utf-8")
    families = read_families(path)
    assert families.group(["NQ", "HotpotQA", "FEVER", "ClimateFEVER"]) == [["NQ", "HotpotQA"], ["FEVER", "ClimateFEVER"]]
    assert families.category_of("Two") == "Docs"


TWICE = "Retrieval: [NQ]\nRetrieval: [FEVER]"


@pytest.mark.parametrize(
    "content", ["- NQ", "Retrieval: NQ", "Retrieval: [[]]", "Retrieval: [1]", "Retrieval: [NQ, NQ]", TWICE, "a: [", "\x00", "x"]
)
def test_bad_families_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ComparisonError, match=r"bad\.yaml"):
        read_families(path)
    with pytest.raises(ComparisonError, match="gone"):
        read_families(tmp_path / "gone.yaml")


def test_a_task_stands_in_one_family() -> None:
    with pytest.raises(ComparisonError, match="twice"):
        parse_families({"A": ["x"], "B": [["x", "y"]]})


def test_scores_are_means_over_subsets(write: Write) -> None:
    entries = [{"hf_subset": subset, "main_score": score} for subset, score in (("x", 0.2), ("y", 0.6))]
    table = table_of(write({"o/a": {"Mine": {"test": entries}}, "o/b": {"Mine": {"test": entries}}, "o/c": {"NQ": 0.1}}))
    assert table.scores["a", "Mine"] == pytest.approx(np.array([0.4]))
