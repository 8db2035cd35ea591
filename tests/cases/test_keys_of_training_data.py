"""Training data of other toolkits: negatives are read or refused by name, labels never pass, what is not read is named."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from tests.trainers.commands import SMALL, arguments
from trainers.check_data import main
from trainers.flags.command_line import parse
from trainers.run.build import build_trainer
from triplets.arguments import DataArguments
from triplets.read import read_triplets

PAIR = {"query": "q", "positive": "p"}


def jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def table(path: Path, *rows: list[str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter="\t" if path.suffix == ".tsv" else ",").writerows(rows)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return list(read_triplets(DataArguments(dataset_name=str(path)), cache_dir=path.parent / "cache"))


def refused(path: Path) -> str:
    with pytest.raises(UserError) as raised:
        read(path)
    return str(raised.value)


def test_numbered_negatives_are_read_in_their_order(tmp_path: Path) -> None:
    row = {**PAIR, **{f"negative_{number}": f"n{number}" for number in (10, 2, 1)}}
    with_gaps = {**PAIR, "negative": None, "negative_1": "", "negative_2": "n2", "negative_3": None}
    rows = read(jsonl(tmp_path / "d.jsonl", row, with_gaps, {**PAIR, "negative1": "a"}))
    assert [row["negatives"] for row in rows] == [["n1", "n2", "n10"], ["n2"], ["a"]]
    path = table(
        tmp_path / "d.csv", ["query", "positive", "negative_1", "negative_2"], ["q", "p", "a", "b"], ["q", "p", "a", ""]
    )
    assert [row["negatives"] for row in read(path)] == [["a", "b"], ["a"]]


def test_numbered_negatives_change_what_a_run_goes_on_with(tmp_path: Path) -> None:
    """An earlier version read none of them: a run that it began does not go on with other data."""
    data = DataArguments(dataset_name=str(jsonl(tmp_path / "d.jsonl", {**PAIR, "negative_1": "n"})))
    with_columns = read_triplets(data, cache_dir=tmp_path / "c").parts[0]
    assert with_columns.report is not None and with_columns.report.numbered == 1


@pytest.mark.parametrize(
    ("key", "value", "advice"),
    [
        ("hard_negatives", ["n"], "rename 'hard_negatives' to 'negative'"),
        ("hard-negatives", ["n"], "rename"),
        ("negative_passages", ["n"], "rename 'negative_passages' to 'negative'"),
        ("negative_passages", [{"docid": "1", "text": "n"}], "list of their texts, called 'negative'"),
        ("negative_ctxs", [{"text": "n"}], "'negative'"),
        ("hard_negative_ctxs", [{"text": "n"}], "'negative'"),
        ("rejected_response", ["n"], "rename 'rejected_response' to 'negative'"),
        ("rejected", "n", "'negative'"),
        ("mined_negatives", ["n"], "'negative'"),
        ("negative_documents", ["n"], "'negative'"),
        ("Negative_1", "n", "make one list 'negative'"),
        ("neg_1", "n", "make one list 'negative'"),
        ("hard_negative_2", "n", "make one list 'negative'"),
        ("negatve", ["n"], "'negatve' to 'negative'"),
        ("positive_2", "p", "make one list 'positive'"),
    ],
)
def test_texts_under_other_names_are_refused(key: str, value: object, advice: str, tmp_path: Path) -> None:
    error = refused(jsonl(tmp_path / "d.jsonl", {**PAIR, key: value}))
    assert "d.jsonl:1: " in error and advice in error


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("neg_scores", [0.1]),
        ("negative_ids", ["7"]),
        ("hard_negatives", []),
        ("negatives", 3),
        ("id", "1"),
        ("margins", [1.0, 0.2]),
    ],
)
def test_keys_without_such_texts_are_named_and_left(key: str, value: object, tmp_path: Path) -> None:
    rows = read_triplets(
        DataArguments(dataset_name=str(jsonl(tmp_path / "d.jsonl", {**PAIR, "negative": "n", key: value}))),
        cache_dir=tmp_path / "c",
    )
    report = rows.parts[0].report
    assert report is not None and report.ignored_keys == {key: 1}


def test_negatives_in_two_places_are_refused(tmp_path: Path) -> None:
    assert "both 'negative' and 'negative_1'" in refused(
        jsonl(tmp_path / "d.jsonl", {**PAIR, "negative": "m", "negative_1": "n"})
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [("label", 0), ("label", 1), ("Label", "entailment"), ("score", 0.2), ("similarity_score", 4.8), ("labels", [1, 0]),
     ("is_duplicate", False), ("relevance", 0)],
)  # fmt: skip
@pytest.mark.parametrize("names", [("query", "positive"), ("sentence1", "sentence2"), ("text1", "text2")])
def test_labelled_pairs_are_no_triplets(names: tuple[str, str], key: str, value: object, tmp_path: Path) -> None:
    error = refused(jsonl(tmp_path / "d.jsonl", dict(zip(names, "qp", strict=True)) | {key: value}))
    assert f"label ({key!r})" in error and "no positive" in error and "'negative'" in error
    assert "rename" not in error


def test_labels_of_a_table(tmp_path: Path) -> None:
    for name in ("d.csv", "d.tsv"):
        assert "label ('score')" in refused(table(tmp_path / name, ["sentence1", "sentence2", "score"], ["a", "b", "0.1"]))


@pytest.mark.parametrize(
    "text", ["['a', 'b']", '["a", "b"]', "['a' 'b']", "['a'\n 'b']", "array(['a', 'b'], dtype=object)", "('a', 'b')", "[]"]
)
def test_a_printed_list_is_no_negative(text: str, tmp_path: Path) -> None:
    in_cell = refused(table(tmp_path / "d.csv", ["query", "positive", "negative"], ["q", "p", text]))
    assert "'negative' is a list that was printed" in in_cell and "JSON lines or Parquet" in in_cell
    assert "printed" in refused(jsonl(tmp_path / "d.jsonl", {**PAIR, "negative": text}))
    assert "printed" in refused(jsonl(tmp_path / "e.jsonl", {**PAIR, "negative_1": text}))


def test_a_text_in_brackets_is_a_text(tmp_path: Path) -> None:
    texts = ["[1] a footnote [2]", "(a remark)", "[[link]]", "['quoted'] at the beginning", "[0.1, 0.2]", "(-" * 5000 + "]"]
    assert read(jsonl(tmp_path / "d.jsonl", {**PAIR, "negative": texts}))[0]["negatives"] == texts


def test_two_columns_or_keys_of_one_name(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "d.jsonl"
    path.write_text('{"query": "q", "positive": "p"}\n{"query": "q", "positive": "p", "negative": "a", "negative": "b"}\n')
    assert "d.jsonl:2: the key 'negative' stands twice" in refused(path)
    for name in ("d.csv", "d.tsv"):
        header = ["query", "positive", "negative", "negative"]
        assert f"{name}:1: 2 columns have the name 'negative'" in refused(table(tmp_path / name, header, list("qpab")))
    pq.write_table(pa.table([["q"], ["p"], ["r"]], names=["query", "positive", "positive"]), tmp_path / "d.parquet")
    assert "2 columns have the name 'positive'" in refused(tmp_path / "d.parquet")


def test_every_key_that_is_not_read_is_named(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    keys = [f"key{number}" for number in range(30)]
    path = jsonl(tmp_path / "d.jsonl", *[{**PAIR, **dict.fromkeys(keys, "x"), "key\x1b[31m": 1}] * 4)
    assert main(["--dataset_name", str(path), "--cache_dir", str(tmp_path / "c")]) == 0
    check = capsys.readouterr().out
    evaluation = jsonl(tmp_path / "e.jsonl", *[{**PAIR, "source": "web"}] * 2)
    flags = ["--dataset_name", str(path), "--eval_dataset", str(evaluation)]
    build_trainer(parse(arguments(base, tmp_path, *SMALL, *flags), design="model3"))
    banner = capsys.readouterr().out
    for text in (check, banner, caplog.text):
        assert all(f"{key}" in text for key in keys)
        assert "\x1b" not in text
    assert "key0 (4 rows)" in check
    assert "source" in banner and "\\x1b[31m" in banner
