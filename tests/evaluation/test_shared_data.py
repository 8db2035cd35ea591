"""Real tasks, where their data are present: known scores, and mteb's own classes fed by hand."""

from __future__ import annotations

import zlib

import mteb
import numpy as np
import pytest
from sklearn.feature_extraction.text import HashingVectorizer

from evaluation.encoder import MtebEncoder
from evaluation.evaluate import evaluate
from evaluation.local_data import iter_rows
from evaluation.tasks import find_tasks
from tests.conftest import DATA
from tests.evaluation.conftest import BagOfWords

EVAL = DATA / "eval"
pytestmark = pytest.mark.skipif(not EVAL.is_dir(), reason="the evaluation data are not here")


class Hashed:
    """Token counts hashed by scikit-learn, cosine."""

    def __init__(self, bits: int = 12, **options) -> None:
        self.vectorizer = HashingVectorizer(n_features=2**bits, dtype=np.float32, **options)

    def encode(self, texts, role="document", **_):
        return self.vectorizer.transform(texts).toarray()


class RandomVectors:
    """A vector that depends on the text alone, and on nothing in it."""

    def encode(self, texts, role="document", **_):
        vectors = np.stack([np.random.default_rng(zlib.crc32(text.encode())).standard_normal(256) for text in texts])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def scores(encoder, names, tmp_path) -> dict[str, float]:
    result = evaluate(encoder, find_tasks(names, EVAL), tmp_path, name="stub", version="1")
    assert not result.failures
    return {score.name: score.score for score in result.scores}


def test_every_folder_loads():
    specs = find_tasks((), EVAL)
    assert len(specs) == 35
    for spec in specs:
        task = spec.task()
        assert task.metadata.type == spec.type != "unknown"
        spec.load(task)
        assert task.data_loaded


def test_known_scores_of_hashed_words(tmp_path):
    assert scores(Hashed(), ["SICK-R"], tmp_path / "plain") == pytest.approx({"SICK-R": 0.572}, abs=0.01)
    known = {"Cranfield": 0.307}
    assert scores(Hashed(stop_words="english"), list(known), tmp_path / "stop") == pytest.approx(known, abs=0.01)


@pytest.mark.slow
def test_known_scores_of_random_vectors(tmp_path):
    known = {
        "SciFact": 0.002,
        "Cranfield": 0.006,
        "SelQAReranking": 0.310,
        "StackOverflowTitlesClustering": 0.018,
        "MRPCPairClassification": 0.680,
        "Banking77Classification": 0.013,
    }
    assert scores(RandomVectors(), list(known), tmp_path) == pytest.approx(known, abs=0.01)


def test_mtebs_own_class_fed_the_same_rows_gives_the_same_score(tmp_path):
    from datasets import Dataset, DatasetDict

    ours = scores(BagOfWords(), ["STSBenchmark"], tmp_path)["STSBenchmark"]
    rows = list(iter_rows(EVAL / "STSBenchmark/test.jsonl.gz"))
    columns = {key: [row[key] for row in rows] for key in ("sentence1", "sentence2", "score")}
    task = mteb.get_task("STSBenchmark", eval_splits=["test"])
    task.dataset, task.data_loaded = DatasetDict(test=Dataset.from_dict(columns)), True
    theirs = mteb.evaluate(MtebEncoder(BagOfWords(), "stub", "1"), task, cache=None, co2_tracker=False)
    assert ours == pytest.approx(theirs.task_results[0].get_score(), abs=1e-6)  # saved scores have six decimals


@pytest.mark.slow
def test_all_tasks_run(tmp_path):
    result = evaluate(Hashed(bits=8), find_tasks((), EVAL), tmp_path, name="stub", version="1")
    assert not result.failures
    assert len(result.scores) == 35
