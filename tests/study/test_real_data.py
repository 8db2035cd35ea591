"""A folder of real data becomes the tasks and the training mix of a study."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from comparison.reading.families import read_families
from evaluation.tasks.find import find_tasks
from evaluation.tasks.local_files import iter_rows
from study.config import ROOT, read_study_config
from study.real_data.__main__ import main
from study.real_data.layout import CLUSTERINGS, WITHOUT
from tests.study.tiny_study import write_lines
from tests.tiny import DATA
from triplets.arguments import DataArguments


def test_tasks_and_the_training_mix(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    write_lines(
        data / "eval" / "NewsClassification" / "test.jsonl.gz", [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
    )
    write_lines(data / "eval" / "NewsClassification" / "train.jsonl.gz", [{"text": "c", "label": "x"}])
    for name in ("faq", WITHOUT[0]):
        write_lines(data / "train" / f"{name}.jsonl.gz", [{"query": "q", "positive": "p"}])
    for _ in range(2):  # again: nothing is in the way
        assert main([str(data), "--output_dir", str(out)]) == 0
    types = {spec.name: spec.type for spec in find_tasks([], out / "eval")}
    assert types == {"NewsClassification": "Classification", "NewsClustering": "Clustering"}
    (entry,) = DataArguments(dataset_config=str(out / "mix.yaml")).dataset_config or []
    assert entry["label"] == "faq" and Path(entry["name"]).is_file()
    assert main([str(tmp_path / "nothing"), "--output_dir", str(out)]) == 1


def test_shorter_tasks(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    pairs = [{"sentence1": f"a{number}", "sentence2": "b", "score": number} for number in range(10)]
    write_lines(data / "eval" / "Pairs" / "test.jsonl.gz", pairs)
    write_lines(data / "eval" / "Pairs" / "train.jsonl.gz", pairs)
    write_lines(data / "eval" / "Short" / "test.jsonl", pairs[:4])
    write_lines(data / "eval" / "Found" / "corpus.jsonl", [{"id": f"d{number}", "text": "t"} for number in range(9)])
    write_lines(data / "train" / "faq.jsonl", [{"query": "q", "positive": "p"}])
    for _ in range(2):
        assert main([str(data), "--output_dir", str(out), "--most_texts", "4", "--most_rows", "1"]) == 0
    scores = [row["score"] for row in iter_rows(out / "eval" / "Pairs" / "test.jsonl.gz")]
    assert scores == [0, 2, 5, 7], "at equal distances"
    assert len(list(iter_rows(out / "eval" / "Pairs" / "train.jsonl.gz"))) == 10
    assert (out / "eval" / "Short").is_symlink() and (out / "eval" / "Found").is_symlink()
    assert main([str(data), "--output_dir", str(out)]) == 0
    assert (out / "eval" / "Pairs").is_symlink(), "whole again"
    assert len(list(iter_rows(data / "eval" / "Pairs" / "test.jsonl.gz"))) == 10


def test_what_the_studies_of_objectives_train_on(tmp_path: Path) -> None:
    pytest.importorskip("bm25s")
    data, out = tmp_path / "data", tmp_path / "out"
    labelled = [{"text": f"{label} {number}", "label": label} for label in ("x", "y") for number in range(5)]
    write_lines(data / "eval" / "Named" / "train.jsonl.gz", labelled)
    write_lines(data / "eval" / "Named" / "test.jsonl.gz", labelled[:1])
    pairs = [{"sentence1": f"word{number}", "sentence2": f"word{number} more", "score": 5 - number} for number in range(4)]
    write_lines(data / "eval" / "Pairs" / "train.jsonl", pairs)
    write_lines(data / "eval" / "Pairs" / "test.jsonl", [{"sentence1": "word0", "sentence2": "other", "score": 1}])
    rows = [{"query": f"q{number}", "positive": f"p{number}", "negative": [f"n{number}", "m"]} for number in range(6)]
    rows[4]["positive"] = "P0"  # a training text but for its case
    write_lines(data / "train" / "faq.jsonl", rows)
    assert main([str(data), "--output_dir", str(out), "--objectives", "--most_rows", "4"]) == 0
    triplets = list(iter_rows(out / "train.jsonl"))
    assert [row["query"] for row in triplets] == ["q0", "q1", "q2", "q3"] and triplets[0]["negative"] == ["n0"]
    assert [row["text"] for row in iter_rows(out / "held_out.jsonl")] == ["q4", "q5", "p5"]
    entries = DataArguments(dataset_config=str(out / "blend.yaml")).dataset_config or []
    assert [entry["label"] for entry in entries] == ["faq", "Named", "Pairs"]
    named = list(iter_rows(out / "labelled" / "Named.jsonl"))
    assert len(named) == 4 and all(row["query"][0] == row["positive"][0] != row["negative"][0][0] for row in named)
    assert "x 0" not in str(named), "an evaluation text"
    assert {row["query"] for row in iter_rows(out / "labelled" / "Pairs.jsonl")} == {"word1", "word1 more"}
    (mined,) = yaml.safe_load((out / "mined.yaml").read_text())
    assert mined["name"] == str(out / "mined.jsonl")


def test_the_study_of_real_data(tmp_path: Path) -> None:
    if not DATA.is_dir():
        pytest.skip("the evaluation data are not here")
    assert main([str(DATA), "--output_dir", str(tmp_path)]) == 0
    config = read_study_config(ROOT / "configs" / "studies" / "real_data.yaml", {})
    types: dict[str, list[str]] = {}
    for spec in find_tasks(config.tasks, tmp_path / "eval"):
        types.setdefault(spec.type, []).append(spec.name)
    assert set(types) == {"STS", "Retrieval", "Classification", "Clustering"}
    assert all(len(names) >= 5 for names in types.values())
    assert set(CLUSTERINGS) <= set(types["Clustering"])
    families = read_families(ROOT / str(config.comparison["families"]))
    assert not [name for names in types.values() for name in names if families.category_of(name) is None]
    assert len(yaml.safe_load((tmp_path / "mix.yaml").read_text())) >= 10


def test_the_data_are_never_replaced_by_links_to_themselves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = tmp_path / "eval" / "Own"
    write_lines(task / "test.jsonl", [{"text": "one", "label": "a"}])
    write_lines(tmp_path / "train" / "set.jsonl", [{"query": "q", "positive": "p"}])
    assert main([str(tmp_path), "--output_dir", str(tmp_path)]) == 1
    assert "is the data's own folder" in capsys.readouterr().err and (task / "test.jsonl").is_file()


def test_a_clustering_task_of_the_data_stays_theirs(tmp_path: Path) -> None:
    (name, source), *_ = CLUSTERINGS.items()
    data = tmp_path / "data"
    write_lines(data / "eval" / source / "test.jsonl.gz", [{"text": f"text {number}", "label": "a"} for number in range(3)])
    own = data / "eval" / name / "test.jsonl.gz"
    write_lines(own, [{"sentence": "mine", "label": "a"}])
    write_lines(data / "train" / "set.jsonl", [{"query": "q", "positive": "p"}])
    before = own.read_bytes()
    assert main([str(data), "--output_dir", str(tmp_path / "out")]) == 0
    assert own.read_bytes() == before
