"""Rows are checked line by line; damage names the file and stops no other task."""

from __future__ import annotations

import gzip

import pytest

from common.errors import UserError
from evaluation.evaluate import evaluate
from evaluation.tasks.find import find_tasks
from evaluation.tasks.listing import listing
from evaluation.tasks.local_files import iter_rows
from tests.evaluation.conftest import BagOfWords, write
from tests.evaluation.tasks.scoring import failure

FILES = {
    "TinySTS": "test.jsonl",
    "TinyPair": "test.jsonl.gz",
    "TinyClassification": "train.jsonl",
    "TinyClustering": "test.jsonl",
    "TinyReranking": "test.jsonl",
    "TinyRetrieval": "queries.jsonl",
}


ROWS = [
    ("TinySTS", {"sentence1": 7}, "sentence1 must be a text, found 7"),
    ("TinySTS", {"sentence2": None}, "no sentence2"),
    ("TinySTS", {"sentence1": "a\ud800b"}, "sentence1 has half a character"),
    ("TinySTS", {"score": float("nan")}, "score must be a finite number"),
    ("TinySTS", {"score": "high"}, "score must be a number"),
    ("TinyPair", {"sentence2": ["x"]}, 'sentence2 must be a text, found ["x"]'),
    ("TinyPair", {"label": 2}, "labels of pairs are 0 and 1"),
    ("TinyClassification", {"label": None}, "no label"),
    ("TinyClassification", {"label": 0.5}, "label must be a text or a whole number"),
    ("TinyClassification", {"label": 10**30}, "label must fit 64 bits: write it as a text"),
    ("TinyClassification", {"text": 3.5}, "text must be a text"),
    ("TinyClustering", {"sentence": False}, "sentence must be a text"),
    ("TinyReranking", {"positive": [1]}, 'positive must be a list of texts: write ["a text"], found [1]'),
    ("TinyReranking", {"positive": "abc"}, 'positive must be a list of texts: write ["abc"], found "abc"'),
    ("TinyReranking", {"negative": "abc"}, 'negative must be a list of texts: write ["abc"], found "abc"'),
    ("TinyReranking", {"negative": ["a\ud800b"]}, "negative has half a character"),
    ("TinyReranking", {"query": {}}, "query must be a text"),
    ("TinyRetrieval", {"text": 12}, "text must be a text, found 12"),
    ("TinyRetrieval", {"text": None}, "no text"),
]


@pytest.mark.parametrize(
    "task, change, message", ROWS, ids=[f"{task} {next(iter(change))} {n}" for n, (task, change, _) in enumerate(ROWS)]
)
def test_bad_row_is_named(task, change, message, data_dir, tmp_path):
    path = data_dir / task / FILES[task]
    rows = list(iter_rows(path))
    write(path, [rows[0], {**rows[1], **change}, *rows[2:]])
    line = failure(data_dir, task, tmp_path)
    assert message in line
    if "labels of pairs" not in message:
        assert f"{path.name}:2: " in line


def test_title_that_is_no_text(data_dir, tmp_path):
    path = data_dir / "TinyRetrieval/corpus.jsonl.gz"
    rows = list(iter_rows(path))
    write(path, [{**rows[0], "title": 1984}, *rows[1:]])
    assert "corpus.jsonl.gz:1: title must be a text, found 1984" in failure(data_dir, "TinyRetrieval", tmp_path)


def test_malformed_line_is_named(data_dir):
    path = data_dir / "TinySTS/test.jsonl"
    path.write_text(path.read_text() + "{broken\n")
    (spec,) = find_tasks(["TinySTS"], data_dir)
    with pytest.raises(UserError, match=r"test.jsonl:30: no valid JSON"):
        spec.load(spec.task())


def test_windows_line_ends_and_marks(data_dir):
    """Editors and shells there write both; JSON lines, compressed ones, tables and task.json are read as without."""

    def loaded(name: str) -> object:
        (spec,) = find_tasks([name], data_dir)
        task = spec.task()
        spec.load(task)
        split = task.dataset["default"]["test"]
        if not isinstance(split, dict):
            return list(split)
        return [list(split["corpus"]), list(split["queries"]), split["relevant_docs"]]

    qrels = data_dir / "TinyRetrieval/qrels.test.jsonl"
    rows = [f"{row['query-id']}\t{row['corpus-id']}\t{row['score']}\n" for row in iter_rows(qrels)]
    qrels.unlink()
    (data_dir / "TinyRetrieval/qrels").mkdir()
    (data_dir / "TinyRetrieval/qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    (data_dir / "TinySTS/task.json").write_text('{"name": "Named"}\n')
    names = ["TinyRetrieval", "TinyPair", "Named"]
    before = [loaded(name) for name in names]
    for path in [path for name in ("TinyRetrieval", "TinyPair", "TinySTS") for path in (data_dir / name).rglob("*.*")]:
        content = path.read_bytes()
        plain = gzip.decompress(content) if path.suffix == ".gz" else content
        windows = b"\xef\xbb\xbf" + plain.replace(b"\n", b"\r\n")
        path.write_bytes(gzip.compress(windows) if path.suffix == ".gz" else windows)
    assert [loaded(name) for name in names] == before


def test_damage_stops_no_other_task(data_dir, tmp_path):
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
    assert "test.jsonl:1: no valid JSON" in result.failures["Deep"]
    assert result.failures["Empty"].endswith("test.jsonl is empty")
    assert "Damaged" in listing("", data_dir)


@pytest.mark.parametrize("value", [float("nan"), [], {}, True, "", 1.5, "\ud800"])
def test_bad_ids(data_dir, tmp_path, value):
    path = data_dir / "TinyRetrieval/queries.jsonl"
    write(path, [{"id": value, "text": "bread"}, *iter_rows(path)])
    assert "queries.jsonl:1: id " in failure(data_dir, "TinyRetrieval", tmp_path)
