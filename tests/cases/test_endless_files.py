"""Files without an end: a pipe, a device, a line or a quoted cell that goes on. They are refused in bounded memory."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from common import lines
from common.errors import UserError
from common.file_hashes import FileHashes
from quickstart.corpus import build_corpus
from triplets import formats
from triplets.arguments import DataArguments
from triplets.read import read_triplets


@pytest.mark.parametrize("name", ["long.jsonl", "long.csv", "long.tsv", "long.csv.gz"])
def test_training_files_without_an_end_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A line without an end, as that of a dump of zeros, was read whole into memory."""
    monkeypatch.setattr(lines, "MOST_BYTES_OF_LINE", 1000)
    rows = {"jsonl": b'{"query": "a", "positive": "b"}\n', "csv": b"query,positive\n", "tsv": b"query\tpositive\n"}
    content = rows[name.split(".")[1]] + b"\0" * 5000
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(UserError, match=rf"{name}:2: the line has more than 1,000 bytes"):
        list(formats.rows(tmp_path / name))


def test_a_row_whose_quotation_mark_is_not_closed_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MOST_BYTES_OF_LINE", 1000)
    path = tmp_path / "open.csv"
    path.write_text('query,positive\na,b\n"c,d\n' + "e,f\n" * 5000)
    with pytest.raises(UserError, match=r"open.csv:3: the row has more than 1,000 bytes; is a quotation mark not closed"):
        list(formats.rows(path))


@pytest.mark.parametrize("name", ["train.jsonl", "train.csv", "train.parquet"])
def test_training_data_are_no_pipes(tmp_path: Path, name: str) -> None:
    """A pipe waited for ever, and a device has no end: neither is hashed nor read."""
    os.mkfifo(tmp_path / name)
    (tmp_path / "zero").mkdir()
    (tmp_path / "zero" / name).symlink_to("/dev/zero")
    for path in (tmp_path / name, tmp_path / "zero" / name):
        with pytest.raises(UserError, match="no regular file"):
            read_triplets(DataArguments(dataset_name=str(path)))
        with pytest.raises(UserError, match="no regular file"):
            FileHashes(tmp_path / "hashes.json").hash_of(path)


def test_the_quickstart_reads_as_the_others_do(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    os.mkfifo(path)
    with pytest.raises(UserError, match="no regular file"):
        list(lines.json_rows(path))
    path.unlink()
    for content, fault in (("[1]\n", "no JSON object"), ('{"query"\n', "no valid JSON")):
        path.write_text(content)
        with pytest.raises(UserError, match=f"rows.jsonl:1: .*{fault}"):
            list(lines.json_rows(path))
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "corpus.json").write_text('{"key": ')
    with pytest.raises(UserError, match=r"corpus.json .*delete the folder"):
        build_corpus(tmp_path / "corpus", ["json"])
