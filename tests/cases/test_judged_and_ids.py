"""Published retrieval data: judged documents and queries that are not there, ids as numbers, odd tables of judgements."""

from __future__ import annotations

import json
import logging
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mteb
import pytest
from datasets import Dataset
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction

from common.errors import UserError
from evaluation.tasks.local_folder import list_folder, name_fault
from evaluation.tasks.local_retrieval import RetrievalSplit, retrieval
from model_loaders import load
from model_loaders.saving import save
from tests.tiny import ROOT, WORDS, new_model

DOCUMENTS = [{"_id": "d1", "text": "one"}, {"_id": "d2", "text": "two"}]
QUERIES = [{"_id": "q1", "text": "first"}, {"_id": "q2", "text": "second"}]
HEAD = "query-id\tcorpus-id\tscore\n"


def read(
    folder: Path,
    judgements: str,
    documents: Sequence[Mapping[str, object]] = DOCUMENTS,
    queries: Sequence[Mapping[str, object]] = QUERIES,
) -> RetrievalSplit:
    """Write a task folder in BEIR's layout and read it."""
    (folder / "qrels").mkdir(exist_ok=True)
    for name, rows in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "qrels" / "test.tsv").write_text(judgements)
    return retrieval(list_folder(folder), "test")


def test_a_judged_document_may_be_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        split = read(tmp_path, HEAD + "q1\td1\t1\nq1\tgone\t1\nq2\tgone\t1\n")
    assert split["relevant_docs"]["q1"] == {"d1": 1, "gone": 1}  # never found, and counted
    assert split["corpus"]["id"][:] == ["d1", "d2"]
    assert "2 judgements name 1 documents" in caplog.text and "gone" in caplog.text


def test_a_judged_query_may_be_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        split = read(tmp_path, HEAD + "q1\td1\t1\ngone\td1\t1\n")
    assert list(split["relevant_docs"]) == ["q1"] == split["queries"]["id"][:]
    assert "1 of 2 judged queries" in caplog.text


def test_judgements_of_other_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none of its 1 queries"):
        read(tmp_path, HEAD + "x\td1\t1\n")
    with pytest.raises(UserError, match="none of the 1 documents"):
        read(tmp_path, HEAD + "q1\tx\t1\n")
    with pytest.raises(UserError, match="no query of"):
        read(tmp_path, HEAD + "q1\td1\t0\ngone\td1\t1\n")


@pytest.mark.parametrize("kind", [int, float, str])
def test_seven_point_zero_is_seven(tmp_path: Path, kind: type) -> None:
    documents = [{"_id": kind(7), "text": "one"}, {"_id": kind(8), "text": "two"}]
    queries = [{"_id": kind(1), "text": "first"}]
    for cells in ("1\t7\t1", "1.0\t7.0\t1.0"):
        split = read(tmp_path, f"{HEAD}{cells}\n", documents, queries)
        assert split["relevant_docs"] == {"1": {"7": 1}}
        assert split["corpus"]["id"][:] == ["7", "8"] and split["queries"]["id"][:] == ["1"]


def test_texts_as_ids_stay(tmp_path: Path) -> None:
    documents = [{"_id": "7.0", "text": "one"}, {"_id": "7", "text": "two"}, {"_id": "v1.0", "text": "three"}]
    split = read(tmp_path, HEAD + "q1\t7.0\t1\nq1\t7\t2\nq1\tv1.0\t1\n", documents)
    assert split["relevant_docs"] == {"q1": {"7.0": 1, "7": 2, "v1.0": 1}}


FAULTS = {
    "a score that is none": (HEAD + "q1\td1\t1\n\nq1\td2\thigh\n", 4),
    "a score beyond floats": (HEAD + "q1\td1\t1\nq1\td2\t1e400\n", 3),
    "half a grade": (HEAD + "q1\td1\t1\nq1\td2\t0.5\n", 3),
    "a line that ends early": (HEAD + "   \nq1\td1\t1\nq1\td2\n", 4),
    "an empty id": (HEAD + "\td1\t1\n", 2),
    "too many cells": (HEAD + "q1\td1\t1\t9\n", 2),
    "judged twice": (HEAD + "q1\td1\t1\nq1\td1\t2\n", 3),
    "no head": ("\nq1\td1\t1\n", 2),
    "Windows ends of lines": (HEAD.replace("\n", "\r\n") + "q1\td1\t1\r\nq1\td2\tx\r\n", 3),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_faults_of_judgements_name_the_line(tmp_path: Path, kind: str) -> None:
    judgements, line = FAULTS[kind]
    with pytest.raises(UserError, match=rf"test\.tsv:{line}: "):
        read(tmp_path, judgements)


def test_lines_of_spaces_are_passed_over(tmp_path: Path) -> None:
    split = read(tmp_path, "\n" + HEAD + "  \n\t\t\nq1\td1\t1\n \n")
    assert split["relevant_docs"] == {"q1": {"d1": 1}}


def test_copies_of_ids_name_the_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"queries\.jsonl:3: .*'q1' is not unique"):
        read(tmp_path, HEAD + "q1\td1\t1\n", queries=[*QUERIES, QUERIES[0]])


def test_keys_with_escapes_are_escaped(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no text") as error:
        read(tmp_path, HEAD + "q1\td1\t1\n", queries=[{"_id": "q1", "te\x1b[2Jxt": "first"}])
    assert "\x1b" not in str(error.value)
    assert name_fault("task\x9b31m")


def write_arguana(folder: Path) -> None:
    """Write a task as ArguAna's: each query is a document, which its id finds; of the judged documents five are not there."""
    rng = random.Random(0)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(4, 12))) for _ in range(80)]
    documents = [{"_id": f"d{index}", "title": "", "text": text} for index, text in enumerate(texts)]
    queries = [{"_id": f"d{index}", "text": texts[index]} for index in range(40)]
    lines = [f"d{index}\td{40 + index}\t1\n" for index in range(35)]
    lines += [f"d{index}\tgone{index}\t1\n" for index in range(33, 38)]  # two queries have one of each, three have none to find
    lines += ["d38\td3\t1\n", "d39\td4\t1\n"]
    (folder / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "qrels" / "test.tsv").write_text(HEAD + "".join(lines))


def mtebs_own_scores(adapter: Path, folder: Path) -> dict[str, float]:
    """Score the task's rows by mteb's own class and search, without any of our evaluation."""
    task = mteb.get_task("ArguAna")
    columns = {"corpus": ("id", "title", "text"), "queries": ("id", "text")}
    split: dict[str, Any] = {"relevant_docs": {}, "top_ranked": None}
    for name, keys in columns.items():
        rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        split[name] = Dataset.from_dict({key: [row["_id" if key == "id" else key] for row in rows] for key in keys})
    for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        split["relevant_docs"].setdefault(query, {})[document] = int(grade)
    task.dataset, task.data_loaded = {"default": {"test": split}}, True

    model = load(adapter, device="cpu")

    class Encoder(AbsEncoder):
        mteb_model_meta = ModelMeta.create_empty(overwrites={"name": "a/b", "similarity_fn_name": ScoringFunction.COSINE})

        def encode(self, inputs: Any, *, prompt_type: Any = None, **_: Any) -> Any:
            role = "query" if str(getattr(prompt_type, "value", prompt_type)) == "query" else "document"
            return model.encode([text for batch in inputs for text in batch["text"]], role=role)

    result = mteb.evaluate(Encoder(), task, cache=None, co2_tracker=False)
    scores = result.task_results[0].scores["test"][0]
    return {key: value for key, value in scores.items() if isinstance(value, float)}


def test_data_as_arguanas_are_scored_as_mteb_scores_them(base: Path, tmp_path: Path) -> None:
    adapter, folder = tmp_path / "adapter", tmp_path / "data" / "ArguAna"
    save(new_model("model1", base), adapter)
    write_arguana(folder)
    command = [sys.executable, str(ROOT / "run_mteb.py"), "--adapter_path", str(adapter), "--data_dir", str(tmp_path / "data"),
               "--output_dir", str(tmp_path / "out"), "--device", "cpu", "--prompts", "own"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "5 judgements name 5 documents that corpus.jsonl lacks" in done.stderr + done.stdout
    (path,) = [path for path in (tmp_path / "out").rglob("ArguAna.json") if "recipes" not in path.parts]
    ours = json.loads(path.read_text())["scores"]["test"][0]
    own = mtebs_own_scores(adapter, folder)
    assert own["main_score"] > 0.01
    for name, value in own.items():
        assert ours[name] == pytest.approx(value, abs=1e-5, nan_ok=True), name
