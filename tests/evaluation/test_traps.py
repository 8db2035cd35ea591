"""Data that mteb, or whoever reads them in haste, would score without a word: other labels, empty lists, two files for one."""

from __future__ import annotations

import errno
import gzip
import json
import warnings
import zlib
from types import SimpleNamespace

import mteb
import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from mteb.abstasks.text import reranking as mtebs

from evaluation.disk import unwritable
from evaluation.encoder import MtebEncoder
from evaluation.evaluate import evaluate
from evaluation.listing import listing
from evaluation.local_data import iter_rows, name_fault
from evaluation.prompt_plan import make_plan
from evaluation.prompts import read_prompts
from evaluation.search import BoundedSearch
from evaluation.tasks import find_tasks
from model_loaders.errors import UserError
from tests.evaluation.conftest import BagOfWords, sentences, write


def score(data_dir, name, out):
    result = evaluate(BagOfWords(), find_tasks([name], data_dir), out, name="bow", version="1", prompts="none")
    assert not result.failures, result.failures
    return result.score(name)


def failure(data_dir, name, out) -> str:
    result = evaluate(BagOfWords(), find_tasks([name], data_dir), out, name="bow", version="1", prompts="none")
    assert list(result.failures) == [name]
    assert "traceback" not in result.failures[name]
    return result.failures[name]


def test_names_of_clusters_change_no_score(data_dir, tmp_path):
    """To mteb -1 is a text without a label, which it leaves out."""
    texts = sentences(5, 90)
    numbers = {"bread": -1, "stars": 0, "chess": 1}
    write(data_dir / "A/test.jsonl", [{"sentence": t, "label": y} for t, y in texts])
    write(data_dir / "B/test.jsonl", [{"sentence": t, "label": numbers[y]} for t, y in texts])
    write(data_dir / "C/test.jsonl", [{"sentence": t, "label": str(numbers[y])} for t, y in texts])
    found = [score(data_dir, name, tmp_path) for name in "ABC"]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    "name, labels",
    [("Own", range(30)), ("TwentyNewsgroupsClustering.v2", [n % 3 for n in range(60)])],
    ids=["each text a label", "mteb embeds 2 of 60"],
)
def test_clusters_of_one_text_measure_nothing(data_dir, tmp_path, name, labels):
    texts = [text for text, _ in sentences(5, len(labels))]
    rows = [{"sentence": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    write(data_dir / name / "test.jsonl", rows)
    assert "measures nothing" in failure(data_dir, name, tmp_path)


class WithoutTies(BagOfWords):
    """Words, and a little of the text's hash."""

    def encode(self, texts, role="document", **options):
        noise = [np.random.default_rng(zlib.crc32(text.encode())).standard_normal(self.dim) for text in texts]
        vectors = super().encode(texts, role, **options) + 1e-3 * np.stack(noise).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("change", ["plain", "no negative", "no positive", "twice positive", "twice negative"])
def test_reranking_is_as_mteb_takes_the_same_rows(data_dir, tmp_path, monkeypatch, change):
    name = "AskUbuntuDupQuestions"
    rows = [dict(row) for row in iter_rows(data_dir / "TinyReranking/test.jsonl")]
    for n, row in enumerate(rows):
        distractors = [text for text, _ in sentences(20 + n, 6)]
        row["positive"], row["negative"] = row["positive"][:2], row["negative"] + distractors
        if n % 3 == 0 and change != "plain":
            side = change.split()[1]
            row[side] = [] if change.startswith("no ") else row[side] + row[side][:1]
    write(data_dir / name / "test.jsonl", rows)
    ours = evaluate(WithoutTies(), find_tasks([name], data_dir), tmp_path, name="w", version="1", prompts="none")

    monkeypatch.setattr(mtebs, "OLD_FORMAT_RERANKING_TASKS", [name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mteb calls the class deprecated
        task = mteb.get_task(name, eval_splits=["test"])
        columns = {key: [row[key] for row in rows] for key in ("query", "positive", "negative")}
        task.__class__ = type("Old", (type(task), mtebs.AbsTaskReranking), {})
        task.transform_old_dataset_format(DatasetDict(test=Dataset.from_dict(columns)))
    model = MtebEncoder(WithoutTies(), "w", "1", plan=make_plan(None, "none"))
    theirs = mteb.evaluate(BoundedSearch(model), task, cache=None, co2_tracker=False)
    assert ours.score(name) == pytest.approx(theirs.task_results[0].scores["test"][0]["main_score"], abs=1e-6)


@pytest.mark.parametrize("other", ["corpus.jsonl", "queries.jsonl.gz", "queries.test.jsonl", "qrels/test.tsv"])
def test_two_files_for_one_are_refused(data_dir, tmp_path, other):
    folder = data_dir / "TinyRetrieval"
    write(folder / other, [{"id": "d0", "text": "another"}])
    assert f"{other}" in (said := failure(data_dir, "TinyRetrieval", tmp_path)) and "which one is meant?" in said


def test_a_damaged_file_stops_no_other_task(data_dir, tmp_path):
    data = bytearray(gzip.compress(b'{"sentence1": "a", "sentence2": "b", "score": 1}\n' * 50))
    data[10] = 255  # no kind of block that there is
    (data_dir / "Damaged").mkdir()
    (data_dir / "Damaged/test.jsonl.gz").write_bytes(bytes(data))
    (data_dir / "Deep").mkdir()
    (data_dir / "Deep/test.jsonl").write_text("[" * 200_000)
    (data_dir / "Empty").mkdir()
    (data_dir / "Empty/test.jsonl").write_text("")
    tasks = find_tasks(["Damaged", "Deep", "Empty", "TinySTS"], data_dir)
    result = evaluate(BagOfWords(), tasks, tmp_path, name="bow", version="1")
    assert [found.name for found in result.scores] == ["TinySTS"]
    assert "test.jsonl.gz cannot be read" in result.failures["Damaged"]
    assert "test.jsonl:1: not valid JSON" in result.failures["Deep"]
    assert result.failures["Empty"].endswith("test.jsonl is empty")
    assert "Damaged" in listing("", data_dir)


def test_a_grade_that_is_none_is_refused(data_dir, tmp_path):
    """trec_eval counts the documents of every grade up to the highest: 2^30 takes 9 GB."""
    path = data_dir / "TinyRetrieval/qrels.test.jsonl"
    write(path, [{**row, "score": 2**30} for row in iter_rows(path)])
    assert "1000 at most, found 1073741824" in failure(data_dir, "TinyRetrieval", tmp_path)


@pytest.mark.parametrize("value", [float("nan"), [], {}, True, "", 1.5, "\ud800"])
def test_an_id_is_a_text_or_a_whole_number(data_dir, tmp_path, value):
    path = data_dir / "TinyRetrieval/queries.jsonl"
    write(path, [{"id": value, "text": "bread"}, *iter_rows(path)])
    assert "queries.jsonl:1: id " in failure(data_dir, "TinyRetrieval", tmp_path)


def test_an_id_that_is_null_is_none(data_dir, tmp_path):
    path = data_dir / "TinyReranking/test.jsonl"
    write(path, [{**row, "id": None} for row in iter_rows(path)])
    assert score(data_dir, "TinyReranking", tmp_path) > 0


def test_labels_of_two_types(data_dir, tmp_path):
    folder = data_dir / "TinyClassification"
    rows = list(iter_rows(folder / "test.jsonl"))
    numbers = {"bread": 0, "stars": 1, "chess": 2}
    before = score(data_dir, "TinyClassification", tmp_path)
    for name, kind in (("train", int), ("test", str)):  # "0" is 0
        path = folder / f"{name}.jsonl"
        write(path, [{**row, "label": kind(numbers[row["label"]])} for row in iter_rows(path)])
    assert score(data_dir, "TinyClassification", tmp_path) == pytest.approx(before, abs=0.05)
    write(folder / "test.jsonl", [{**row, "label": True if n else 0} for n, row in enumerate(rows)])
    assert "true or false" in failure(data_dir, "TinyClassification", tmp_path)
    write(
        data_dir / "TinyPair/test.jsonl",
        [{"sentence1": "a", "sentence2": str(n), "label": [1, False][n % 2]} for n in range(9)],
    )
    (data_dir / "TinyPair/test.jsonl.gz").unlink()
    assert "true or false" in failure(data_dir, "TinyPair", tmp_path)


@pytest.mark.parametrize("name", ["model_meta", "é" * 101, ".hidden", "a\ud800"])
def test_a_name_that_can_file_no_result(data_dir, name):
    assert name_fault(name)
    (data_dir / "TinySTS/task.json").write_text(json.dumps({"name": name}))
    (spec,) = [spec for spec in find_tasks((), data_dir) if spec.folder == data_dir / "TinySTS"]
    assert "cannot name a file" in spec.fault or "mteb writes" in spec.fault
    assert not name_fault("MTEB's own (v2)")


@pytest.mark.parametrize(
    "text, message",
    [
        ('STS: "a: "\nSTS: "b: "\n', "stands in line 1 already"),
        ('STS: {query: "a", query: "b"}\n', "stands in line 1 already"),
        ('STS: "x {prompt} {text}"\n', r"\{text\} is the only placeholder"),
        ('STS: "x {txt}"\n', r"has \{txt\} in it"),
        ('STS: "{text} {text}"\n', "more than once"),
        ('STS: "\\ud83d"\n', "half a character"),
    ],
)
def test_prompts_that_would_not_be_what_they_say(tmp_path, text, message):
    (tmp_path / "prompts.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_prompts(tmp_path / "prompts.yaml", ["STS"])


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    error = OSError(errno.ENOSPC, "No space left on device")  # as a write raises it, without a name
    roomy, full = tmp_path / "roomy", tmp_path / "full"
    for folder in (roomy, full):
        folder.mkdir()
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=0 if folder == full else 2**40))
    assert unwritable(error, [roomy, full, tmp_path / "none"]) == f"cannot write ({full}): No space left on device"
    assert unwritable(error) == "cannot write: No space left on device" and not unwritable(ValueError())
