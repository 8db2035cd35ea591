"""Items of the types that local folders do not have: mteb's own tasks, fed by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from mteb.abstasks.multilabel_classification import AbsTaskMultilabelClassification

from comparison.reading.item_scores import read_items as compared
from evaluation.evaluate import evaluate
from evaluation.results.item_scores import _replace, read_items
from evaluation.tasks.find import TaskSpec, find_tasks
from tests.evaluation.conftest import BagOfWords, sentences


def summaries(texts: int = 6, each: int = 5) -> DatasetDict:
    rng = np.random.default_rng(3)
    words = [text for text, _ in sentences(4, texts * (each + 2))]
    rows = {
        "text": words[:texts],
        "human_summaries": [words[texts + n : texts + n + 2] for n in range(texts)],
        "machine_summaries": [list(rng.choice(words, each)) for _ in range(texts)],
        "relevance": [list(map(float, rng.permutation(each) / each * 4 + 1)) for _ in range(texts)],
    }
    rows["relevance"][1] = [3.0] * each  # mteb leaves it out: no order to agree with
    rows["machine_summaries"][3] = [words[0]] * each  # and this one
    return DatasetDict(test=Dataset.from_dict(rows))


def test_a_summarys_text_is_an_item(tmp_path, monkeypatch):
    def load(self: TaskSpec, task) -> None:
        task.dataset, task.data_loaded = summaries(), True

    monkeypatch.setattr(TaskSpec, "load", load)
    result = evaluate(BagOfWords(), find_tasks(["SummEvalSummarization.v2"]), tmp_path, name="b", version="1")
    assert not result.failures
    (score,) = result.scores
    items = read_items(score.items)
    assert [item["id"] for item in items] == ["0", "2", "4", "5"]
    assert np.mean([item["cosine_spearman"] for item in items]) == pytest.approx(score.score, abs=1e-5)
    found = compared(score.items, {("test", "default")}, score.score)
    assert found is not None and found.kind == "queries" and found.metric == "cosine_spearman"
    assert evaluate(BagOfWords(), find_tasks(["SummEvalSummarization.v2"]), tmp_path, name="b", version="1").scores[0].cached


def labelled(rows: int, several: bool) -> Dataset:
    texts, topics = zip(*sentences(rows, rows), strict=True)
    numbers = [["bread", "chess", "stars"].index(topic) for topic in topics]
    labels = [sorted({number, (number + n) % 3}) for n, number in enumerate(numbers)] if several else numbers
    return Dataset.from_dict({"text": texts, "label": labels})


@pytest.mark.parametrize("name, several", [("CEDRClassification", True), ("SciRepEvalBiomimicryClassification", False)])
def test_runs_that_do_not_give_each_text_one_label_have_no_items(tmp_path, monkeypatch, name, several):
    """Several labels a text, of which mteb predicts those of a part of a long split; and runs over parts of the texts."""

    def load(self: TaskSpec, task) -> None:
        parts = {"train": labelled(90, several), "test": labelled(60, several)}
        task.dataset = DatasetDict(parts if several else {"evaluation": labelled(90, several)})
        task.data_loaded = True

    monkeypatch.setattr(TaskSpec, "load", load)
    monkeypatch.setattr(AbsTaskMultilabelClassification, "max_eval_samples", 40)
    for options in ({}, {"save_predictions": True}):
        result = evaluate(BagOfWords(), find_tasks([name]), tmp_path / "out", name="b", version="1", **options)
        assert not result.failures
        (score,) = result.scores
        assert score.items is None and not score.cached and 0 < score.score <= 1
    predictions = json.loads((result.folder / f"predictions/{name}_predictions.json").read_text())
    assert len(next(iter(predictions["default"].values()))) > 1


def test_the_same_items_are_the_same_file(tmp_path, monkeypatch):
    """Written at another time by another process: so two runs' items compare by bytes."""
    items = [{"score": 0.5, "gold": 1}, {"score": 0.25, "gold": 0}]
    files = []
    for moment in (1, 2):
        monkeypatch.setattr("time.time", lambda moment=moment: 1e9 + moment)
        monkeypatch.setattr("os.getpid", lambda moment=moment: 100 + moment)
        path = tmp_path / str(moment) / "items/Task.jsonl.gz"
        _replace(path, items, "default", "test")
        files.append(path.read_bytes())
    assert files[0] == files[1] and len(read_items(path)) == 2
