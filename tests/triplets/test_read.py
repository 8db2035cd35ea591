"""Training data: every format read the same, every mistake named by file and line, nothing read from an old copy."""

from __future__ import annotations

import csv
import gzip
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from tests.tiny import ROOT
from triplets.arguments import DataArguments
from triplets.folders import data_files, training_files
from triplets.read import read_eval_triplets, read_triplets

ROWS: list[dict[str, Any]] = [
    {"query": "q0", "positive": "p0", "negative": ["n0", "n0b"]},
    {"query": "q1", "positive": "p1", "negative": "n1"},
    {"query": "q2", "positive": " p2 \n", "negative": []},
    {"query": "q3é", "positive": "p3"},
    {"query": "q4", "positive": "p4", "negative": None},
]
READ = [
    {"query": "q0", "positive": "p0", "negatives": ["n0", "n0b"]},
    {"query": "q1", "positive": "p1", "negatives": ["n1"]},
    {"query": "q2", "positive": " p2 \n", "negatives": []},
    {"query": "q3é", "positive": "p3", "negatives": []},
    {"query": "q4", "positive": "p4", "negatives": []},
]
Read = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read a data set with a cache of its own, as a list of rows."""

    def run(name: Path | str | None, **options: Any) -> list[dict[str, Any]]:
        data = DataArguments(dataset_name=None if name is None else str(name), **options)
        return texts_of(read_triplets(data, cache_dir=tmp_path / "cache"))

    return run


def texts_of(rows: Any) -> list[dict[str, Any]]:
    return [{key: row[key] for key in ("query", "positive", "negatives")} for row in rows]


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(lines(rows), encoding="utf-8")
    return path


def message(read: Read, name: Path | str | None, **options: Any) -> str:
    with pytest.raises(UserError) as raised:
        read(name, **options)
    return str(raised.value)


# Formats and places


def test_json_lines(read: Read, tmp_path: Path) -> None:
    assert read(jsonl(tmp_path / "d.jsonl", ROWS)) == READ
    compressed = tmp_path / "d.jsonl.gz"
    compressed.write_bytes(gzip.compress(lines(ROWS).encode()))
    assert read(compressed) == READ


def test_byte_order_mark_blank_lines_and_windows_line_ends(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + lines(ROWS[:2]).encode().replace(b"\n", b"\r\n\r\n"))
    assert read(path) == READ[:2]


def test_parquet(read: Read, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{**row, "negative": [row["negative"]] if row.get("negative") == "n1" else row.get("negative")} for row in ROWS]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    assert read(tmp_path / "d.parquet") == READ


def test_csv(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    long = "x" * 200_000  # above the csv module's own limit
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["query", "positive", "negative"], ["q, 0", "p\n0", "n0"], ["q1", long, ""]])
    expected = [{"query": "q, 0", "positive": "p\n0", "negatives": ["n0"]}, {"query": "q1", "positive": long, "negatives": []}]
    assert read(path) == expected
    assert csv.field_size_limit() == 131072  # left as it was


def test_columns_and_types_of_the_result(tmp_path: Path) -> None:
    from datasets import Features, List, Value

    data = DataArguments(dataset_name=str(jsonl(tmp_path / "d.jsonl", ROWS[3:])))  # no negative anywhere
    result = read_triplets(data, cache_dir=tmp_path / "cache").parts[0].rows
    texts = {"query": Value("string"), "positive": Value("string"), "negatives": List(Value("string"))}
    expected = Features({**texts, "place": Value("string"), "scores": List(Value("float64"))})
    assert result.features == expected
    assert result.cache_files and Path(result.cache_files[0]["filename"]).is_relative_to(tmp_path / "cache")  # on disk


def test_a_folder_is_all_its_data_files_in_the_order_of_their_names(read: Read, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    jsonl(folder / "b.jsonl", ROWS[3:])
    jsonl(folder / "a.jsonl", ROWS[:2])
    jsonl(folder / "a" / "z.jsonl", ROWS[2:3])
    jsonl(folder / ".hidden" / "x.jsonl", [{"bad": 1}])
    (folder / "README.md").write_text("no data")
    (folder / "dataset_info.json").write_text("{\n}")
    assert sorted(row["query"] for row in read(folder)) == [row["query"] for row in READ]
    assert read(folder) == read(folder)
    assert read(folder)[-1] == READ[-1]


def test_a_folder_with_splits_is_not_trained_on_with_its_test_set(read: Read, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    jsonl(folder / "train-00000-of-00001.jsonl", ROWS[:1])
    jsonl(folder / "test.jsonl", ROWS[1:2])
    jsonl(folder / "dev.jsonl", ROWS[2:3])
    jsonl(folder / "more_devices.jsonl", ROWS[3:4])
    assert [row["query"] for row in read(folder)] == ["q3é", "q0"]
    assert read(folder, dataset_split="test") == READ[1:2]
    assert read(folder, dataset_split="validation") == READ[2:3]
    assert "'other'" in message(read, folder, dataset_split="other")
    data = DataArguments(dataset_name="d", eval_dataset=str(folder))
    evaluation = read_eval_triplets(data, cache_dir=tmp_path / "cache")
    assert evaluation is not None and texts_of(evaluation) == READ[2:3]


def test_evaluation_triplets(tmp_path: Path) -> None:
    path = str(jsonl(tmp_path / "d.jsonl", ROWS))
    assert read_eval_triplets(DataArguments(dataset_name=path), cache_dir=tmp_path) is None
    data = DataArguments(dataset_name="missing", eval_dataset=path, max_eval_samples=2, max_train_samples=1)
    result = read_eval_triplets(data, cache_dir=tmp_path)
    assert result is not None and texts_of(result) == READ[:2]


def test_dataset_file_path(read: Read, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "data" / "d.jsonl", ROWS)
    jsonl(tmp_path / "data" / "e.jsonl", ROWS[:1])
    assert read(None, dataset_file_path=str(path)) == READ
    assert read(tmp_path / "data", dataset_file_path="d.jsonl") == READ
    assert "d.jsonl" in message(read, tmp_path / "data", dataset_file_path="dd.jsonl")
    both = message(read, path, dataset_file_path=str(path))
    assert "--dataset_name" in both and "--dataset_file_path" in both


def test_a_local_path_wins_over_a_hub_name(read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    jsonl(tmp_path / "owner" / "name" / "d.jsonl", ROWS)
    assert read("owner/name") == READ


# What is taken of it


def test_limits(read: Read, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", [*ROWS, {"query": ""}])
    assert read(path, max_train_samples=3) == READ[:3]  # the invalid row behind is not reached
    good = jsonl(tmp_path / "e.jsonl", ROWS)
    assert read(good, max_train_samples=99) == READ
    assert [row["negatives"] for row in read(good, max_negatives=1)] == [["n0"], ["n1"], [], [], []]
    assert [row["negatives"] for row in read(good, max_negatives=0)] == [[]] * 5


def test_several_positives_become_as_many_triplets(read: Read, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"query": "q", "positive": ["a", "b"], "negative": "n"}, {"query": "r", "positive": ["c"]}]
    path = jsonl(tmp_path / "d.jsonl", rows)
    assert [(row["query"], row["positive"], row["negatives"]) for row in read(path)] == [
        ("q", "a", ["n"]), ("q", "b", ["n"]), ("r", "c", []),
    ]  # fmt: skip
    assert "1 rows have several positives" in caplog.text
    assert [row["positive"] for row in read(path, max_train_samples=1)] == ["a"]


def test_each_triplet_knows_its_place(tmp_path: Path) -> None:
    """The line in the file, also behind blank lines; the triplets of one row have one place."""
    path = tmp_path / "d.jsonl"
    path.write_text(lines(ROWS[:1]) + "\n" + lines([{"query": "q", "positive": ["a", "b"]}]))
    rows = read_triplets(DataArguments(dataset_name=str(path)), cache_dir=tmp_path / "cache")
    assert [row["place"] for row in rows] == [f"{path}:1", f"{path}:3", f"{path}:3"]


def test_more_rows_than_one_batch(read: Read, tmp_path: Path) -> None:
    rows = [{"query": f"q{index}", "positive": "p", "negative": ["n"] * (index % 3)} for index in range(2500)]
    result = read(jsonl(tmp_path / "d.jsonl", rows))
    assert [row["query"] for row in result] == [row["query"] for row in rows]
    assert [len(row["negatives"]) for row in result] == [index % 3 for index in range(2500)]


MEASURE = """
import re, sys, time
from pathlib import Path
import datasets, pyarrow, torch
from trainers.flags.arguments import DataArguments
from triplets.batch_plan import BatchPlan
from triplets.read import read_triplets

def own_megabytes():  # MiB, without the pages of mapped files, which the system takes back when it needs them
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

before, start = own_megabytes(), time.monotonic()
rows = read_triplets(DataArguments(dataset_name=sys.argv[1]), cache_dir=sys.argv[2])
prepared, texts, middle = own_megabytes(), 0, time.monotonic()
for batch in BatchPlan(rows.shares, 64, seed=1):
    texts += sum(2 + len(row["negatives"]) for row in rows.__getitems__(batch))
print(texts, prepared - before, own_megabytes() - before, middle - start, time.monotonic() - middle)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc")
def test_data_larger_than_memory(tmp_path: Path) -> None:
    """300 MB of rows are prepared and read in random order in a tenth of that."""
    path, filler, rows = tmp_path / "d.jsonl", "some words " * 60, 0
    with path.open("w", encoding="utf-8") as stream:
        while stream.tell() < 300e6:
            rows += 1
            stream.write(
                json.dumps({"query": f"query {rows}", "positive": filler, "negative": [f"{k} {filler}" for k in "abc"]})
            )
            stream.write("\n")
    command = [sys.executable, "-c", MEASURE, str(path), str(tmp_path / "cache")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    texts, prepared, read, preparing, reading = map(float, done.stdout.split())
    print(f"{rows:,} rows prepared in {preparing:.1f} s, read in {reading:.1f} s; {max(prepared, read):.0f} MiB")
    assert texts == 5 * rows
    assert max(prepared, read) < 60


def test_no_random_state_is_touched(read: Read, tmp_path: Path) -> None:
    import random

    import numpy
    import torch

    path = jsonl(tmp_path / "d.jsonl", ROWS)
    before = (random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    read(path)
    assert before == (random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


# The cache


def test_a_changed_file_is_read_again(read: Read, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", ROWS[:1])
    stamp = path.stat()
    assert read(path) == READ[:1]
    path.write_text(path.read_text().replace("q0", "Q0"))  # same path, same size, same time
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert read(path)[0]["query"] == "Q0"


def test_prepared_data_is_used_again_and_warns_again(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = jsonl(tmp_path / "d.jsonl", [{"query": "q", "postive": "p"}])
    first = read(path)
    assert "postive" in caplog.text
    caplog.clear()
    monkeypatch.setattr("triplets.prepare._prepare", lambda *args, **kwargs: pytest.fail("prepared twice"))
    assert read(path) == first
    assert "postive" in caplog.text


def test_nothing_unfinished_is_left_behind(read: Read, tmp_path: Path) -> None:
    message(read, jsonl(tmp_path / "d.jsonl", [*ROWS, {"query": 3}]))
    assert list((tmp_path / "cache" / "triplets").iterdir()) == []
    read(jsonl(tmp_path / "d.jsonl", ROWS))
    assert sorted(file.suffix for file in (tmp_path / "cache" / "triplets").iterdir()) == [".arrow", ".json"]


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UserError, match="--cache_dir"):
        read_triplets(DataArguments(dataset_name=str(jsonl(tmp_path / "d.jsonl", ROWS))), cache_dir=blocked)


# Mistakes


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        ({"positive": "p"}, ["no key 'query'", "positive"]),
        ({"query": "q", "other": "p"}, ["no key 'positive'", "query, other"]),
        ({"query": "q", "pos": ["p"]}, ["rename 'pos' to 'positive'"]),
        ({"question": "q", "positive": "p"}, ["rename 'question' to 'query'"]),
        ({"Query": "q", "positive": "p"}, ["rename 'Query' to 'query'"]),
        ({"query": "q", "positive": "p", "negatives": ["n"]}, ["rename 'negatives' to 'negative'"]),
        ({"query": "q", "positive": "p", "neg": ["n"]}, ["rename 'neg' to 'negative'"]),
        ({"query": "q", "positive": "p", "postive": "p"}, ["both", "postive"]),
        ({"query": " \n", "positive": "p"}, ["'query' is empty"]),
        ({"query": "q", "positive": ""}, ["'positive' is empty"]),
        ({"query": "q", "positive": []}, ["'positive' is an empty list"]),
        ({"query": "q", "positive": None}, ["'positive' is null"]),
        ({"query": ["q"], "positive": "p"}, ["'query'", "a list"]),
        ({"query": 3, "positive": "p"}, ["'query'", "a number"]),
        ({"query": "q", "positive": "p", "negative": ["n", 3]}, ["negative[1]", "a number"]),
        ({"query": "q", "positive": "p", "negative": ["n", " "]}, ["negative[1]", "empty"]),
        ({"query": "q", "positive": "p", "negative": {"a": 1}}, ["'negative'", "an object"]),
        ({"query": "q\ud800", "positive": "p"}, ["'query'", "surrogate"]),
        (["q", "p"], ["a list", "query, positive, negative"]),
        ("q", ["a text"]),
    ],
)
def test_invalid_rows_are_refused_or_skipped(
    row: Any, parts: list[str], read: Read, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = jsonl(tmp_path / "d.jsonl", [ROWS[0], row, ROWS[1]])
    error = message(read, path)
    assert f"{path}:2: " in error and "1 of 3 rows" in error and "--on_invalid_rows skip" in error
    for part in parts:
        assert part in error
    assert read(path, on_invalid_rows="skip") == READ[:2]
    assert "1 of 3 rows skipped" in caplog.text and f"{path}:2" in caplog.text


def test_other_keys_are_left_alone(read: Read, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = jsonl(tmp_path / "d.jsonl", [{**ROWS[0], "id": 3, "negatives": "beside negative it means nothing"}])
    assert read(path) == READ[:1]
    assert "id, negatives" in caplog.text


def test_the_published_misspelling_is_accepted_with_a_warning(
    read: Read, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = jsonl(tmp_path / "d.jsonl", [{"query": "q", "postive": "p", "negative": "n"}] * 2)
    assert read(path) == [{"query": "q", "positive": "p", "negatives": ["n"]}] * 2
    assert any(record.levelno == logging.WARNING and "2 rows" in record.message for record in caplog.records)


def test_many_invalid_rows_are_counted_and_a_few_shown(read: Read, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", [ROWS[0], *[{"query": "", "positive": "p"}] * 40])
    error = message(read, path)
    assert "40 of 41 rows" in error and "and 35 more" in error
    assert error.count("d.jsonl:") == 5 + 1  # five examples, and the name in front


@pytest.mark.parametrize("on_invalid_rows", ["error", "skip"])
@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b'{"query": "q", "positive": "p"}\n{"query": "q", \n', [":2: no valid JSON", "column"]),
        (b'{"query": "q", "positive": "p"}\n{"query": "\xff"}\n', [":2: no UTF-8"]),
        (b'[{"query": "q", "positive": "p"},\n', [":1: no valid JSON", "one object a line"]),
    ],
)
def test_a_damaged_line_is_always_an_error(
    content: bytes, parts: list[str], on_invalid_rows: str, read: Read, tmp_path: Path
) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(content)
    error = message(read, path, on_invalid_rows=on_invalid_rows)
    assert str(path) in error and all(part in error for part in parts)


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("d.jsonl.gz", gzip.compress(lines(ROWS * 50).encode())[:-20], "cannot be read"),
        ("d.jsonl.gz", b"no gzip at all", "cannot be read"),
        ("d.parquet", b"no parquet", "no valid Parquet"),
        ("d.csv", b"query,positive\nq,p,x\n", ":2: more cells"),
        ("d.csv", b'query,positive\n"q,p\n', "no valid CSV"),
        ("d.csv", b"query,positive\nq\n", ":2: no key 'positive'"),
        ("d.csv", b"query\tpositive\nq\tp\n", "no key 'query'"),
        ("d.txt", b"", ".jsonl"),
        ("d.jsonl", b"", "there is no row"),
        ("d.jsonl", b"\n\n", "there is no row"),
        ("d.csv", b"query,positive\n", "there is no row"),
    ],
)
def test_damaged_and_empty_files(name: str, content: bytes, part: str, read: Read, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    error = message(read, path)
    assert str(path) in error and part in error


def test_nothing_left_after_skipping(read: Read, tmp_path: Path) -> None:
    error = message(read, jsonl(tmp_path / "d.jsonl", [{"query": ""}] * 3), on_invalid_rows="skip")
    assert "none of the 3 rows" in error and ":1: " in error


def test_missing_files_name_the_nearest(read: Read, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "triplets.jsonl", ROWS)
    assert str(path) in message(read, tmp_path / "tripletts.jsonl")
    assert "nowhere" in message(read, tmp_path / "nowhere" / "d.jsonl")
    assert "d.jsonl" in message(read, "d.jsonl")  # not taken for a hub name
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("")
    assert "notes.txt" in message(read, tmp_path / "empty")
    assert "'test'" in message(read, path, dataset_split="test")


@pytest.mark.parametrize("offline", [True, False])
def test_a_hub_name_without_network_fails_soon_and_says_what_to_do(
    offline: bool, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets.config
    import huggingface_hub.constants

    def no_network(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    start = time.perf_counter()
    error = message(read, "owner/some-data-set")
    assert time.perf_counter() - start < 5
    for part in ("'owner/some-data-set'", "network", "HF_HUB_OFFLINE=1", "--dataset_name"):
        assert part in error


def test_a_hub_data_set_is_checked_row_by_row(read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import huggingface_hub

    asked: dict[str, Any] = {}

    def load_dataset(name: str, config: str | None, **options: Any) -> Any:
        asked.update(options, name=name)
        return datasets.Dataset.from_list([{"query": "q", "positive": "p", "negative": "n"}, {"query": "", "positive": "p"}])

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda self, name, timeout: None)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    error = message(read, "owner/data", dataset_file_path="part.jsonl", dataset_split="train[:50%]")
    assert "owner/data[train[:50%]]:row 2: 'query' is empty" in error
    assert (asked["name"], asked["data_files"], asked["split"]) == ("owner/data", "part.jsonl", "train[:50%]")
    assert read("owner/data", on_invalid_rows="skip") == [{"query": "q", "positive": "p", "negatives": ["n"]}]
    data = DataArguments(dataset_name="owner/data", on_invalid_rows="skip")
    assert [row["place"] for row in read_triplets(data, cache_dir=tmp_path)] == ["owner/data[train]:row 1"]


def test_folders_named_after_splits_are_splits(read: Read, tmp_path: Path) -> None:
    """As the hub lays out data that it has converted."""
    for split in ("train", "test", "val"):
        (tmp_path / "data" / split).mkdir(parents=True)
        row = {"query": f"of {split}", "positive": "p"}
        (tmp_path / "data" / split / "0000.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "data" / "more.jsonl").write_text(json.dumps({"query": "of no split", "positive": "p"}) + "\n")
    names = [file.relative_to(tmp_path / "data").as_posix() for file in data_files(tmp_path / "data", "train")]
    assert names == ["more.jsonl", "train/0000.jsonl"]
    assert [file.parent.name for file in data_files(tmp_path / "data", "dev")] == ["val"]
    assert len(data_files(tmp_path / "data")) == 4
    with pytest.raises(UserError, match=r"none of the 1 data files belongs to the split 'train': test/0000.jsonl"):
        (tmp_path / "test").mkdir()
        (tmp_path / "test" / "test").mkdir()
        (tmp_path / "test" / "test" / "0000.jsonl").write_text("{}")
        data_files(tmp_path / "test", "train")


@pytest.mark.parametrize(
    "names",
    [
        "training.jsonl testing.jsonl", "nq-train.jsonl nq-test.jsonl", "en_train.csv en_test.csv", "trainset.csv testset.csv",
        "train.jsonl eval.jsonl", "a.Train.jsonl.gz a.VAL.jsonl.gz", "train-00000-of-00002.parquet dev2.parquet",
        "nq_train/0.jsonl nq_dev/0.jsonl", "contest.jsonl test.jsonl", "latest.tsv evaluation_2.tsv",
        "x-train-0.tsv x-valid-0.tsv",
    ],
)  # fmt: skip
def test_a_split_stands_between_separators_of_a_name(names: str, tmp_path: Path) -> None:
    for name in names.split():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [file.relative_to(tmp_path).as_posix() for file in data_files(tmp_path, "train")] == names.split()[:1]
    assert len(data_files(tmp_path)) == 2


def test_a_split_of_other_names_is_asked_for_by_each_of_them(tmp_path: Path) -> None:
    for name in ("training", "nq-valset", "nq-testing", "eval"):
        (tmp_path / f"{name}.jsonl").touch()
    for split, name in {"validation": "nq-valset", "dev": "nq-valset", "test": "nq-testing", "evaluation": "eval"}.items():
        assert [file.stem for file in data_files(tmp_path, split)] == [name]
    with pytest.raises(UserError, match="named itself is read whatever its name"):
        data_files(tmp_path, "validated")


def test_tsv_in_a_folder_is_read_and_what_is_not_read_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "qrels").mkdir()
    for name in ("a.tsv", "b.jsonl", "c.json", "dataset_info.json", "b.jsonl.report.json", "qrels/test.tsv"):
        (tmp_path / name).touch()
    assert [file.name for file in training_files(tmp_path)] == ["a.tsv", "b.jsonl"]
    assert "not read, unless it is named itself: c.json, qrels/test.tsv" in caplog.text
    assert "data files that are read: a.tsv, b.jsonl" in capsys.readouterr().err
    (tmp_path / "only").mkdir()
    (tmp_path / "only/only.json").touch()
    with pytest.raises(UserError, match=r"only\.json.*: read only where it is named itself"):
        data_files(tmp_path / "only")
