"""A folder is the mteb task that its name and columns say; data that measure nothing are refused."""

from __future__ import annotations

import json
from pathlib import Path

import mteb
import numpy as np
import pytest
from datasets import Dataset, DatasetDict

from common.errors import UserError
from evaluation.encode.mteb_encoder import ModelIdentity, MtebEncoder
from evaluation.encode.prompt_plan import make_plan
from evaluation.tasks.find import find_tasks
from evaluation.tasks.local_files import iter_rows
from evaluation.tasks.local_folder import list_folder
from evaluation.tasks.mteb_tasks import official_task
from tests.evaluation.conftest import BagOfWords, sentences, write
from tests.evaluation.tasks.scoring import failure, score


def test_mtebs_name_takes_its_class(data_dir):
    (spec,) = find_tasks(["STS17"], data_dir)
    task = spec.task()
    assert type(task).__name__ == "STS17Crosslingual"
    assert task.hf_subsets == ["en-en"]
    assert task.metadata.revision == f"local-{list_folder(data_dir / 'STS17').hash}"
    assert official_task("STS17").metadata.revision != task.metadata.revision  # the class is left as it was


def test_mtebs_name_of_another_type(data_dir):
    (data_dir / "TinySTS").rename(data_dir / "SciFact")
    with pytest.raises(UserError, match="SciFact is of type Retrieval: rename the folder"):
        find_tasks(["SciFact"], data_dir)[0].task()


def test_a_main_score_that_is_not_mtebs_under_its_name(data_dir):
    settings = data_dir / "STS17/task.json"
    settings.write_text(json.dumps({"main_score": "cosine_spearman"}))
    assert find_tasks(["STS17"], data_dir)[0].task().metadata.main_score == "cosine_spearman"
    settings.write_text(json.dumps({"main_score": "cosine_pearson"}))
    with pytest.raises(UserError, match=r"'cosine_pearson', but that of mteb's task STS17 is 'cosine_spearman': leave it out"):
        find_tasks(["STS17"], data_dir)[0].task()


def test_corpus_under_a_name_of_many_subsets(data_dir):
    (data_dir / "TinyRetrieval").rename(data_dir / "BrightRetrieval")
    with pytest.raises(UserError, match=r"BrightRetrieval has 12 subsets .*: rename the folder"):
        find_tasks(["BrightRetrieval"], data_dir)[0].task()


@pytest.mark.parametrize(
    "task, file, change, message",
    [
        ("TinyPair", "test.jsonl.gz", {"label": 1}, "all rows have the label 1"),
        ("TinyClustering", "test.jsonl", {"label": "x"}, "all rows have the label 'x'"),
        ("TinyClassification", "train.jsonl", {"label": "x"}, "all rows have the label 'x'"),
        ("TinyClassification", "test.jsonl", {"label": "x"}, "none of its labels is one of the train split"),
        ("TinyRetrieval", "qrels.test.jsonl", {"score": 0}, "no query has a relevant document"),
        ("TinyRetrieval", "qrels.test.jsonl", {"query-id": "q0", "corpus-id": "d0"}, None),
    ],
)
def test_data_that_measure_nothing(task, file, change, message, data_dir):
    path = data_dir / task / file
    write(path, [{**row, **change} for row in iter_rows(path)])
    (spec,) = find_tasks([task], data_dir)
    if message is None:  # the same judgement many times is one
        spec.load(spec.task())
        rows = list(iter_rows(path))
        write(path, [rows[0], {**rows[0], "score": 2}])
        message = "document 'd0' is judged twice for query 'q0', and not the same"
    with pytest.raises(UserError, match=message):
        spec.load(spec.task())


def test_labels_of_pairs(tmp_path: Path) -> None:
    rows = [{"sentence1": "a", "sentence2": "b", "label": label} for label in ("match", "no_match")]
    folder = tmp_path / "Pairs"
    folder.mkdir()
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (spec,) = find_tasks((), tmp_path)
    with pytest.raises(UserError, match="0 and 1"):
        spec.load(spec.task())


def test_labels_of_two_types(data_dir, tmp_path):
    folder = data_dir / "TinyClassification"
    rows = list(iter_rows(folder / "test.jsonl"))
    numbers = {"bread": 0, "stars": 1, "chess": 2}
    before = score(data_dir, "TinyClassification", tmp_path)
    for name, kind in (("train", int), ("test", str)):  # "0" is 0
        path = folder / f"{name}.jsonl"
        write(path, [{**row, "label": kind(numbers[row["label"]])} for row in iter_rows(path)])
    assert score(data_dir, "TinyClassification", tmp_path) == pytest.approx(before, abs=0.05)
    write(folder / "test.jsonl", [{**row, "label": bool(n % 2)} for n, row in enumerate(rows)])
    write(folder / "train.jsonl", [{**row, "label": n % 2} for n, row in enumerate(iter_rows(folder / "train.jsonl"))])
    assert "true or false" in failure(data_dir, "TinyClassification", tmp_path)
    write(
        data_dir / "TinyPair/test.jsonl",
        [{"sentence1": "a", "sentence2": str(n), "label": [1, False][n % 2]} for n in range(9)],
    )
    (data_dir / "TinyPair/test.jsonl.gz").unlink()
    assert "true or false" in failure(data_dir, "TinyPair", tmp_path)


def test_names_of_clusters(data_dir, tmp_path):
    """To mteb -1 is a text without a label, which it leaves out."""
    texts = [(text, topic if n % 4 else "stars") for n, (text, topic) in enumerate(sentences(5, 90))]  # some are wrong
    numbers = {"bread": -1, "stars": 0, "chess": 1}
    write(data_dir / "A/test.jsonl", [{"sentence": t, "label": y} for t, y in texts])
    write(data_dir / "B/test.jsonl", [{"sentence": t, "label": numbers[y]} for t, y in texts])
    assert score(data_dir, "A", tmp_path) == score(data_dir, "B", tmp_path) < 0.9


def test_sets_of_texts_are_clustered_one_by_one_as_in_mteb(data_dir, tmp_path):
    name, sizes = "ArxivClusteringP2P", (30, 12, 48)
    rows, sets = [], []
    for number, size in enumerate(sizes):
        texts = [
            (text, topic if n % 5 else "stars") for n, (text, topic) in enumerate(sentences(number, size))
        ]  # some are wrong
        rows += [{"sentence": text, "label": topic, "set": number} for text, topic in texts]
        sets.append(texts)
    write(data_dir / name / "test.jsonl", rows)
    (spec,) = find_tasks([name], data_dir)
    assert spec.task().metadata.revision.endswith("-sets")  # no result of one flat set stands for this one
    ours = score(data_dir, name, tmp_path)
    task = mteb.get_task(name)
    topics = {"bread": 0, "chess": 1, "stars": 2}
    columns = {
        "sentences": [[text for text, _ in texts] for texts in sets],
        "labels": [[topics[topic] for _, topic in texts] for texts in sets],
    }
    task.dataset, task.data_loaded = DatasetDict(test=Dataset.from_dict(columns)), True
    model = MtebEncoder(BagOfWords(), ModelIdentity("bow", "1"), plan=make_plan(None, "none"))
    (entry,) = mteb.evaluate(model, task, cache=None, co2_tracker=False).task_results[0].scores["test"]
    assert len(entry["v_measures"]) == 3 and np.ptp(entry["v_measures"]) > 0
    assert ours == pytest.approx(entry["main_score"], abs=1e-6)


def test_older_clustering_tasks_need_sets(data_dir, tmp_path):
    name = "ArxivClusteringS2S"
    (data_dir / "TinyClustering").rename(data_dir / name)
    said = failure(data_dir, name, tmp_path)
    assert "name the set of each row in a column 'set', or rename the folder" in said
    path = data_dir / name / "test.jsonl"
    write(path, [{**row, "set": None if n == 4 else "a"} for n, row in enumerate(iter_rows(path))])
    assert "test.jsonl:5: no set; the keys are" in failure(data_dir, name, tmp_path)


@pytest.mark.parametrize(
    "name, labels",
    [("Own", range(30)), ("TwentyNewsgroupsClustering.v2", [n % 3 for n in range(60)])],
    ids=["each text a label", "mteb embeds 2 of 60"],
)
def test_clusters_of_single_texts(data_dir, tmp_path, name, labels):
    texts = [text for text, _ in sentences(5, len(labels))]
    rows = [{"sentence": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    write(data_dir / name / "test.jsonl", rows)
    assert "measures nothing" in failure(data_dir, name, tmp_path)
