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
import yaml
from datasets import Dataset, DatasetDict
from mteb.abstasks.text import reranking as mtebs

from common.disk import unwritable
from common.errors import UserError
from common.yaml_files import load_yaml
from evaluation.encode.mteb_encoder import ModelIdentity, MtebEncoder
from evaluation.encode.prompt_plan import make_plan
from evaluation.encode.prompts_file import read_prompts
from evaluation.encode.search import BoundedSearch
from evaluation.evaluate import evaluate
from evaluation.tasks.find import find_tasks
from evaluation.tasks.listing import listing
from evaluation.tasks.local_files import iter_rows
from evaluation.tasks.local_folder import list_folder, name_fault
from evaluation.tasks.local_retrieval import retrieval
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
    texts = [(text, topic if n % 4 else "stars") for n, (text, topic) in enumerate(sentences(5, 90))]  # some are wrong
    numbers = {"bread": -1, "stars": 0, "chess": 1}
    write(data_dir / "A/test.jsonl", [{"sentence": t, "label": y} for t, y in texts])
    write(data_dir / "B/test.jsonl", [{"sentence": t, "label": numbers[y]} for t, y in texts])
    write(data_dir / "C/test.jsonl", [{"sentence": t, "label": str(numbers[y])} for t, y in texts])
    found = [score(data_dir, name, tmp_path) for name in "ABC"]
    assert found[0] == found[1] == found[2] < 0.9


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


@pytest.mark.parametrize("change", ["plain", "no negative", "no positive", "twice positive", "twice negative", "numbered"])
def test_reranking_is_as_mteb_takes_the_same_rows(data_dir, tmp_path, monkeypatch, caplog, change):
    name = "AskUbuntuDupQuestions"
    rows = [dict(row) for row in iter_rows(data_dir / "TinyReranking/test.jsonl")]
    for n, row in enumerate(rows):
        distractors = [text for text, _ in sentences(20 + n, 6)]
        row["positive"], row["negative"] = row["positive"][:2], row["negative"] + distractors
        if change == "numbered":  # texts that begin as others do, which are there twice
            row["positive"] = [f"{row['query']} 1"] * 2
            row["negative"] = [f"{row['query']} {number}" for number in (12, 2)] + distractors
        elif n % 3 == 0 and change != "plain":
            side = change.split()[1]
            row[side] = [] if change.startswith("no ") else row[side] + row[side][:1]
    write(data_dir / name / "test.jsonl", rows)
    ours = evaluate(WithoutTies(), find_tasks([name], data_dir), tmp_path, name="w", version="1", prompts="none")
    assert ("10 rows without a positive or without a negative are left out" in caplog.text) == change.startswith("no ")

    monkeypatch.setattr(mtebs, "OLD_FORMAT_RERANKING_TASKS", [name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mteb calls the class deprecated
        task = mteb.get_task(name, eval_splits=["test"])
        columns = {key: [row[key] for row in rows] for key in ("query", "positive", "negative")}
        task.__class__ = type("Old", (type(task), mtebs.AbsTaskReranking), {})
        task.transform_old_dataset_format(DatasetDict(test=Dataset.from_dict(columns)))
    model = MtebEncoder(WithoutTies(), ModelIdentity("w", "1"), plan=make_plan(None, "none"))
    theirs = mteb.evaluate(BoundedSearch(model), task, cache=None, co2_tracker=False)
    assert ours.score(name) == pytest.approx(theirs.task_results[0].scores["test"][0]["main_score"], abs=1e-6)


@pytest.mark.parametrize("other", ["corpus.jsonl", "queries.jsonl.gz", "queries.test.jsonl", "qrels/test.tsv"])
def test_two_files_for_one_are_refused(data_dir, tmp_path, other):
    folder = data_dir / "TinyRetrieval"
    write(folder / other, [{"id": "d0", "text": "another"}])
    assert f"{other}" in (said := failure(data_dir, "TinyRetrieval", tmp_path)) and "which one is meant?" in said


def test_queries_of_another_split_may_stand_beside_those_of_the_test(data_dir):
    folder = data_dir / "TinyRetrieval"
    (folder / "qrels.dev.jsonl").write_text((folder / "qrels.test.jsonl").read_text())
    write(folder / "queries.dev.jsonl", [{**row, "text": "of dev"} for row in iter_rows(folder / "queries.jsonl")])
    assert set(retrieval(list_folder(folder), "dev")["queries"]["text"]) == {"of dev"}
    assert "of dev" not in retrieval(list_folder(folder), "test")["queries"]["text"]


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


def test_ids_of_reranking(data_dir, tmp_path):
    path = data_dir / "TinyReranking/test.jsonl"
    write(path, [{**row, "id": [n] if n == 3 else n} for n, row in enumerate(iter_rows(path))])
    assert "test.jsonl:4: id must be a text" in failure(data_dir, "TinyReranking", tmp_path)
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
    write(folder / "test.jsonl", [{**row, "label": bool(n % 2)} for n, row in enumerate(rows)])
    write(folder / "train.jsonl", [{**row, "label": n % 2} for n, row in enumerate(iter_rows(folder / "train.jsonl"))])
    assert "true or false" in failure(data_dir, "TinyClassification", tmp_path)
    write(
        data_dir / "TinyPair/test.jsonl",
        [{"sentence1": "a", "sentence2": str(n), "label": [1, False][n % 2]} for n in range(9)],
    )
    (data_dir / "TinyPair/test.jsonl.gz").unlink()
    assert "true or false" in failure(data_dir, "TinyPair", tmp_path)


@pytest.mark.parametrize("name", ["model_meta", "é" * 120, ".hidden", "a\ud800"])
def test_a_name_that_can_file_no_result(data_dir, name):
    assert name_fault(name)
    (data_dir / "TinySTS/task.json").write_text(json.dumps({"name": name}))
    (spec,) = [spec for spec in find_tasks((), data_dir) if spec.folder == data_dir / "TinySTS"]
    assert "cannot name a file" in spec.fault or "mteb writes" in spec.fault
    assert not name_fault("MTEB's own (v2)")


def test_folders_that_can_file_no_result(data_dir):
    for name in ("model_meta", ".ipynb_checkpoints"):
        write(data_dir / name / "test.jsonl", list(iter_rows(data_dir / "TinySTS/test.jsonl")))
    specs = {spec.name: spec for spec in find_tasks((), data_dir)}
    assert "rename it, or give it a name in task.json" in specs["model_meta"].fault
    assert ".ipynb_checkpoints" not in specs  # hidden folders are not meant as tasks


def test_a_column_that_the_type_does_not_know_changes_nothing(data_dir, tmp_path):
    path = data_dir / "TinySTS/test.jsonl"
    before = score(data_dir, "TinySTS", tmp_path)
    write(path, [{**row, "label": [True, 3, [], "x"][n % 4]} if n % 3 else row for n, row in enumerate(iter_rows(path))])
    assert score(data_dir, "TinySTS", tmp_path) == before


@pytest.mark.parametrize(
    "text, message",
    [
        ('STS: "a: "\nSTS: "b: "\n', "stands in line 1 already"),
        ('STS: {query: "a", query: "b"}\n', "stands in line 1 already"),
        ('STS: "x {prompt} {text}"\n', r"\{text\} is the only placeholder"),
        ('STS: "x {txt}"\n', r"has \{txt\} in it"),
        ('STS: "{text} {text}"\n', "more than once"),
        ('STS: "\\ud83d"\n', "half a character"),
        ('STS: "{{text}} x"\n', "only placeholder"),
        ("STS: !!map x\n", "not valid YAML"),
    ],
)
def test_prompts_that_would_not_be_what_they_say(tmp_path, text, message):
    (tmp_path / "prompts.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_prompts(tmp_path / "prompts.yaml", ["STS"])


def test_braces_that_are_text_stay(tmp_path):
    (tmp_path / "prompts.yaml").write_text('STS: "JSON {x} or {positive, negative}: "\n')
    assert read_prompts(tmp_path / "prompts.yaml", ["STS"])["STS"]["query"] == "JSON {x} or {positive, negative}: "


def test_yaml_may_merge_what_it_overrides():
    text = "b: &b {x: 1, y: 1}\no:\n  m: &m\n    <<: *b\n    x: 2\nt:\n  <<: *m\nw:\n  <<: *b\n  <<: {z: 1}\n1: a\n'1': b\n"
    assert load_yaml(text) == yaml.safe_load(text) and load_yaml(text)["t"] == {"x": 2, "y": 1}
    with pytest.raises(yaml.YAMLError, match="x stands in line 1 already"):
        load_yaml("t: {x: 1, <<: {y: 1}, x: 2}")


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    error = OSError(errno.ENOSPC, "No space left on device")  # as a write raises it, without a name
    roomy, full = tmp_path / "roomy", tmp_path / "full"
    for folder in (roomy, full):
        folder.mkdir()
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=0 if folder == full else 2**40))
    assert unwritable(error, [roomy, full, tmp_path / "none"]) == f"cannot write ({full}): No space left on device"
    assert unwritable(error) == "cannot write: No space left on device" and not unwritable(ValueError())
    assert unwritable(OSError(errno.EROFS, "Read-only file system"), [full]) == "cannot write: Read-only file system"
