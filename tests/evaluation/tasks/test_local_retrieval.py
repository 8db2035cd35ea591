"""Retrieval and reranking folders, as mteb's retrieval class takes them."""

from __future__ import annotations

import warnings
import zlib
from pathlib import Path

import mteb
import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from mteb.abstasks.text import reranking as mtebs

from common.errors import UserError
from evaluation.encode.mteb_encoder import ModelIdentity, MtebEncoder
from evaluation.encode.prompt_plan import make_plan
from evaluation.encode.search import BoundedSearch
from evaluation.evaluate import evaluate
from evaluation.tasks.find import find_tasks
from evaluation.tasks.local_files import iter_rows
from evaluation.tasks.local_folder import list_folder
from evaluation.tasks.local_retrieval import retrieval
from tests.evaluation.conftest import BagOfWords, sentences, write
from tests.evaluation.tasks.scoring import failure, score


def test_beir_layout(tmp_path):
    folder = tmp_path / "data/Beir"
    write(folder / "corpus.jsonl", [{"_id": "1", "title": "A", "text": "b"}, {"_id": "2", "text": "c"}])
    write(folder / "queries.jsonl", [{"_id": "q", "text": "b"}, {"_id": "unjudged", "text": "c"}])
    (folder / "qrels").mkdir()
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t2\n")
    (spec,) = find_tasks((), tmp_path / "data")
    task = spec.task()
    spec.load(task)
    split = task.dataset["default"]["test"]
    assert split["queries"]["id"] == ["q"]
    assert split["relevant_docs"] == {"q": {"1": 2}}


@pytest.mark.parametrize(
    "name, lines, missing",
    [
        ("qrels.test.tsv", ["query-id\tcorpus-id\tscore", "q0\td1\t1"], "qrels.test"),
        ("qrels/test.jsonl", ['{"query-id": "q0", "corpus-id": "d1", "score": 1}'], "qrels.test"),
        ("corpus.tsv", ["id\ttext", *(f"d{number}\tbread" for number in range(60))], "corpus"),
        ("queries.tsv", ["id\ttext", *(f"q{number}\tbread" for number in range(30))], "queries"),
    ],
)
def test_only_hashed_files_are_read(data_dir, name, lines, missing):
    folder = data_dir / "TinyRetrieval"
    for path in folder.glob(f"{missing}.jsonl*"):
        path.unlink()
    (folder / "qrels").mkdir()
    before = list_folder(folder).hash
    (folder / name).write_text("\n".join(lines) + "\n")
    assert list_folder(folder).hash == before
    with pytest.raises(UserError, match=f"has no {missing}.jsonl"):
        retrieval(list_folder(folder), "test")


@pytest.mark.parametrize(
    "name, rows, message",
    [
        ("qrels.test.jsonl", [{"query-id": "q0", "corpus-id": "none", "score": 1}], "has none of the 1 documents"),
        ("qrels.test.jsonl", [{"query-id": "none", "corpus-id": "d1", "score": 1}], r"none of its 1 queries is in .*'none'"),
        ("corpus.jsonl", [{"id": f"d{i}", "text": "a"} for i in (*range(60), 7)], "id 'd7' is not unique"),
        ("corpus.jsonl", [{"id": f"d{i}", "text": i} for i in range(60)], "text must be a text, found 0"),
        ("queries.jsonl", [{"id": f"q{i}", "text": "a"} for i in (*range(30), 7)], "id 'q7' is not unique"),
        ("queries.jsonl", [{"id": "q0", "txt": "a"}], "queries.jsonl:1: no text; the keys are id, txt"),
    ],
)
def test_bad_retrieval_rows(data_dir, name, rows, message):
    for path in (data_dir / "TinyRetrieval").glob(f"{name}*"):  # compressed or not
        path.unlink()
    write(data_dir / "TinyRetrieval" / name, rows)
    (spec,) = find_tasks(["TinyRetrieval"], data_dir)
    with pytest.raises(UserError, match=message):
        spec.load(spec.task())


def test_judgements_need_a_header_and_whole_grades(tmp_path: Path) -> None:
    folder = tmp_path / "Words"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"id": "d", "text": "a"}\n')
    (folder / "queries.jsonl").write_text('{"id": "q", "text": "a"}\n')
    for content, told in (("q\td\t1\n", "columns"), ("query-id\tcorpus-id\tscore\nq\td\t0.7\n", "whole number"),
                          ("query-id\tcorpus-id\tscore\nq\td\tinf\n", "finite number")):  # fmt: skip
        (folder / "qrels" / "test.tsv").write_text(content)
        (spec,) = find_tasks((), tmp_path)
        with pytest.raises(UserError, match=told):
            spec.load(spec.task())


def test_bad_grade(data_dir, tmp_path):
    """trec_eval counts the documents of every grade up to the highest: 2^30 takes 9 GB."""
    path = data_dir / "TinyRetrieval/qrels.test.jsonl"
    write(path, [{**row, "score": 2**30} for row in iter_rows(path)])
    assert "1000 at most, found 1073741824" in failure(data_dir, "TinyRetrieval", tmp_path)


@pytest.mark.parametrize("other", ["corpus.jsonl", "queries.jsonl.gz", "queries.test.jsonl", "qrels/test.tsv"])
def test_two_files_for_one(data_dir, tmp_path, other):
    folder = data_dir / "TinyRetrieval"
    write(folder / other, [{"id": "d0", "text": "another"}])
    assert f"{other}" in (said := failure(data_dir, "TinyRetrieval", tmp_path)) and "which one is meant?" in said


def test_queries_of_another_split(data_dir):
    folder = data_dir / "TinyRetrieval"
    (folder / "qrels.dev.jsonl").write_text((folder / "qrels.test.jsonl").read_text())
    write(folder / "queries.dev.jsonl", [{**row, "text": "of dev"} for row in iter_rows(folder / "queries.jsonl")])
    assert set(retrieval(list_folder(folder), "dev")["queries"]["text"]) == {"of dev"}
    assert "of dev" not in retrieval(list_folder(folder), "test")["queries"]["text"]


def test_mtebs_task_of_another_split(tmp_path):
    folder = tmp_path / "data/MSMARCO"
    write(folder / "corpus.jsonl", [{"_id": "d1", "title": "", "text": ""}, {"_id": "d2", "title": "A", "text": "b"}])
    write(folder / "queries.jsonl", [{"_id": "q", "text": ""}])
    (folder / "qrels").mkdir()
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td2\t3\n")
    (spec,) = find_tasks(["MSMARCO"], tmp_path / "data")
    with pytest.raises(UserError, match=r"no qrels.dev.jsonl"):
        spec.load(spec.task())
    (folder / "qrels/dev.tsv").write_text("query-id\tcorpus-id\tscore\nq\td1\t1\n")
    task = spec.task()
    spec.load(task)
    assert list(task.eval_splits) == ["dev"] and task.dataset["default"]["dev"]["relevant_docs"] == {"q": {"d1": 1}}


def test_candidates_say_nothing_by_place_or_id(data_dir):
    def load():
        (spec,) = find_tasks(["TinyReranking"], data_dir)
        task = spec.task()
        spec.load(task)
        return task.dataset["default"]["test"]

    split, path = load(), data_dir / "TinyReranking/test.jsonl"
    for query, candidates in split["top_ranked"].items():
        assert candidates == sorted(candidates)
        assert set(candidates) == set(split["relevant_docs"][query])
    write(path, [{**row, "positive": row["negative"], "negative": row["positive"]} for row in iter_rows(path)])
    swapped = load()
    for before, after in ((split, swapped), (swapped, split)):
        assert set(zip(*before["corpus"][:].values(), strict=True)) == set(zip(*after["corpus"][:].values(), strict=True))
    assert swapped["top_ranked"] == split["top_ranked"]
    assert swapped["relevant_docs"] != split["relevant_docs"]


def test_ids_of_reranking(data_dir, tmp_path):
    path = data_dir / "TinyReranking/test.jsonl"
    write(path, [{**row, "id": [n] if n == 3 else n} for n, row in enumerate(iter_rows(path))])
    assert "test.jsonl:4: id must be a text" in failure(data_dir, "TinyReranking", tmp_path)
    write(path, [{**row, "id": None} for row in iter_rows(path)])
    assert score(data_dir, "TinyReranking", tmp_path) > 0


def test_rows_without_ids_are_queries_of_their_own_where_mteb_merges_parts(data_dir, tmp_path):
    name, path = "MindSmallReranking", data_dir / "TinyReranking/test.jsonl"
    rows = [{**row, "negative": row["negative"] + [f"{row['query']} {n}"]} for n, row in enumerate(iter_rows(path))]
    write(path, rows)
    write(data_dir / name / "test.jsonl", rows)
    (spec,) = find_tasks([name], data_dir)
    assert spec.task().metadata.revision.endswith("-numbered")  # no result of merged rows stands for this one
    alone = score(data_dir, name, tmp_path)
    assert 0.1 < alone < 0.99 and alone == pytest.approx(score(data_dir, "TinyReranking", tmp_path), abs=1e-6)
    write(data_dir / name / "test.jsonl", [{**row, "id": f"{n}_7"} for n, row in enumerate(rows)])
    (spec,) = find_tasks([name], data_dir)
    assert spec.task().metadata.revision == f"local-{list_folder(data_dir / name).hash}"
    assert score(data_dir, name, tmp_path) == pytest.approx(alone, abs=1e-6)
    write(data_dir / name / "test.jsonl", [{**row, "id": n} for n, row in enumerate(rows)])
    assert "the id '0' must end in _ and a number" in failure(data_dir, name, tmp_path)


def test_parts_of_a_query_are_scored_as_mteb_does(data_dir, tmp_path):
    name, path = "MindSmallReranking", data_dir / "TinyReranking/test.jsonl"
    rows = [dict(row) for row in iter_rows(path)]
    parts = []
    for n, row in enumerate(rows):
        row["negative"] += [f"{row['query']} {n}"]
        parts += [{**row, "id": f"{n}_0"}, {**row, "query": row["positive"][0], "id": f"{n}_1"}]
    write(data_dir / name / "test.jsonl", parts)
    task = mteb.get_task(name)
    documents = list(dict.fromkeys(text for row in parts for text in row["positive"] + row["negative"]))
    number = {text: f"d{n}" for n, text in enumerate(documents)}
    grades = {}
    for row in parts:
        grades[row["id"]] = {number[text]: int(text in row["positive"]) for text in row["negative"] + row["positive"]}
    split = {
        "corpus": Dataset.from_dict({"id": list(number.values()), "title": [""] * len(number), "text": documents}),
        "queries": Dataset.from_dict({"id": [row["id"] for row in parts], "text": [row["query"] for row in parts]}),
        "relevant_docs": grades,
        "top_ranked": {query: list(judged) for query, judged in grades.items()},
    }
    task.dataset, task.data_loaded = {"default": {"test": split}}, True
    model = MtebEncoder(WithoutTies(), ModelIdentity("w", "1"), plan=make_plan(None, "none"))
    theirs = mteb.evaluate(BoundedSearch(model), task, cache=None, co2_tracker=False)
    ours = evaluate(WithoutTies(), find_tasks([name], data_dir), tmp_path, name="w", version="1", prompts="none")
    assert ours.score(name) == pytest.approx(theirs.task_results[0].scores["test"][0]["main_score"], abs=1e-6)


class WithoutTies(BagOfWords):
    """Words, and a little of the text's hash."""

    def encode(self, texts, role="document", **options):
        noise = [np.random.default_rng(zlib.crc32(text.encode())).standard_normal(self.dim) for text in texts]
        vectors = super().encode(texts, role, **options) + 1e-3 * np.stack(noise).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("change", ["plain", "no negative", "no positive", "twice positive", "twice negative", "numbered"])
def test_reranking_is_as_in_mteb(data_dir, tmp_path, monkeypatch, caplog, change):
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
