"""Real tasks, where their data are present: known scores, and mteb's own classes fed by hand."""

from __future__ import annotations

import re
import zlib

import mteb
import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTask, AbsTaskRetrieval
from sklearn.feature_extraction.text import HashingVectorizer

from evaluation.encode.mteb_encoder import ModelIdentity, MtebEncoder
from evaluation.encode.prompt_plan import make_plan
from evaluation.encode.search import BoundedSearch
from evaluation.evaluate import evaluate
from evaluation.tasks.find import TaskSpec, find_tasks
from evaluation.tasks.local_files import iter_rows
from evaluation.tasks.mteb_tasks import official_names
from tests.tiny import DATA

EVAL = DATA / "eval"
pytestmark = pytest.mark.skipif(not EVAL.is_dir(), reason="the evaluation data are not here")


class Hashed:
    """Token counts hashed by scikit-learn, cosine."""

    def __init__(self, bits: int = 12, **options) -> None:
        self.vectorizer = HashingVectorizer(n_features=2**bits, dtype=np.float32, **options)

    def encode(self, texts, role="document", **_):
        return self.vectorizer.transform(texts).toarray()


COMMON = """
    a an the of to in on for and or is are was were be been it its this that with as at by from i you he she they we my your his
    her their our me do does did has have not what how which who when there than then so but if can will
"""


class WordsAndPieces:
    """Hashed counts of words that are not common, and of their pieces of four letters, cosine.

    The table of known scores says "2^n-hashed token counts" and not which tokens. Of several hundred ways to make them, this
    one gives as many of its ten scores within 0.01 as any, all below. It is not the table's: SciFact has .507 instead of .543,
    AmazonCounterfactual .780 instead of .805, StackOverflow titles .637 instead of .380. So these scores stand for what our
    code gives today; random vectors, below, have nothing to choose.
    """

    def __init__(self) -> None:
        options = {"n_features": 2**12, "alternate_sign": False, "norm": "l2", "dtype": np.float32}
        self.vectorizer = HashingVectorizer(analyzer=self.tokens, **options)
        self.common = set(COMMON.split())

    def tokens(self, text: str) -> list[str]:
        found = []
        for word in re.findall(r"\w\w+", text.lower()):
            if word not in self.common:
                marked = f"<{word}>"
                found += [f"W{word}", *(marked[start : start + 4] for start in range(len(marked) - 3))]
        return found

    def encode(self, texts, role="document", **_):
        return self.vectorizer.transform(texts).toarray()


class RandomVectors:
    """A vector that depends on the text alone, and on nothing in it."""

    def encode(self, texts, role="document", **_):
        vectors = np.stack([np.random.default_rng(zlib.crc32(text.encode())).standard_normal(256) for text in texts])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def scores(encoder, names, tmp_path) -> dict[str, float]:
    result = evaluate(encoder, find_tasks(names, EVAL), tmp_path, name="stub", version="1", prompts="none")
    assert not result.failures
    return {score.name: score.score for score in result.scores}


def test_every_folder_is_a_task():
    specs = find_tasks((), EVAL)
    assert len(specs) == 35
    smallest: dict[str, TaskSpec] = {}
    for spec in sorted(specs, key=lambda spec: spec.size):
        assert spec.task().metadata.type == spec.type != "unknown"
        smallest.setdefault(spec.type, spec)
    assert len(smallest) == 6
    for spec in smallest.values():
        task = spec.task()
        spec.load(task)
        assert task.data_loaded


@pytest.mark.slow
def test_every_folder_loads():
    for spec in find_tasks((), EVAL):
        task = spec.task()
        spec.load(task)
        assert task.data_loaded


KNOWN = {
    "STSBenchmark": 0.685,
    "SICK-R": 0.572,
    "STS17": 0.810,
    "MRPCPairClassification": 0.852,
    "Banking77Classification": 0.657,
    "Cranfield": 0.307,
    "SelQAReranking": 0.846,
}


@pytest.mark.parametrize("name", [name if name == "STS17" else pytest.param(name, marks=pytest.mark.slow) for name in KNOWN])
def test_known_scores_of_hashed_words(name, tmp_path):
    result = evaluate(WordsAndPieces(), find_tasks([name], EVAL), tmp_path, name="stub", version="1", prompts="none")
    (score,) = result.scores
    assert score.score == pytest.approx(KNOWN[name], abs=0.01)


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


def rows(name: str, file: str) -> list[dict]:
    return list(iter_rows(EVAL / name / f"{file}.jsonl.gz"))


def table(found: list[dict], **columns: str) -> Dataset:
    return Dataset.from_dict({ours: [row[theirs] for row in found] for ours, theirs in columns.items()})


def labels(found: list[dict], train: list[dict]) -> list[dict]:
    number = {label: n for n, label in enumerate(sorted({str(row["label"]) for row in found + train}))}
    return [{**row, "label": number[str(row["label"])]} for row in found]


def fed_by_hand(name: str) -> AbsTask:
    """mteb's own class with rows put into it as mteb's data look, without any of our code but the reading of lines."""
    task = mteb.get_task(name, eval_splits=["test"], hf_subsets=SUBSETS.get(name))
    kind = task.metadata.type
    if kind == "Retrieval":
        relevant: dict[str, dict[str, int]] = {}
        for row in rows(name, "qrels.test"):
            relevant.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
        corpus = [{"title": "", **row} for row in rows(name, "corpus")]
        queries = [row for row in rows(name, "queries") if row["id"] in relevant]
        split = {"corpus": table(corpus, id="id", title="title", text="text"), "queries": table(queries, id="id", text="text")}
        task.dataset = {"default": {"test": {**split, "relevant_docs": relevant, "top_ranked": None}}}
    elif kind == "STS":
        file = {"STS17": "test.en-en"}.get(name, "test.mteb_tok" if name in ("STS12", "STS13", "STS14", "STS15") else "test")
        split = DatasetDict(test=table(rows(name, file), sentence1="sentence1", sentence2="sentence2", score="score"))
        task.dataset = {"en-en": split} if name == "STS17" else split
    else:
        task.dataset = {}
        for subset in SUBSETS.get(name, ["default"]):
            train, test = (rows(name, f"{subset}.{part}".removeprefix("default.")) for part in ("train", "test"))
            train, test = labels(train, test), labels(test, train)
            parts = {part: table(found, text="text", label="label") for part, found in (("train", train), ("test", test))}
            task.dataset[subset] = DatasetDict(parts)
        if "default" in task.dataset:
            task.dataset = task.dataset["default"]
    task.data_loaded = True
    return task


SUBSETS = {"STS17": ["en-en"], "AmazonCounterfactualClassification": ["en", "en-ext"]}


def unrounded(task: AbsTask) -> dict[str, dict[str, float]]:
    model = MtebEncoder(Hashed(bits=8), ModelIdentity("stub", "1"), plan=make_plan(None, "none"))
    searches = isinstance(task, AbsTaskRetrieval)
    result = mteb.evaluate(BoundedSearch(model) if searches else model, task, cache=None, co2_tracker=False)
    assert result.task_results
    return {
        one["hf_subset"]: {key: value for key, value in one.items() if isinstance(value, float) and "nauc" not in key}
        for one in result.task_results[0].scores["test"]
    }


OFFICIAL = sorted({path.name for path in EVAL.glob("*/")} & set(official_names())) if EVAL.is_dir() else []


@pytest.mark.parametrize(
    "name", [name if name == "STSBenchmark" else pytest.param(name, marks=pytest.mark.slow) for name in OFFICIAL]
)
def test_mtebs_own_class_fed_the_same_rows_gives_the_same_scores(name):
    (spec,) = find_tasks([name], EVAL)
    ours = spec.task()
    spec.load(ours)
    local, official = unrounded(ours), unrounded(fed_by_hand(name))
    assert set(local) == set(official)
    for subset, scores in official.items():
        assert "main_score" in scores
        assert local[subset] == pytest.approx(scores, abs=1e-9, rel=0, nan_ok=True)


@pytest.mark.slow
def test_all_tasks_run(tmp_path):
    result = evaluate(Hashed(bits=8), find_tasks((), EVAL), tmp_path, name="stub", version="1")
    assert not result.failures
    assert len(result.scores) == 35
