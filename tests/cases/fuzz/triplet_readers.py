"""Readers of training data: triplets in each format, and the list of several data sets."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from hypothesis import strategies as st

from tests.cases.fuzz.documents import DEEP, json_text
from tests.cases.fuzz.mutations import CHANGES, Draw, Files, mutated_bytes, mutated_value
from tests.cases.fuzz.reader import Reader
from triplets.arguments import DataArguments
from triplets.data_sets import DataSet, resolve
from triplets.read import read_triplets

ROWS: list[dict[str, Any]] = [
    {"query": "what is pooling?", "positive": "a mean, or more", "negative": ["one", "two"]},
    {"query": "que é?", "positive": ["first", "second"], "negative": "a \"quoted\" text"},
    {"query": "third", "positive": "with, comma\tand tab", "note": 3},
    {"query": "fourth", "positive": "yes", "negative_1": "no", "negative_2": "never"},
]  # fmt: skip
FLAT = [{"query": f"q {number}", "positive": f"p {number}, x", "negative": f'n "{number}"'} for number in range(4)]
Texts = list[tuple[str, str, list[str]]]


def unpacked(path: Path) -> bytes:
    """Return a file's content, of a .gz file what is packed."""
    content = path.read_bytes()
    return gzip.decompress(content) if path.name.endswith(".gz") else content


def expected(rows: list[dict[str, Any]]) -> Texts:
    """Return the texts of rows that are known to be valid."""
    texts = []
    for row in rows:
        positives = row.get("positive", row.get("postive"))
        negatives = row.get("negative")
        if negatives in (None, []) or (isinstance(negatives, str) and not negatives.strip()):
            numbered = [key for key in row if key.replace("_", "").removeprefix("negative").isdecimal()]
            numbered.sort(key=lambda key: int(key.replace("_", "").removeprefix("negative")))
            negatives = [row[key] for key in numbered if key.startswith("negative") and row[key] and row[key].strip()]
        for positive in positives if isinstance(positives, list) else [positives]:
            texts.append((row["query"], positive, [negatives] if isinstance(negatives, str) else negatives))
    return texts


def json_rows(path: Path) -> list[Any]:
    """Return the objects of a file of JSON lines."""
    lines = unpacked(path).removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [json.loads(line.decode().strip()) for line in lines if line.decode().strip()]


def table_rows(path: Path) -> list[Any]:
    """Return the rows of a table of cells."""
    delimiter = "\t" if ".tsv" in path.name else ","
    text = unpacked(path).decode("utf-8-sig")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    filled = [row for row in rows if row and (len(row) > 1 or row[0].strip())]
    return [dict(zip(filled[0], row, strict=False)) for row in filled[1:]]


def parquet_rows(path: Path) -> list[Any]:
    """Return the rows of a Parquet file."""
    return list(pq.read_table(path).to_pylist())


def read(folder: Path, name: str) -> Texts:
    """Read triplets as a training does."""
    rows = read_triplets(DataArguments(dataset_name=str(folder / name)), cache_dir=folder / "cache")
    texts = []
    for index in range(len(rows)):
        row = rows[index]
        texts.append((row["query"], row["positive"], row["negatives"]))
    return texts


def table(delimiter: str) -> bytes:
    """Return a valid table."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(FLAT[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(FLAT)
    return stream.getvalue().encode()


def parquet(columns: dict[str, Any]) -> bytes:
    """Return a Parquet file of some columns."""
    stream = io.BytesIO()
    pq.write_table(pa.table(list(columns.values()), names=list(columns)), stream)
    return stream.getvalue()


def odd_parquet(draw: Draw, content: bytes) -> bytes:
    """Return a Parquet file with a column of another type, of no valid texts, of another name, or changed bytes."""
    if draw(st.booleans()):
        return mutated_bytes(draw, content)
    columns = {name: list(column) for name, column in zip(content_columns(content), content_values(content), strict=True)}
    name = draw(st.sampled_from(sorted(columns)))
    count = len(columns[name])
    odd = (
        pa.array([b"\xff\xfe"] * count),
        pa.array([b"plain"] * count, pa.large_binary()),
        pa.array([1] * count),
        pa.array([float("nan")] * count),
        pa.nulls(count),
        pa.array([2**62] * count, pa.timestamp("s")),
        pa.array([2**62] * count, pa.timestamp("ns")),
        pa.array([2**30] * count, pa.date32()),
        pa.array([2**62] * count, pa.duration("us")),
        pa.array([1] * count, pa.decimal128(38, 2)),
        pa.array([{"a": "text"}] * count),
        pa.array([[("key", "text")]] * count, pa.map_(pa.string(), pa.string())),
        pa.array(["a", "b", "a", "b"][:count]).dictionary_encode(),
        pa.array([["x", None]] * count),
        pa.array([[["x"]]] * count),
        pa.array(["x" * 70_000] * count, pa.large_string()),
        pa.StringArray.from_buffers(count, pa.py_buffer(offsets(count)), pa.py_buffer(b"\xff" * count)),
    )
    arrays = {key: pa.array(column) for key, column in columns.items()}
    arrays[name] = draw(st.sampled_from(odd))
    key = draw(st.sampled_from((name, name, name, "label", "negatives", "", "\ud83d", "negative_1")))
    names = [key if old == name else old for old in arrays]
    stream = io.BytesIO()
    try:
        pq.write_table(pa.table(list(arrays.values()), names=names), stream)
    except (pa.ArrowException, UnicodeEncodeError):
        return mutated_bytes(draw, content)
    return stream.getvalue()


def offsets(count: int) -> bytes:
    """Return the offsets of texts of one byte."""
    return b"".join(number.to_bytes(4, "little") for number in range(count + 1))


def content_columns(content: bytes) -> list[str]:
    """Return the names of a file's columns."""
    return list(pq.read_table(io.BytesIO(content)).column_names)


def content_values(content: bytes) -> list[Any]:
    """Return the values of a file's columns."""
    return [column.to_pylist() for column in pq.read_table(io.BytesIO(content)).columns]


def odd_yaml(draw: Draw, content: bytes) -> bytes:
    """Return YAML with another value, in the block style or as JSON, or with changed bytes."""
    if draw(st.booleans()):
        return mutated_bytes(draw, content)
    value = mutated_value(draw, yaml.safe_load(content))
    if draw(st.booleans()) and DEEP not in repr(value):
        try:
            return yaml.safe_dump(json.loads(json_text(value)), allow_unicode=True).encode()
        except (ValueError, UnicodeEncodeError):
            pass
    return json_text(value).encode()


def file_reader(name: str, content: bytes, rows: Any, changes: Any = None, weight: float = 1.0) -> Reader:
    """Return the reader of one format of triplets."""
    packed = gzip.compress(content, mtime=0) if name.endswith(".gz") else content
    files: Files = {name: packed}

    def check(folder: Path, value: Any) -> None:
        place = folder / name
        paths = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
        assert [list(text) for text in value] == [list(text) for text in expected(rows(paths[0]))]

    return Reader(f"triplets: {name}", lambda: files, lambda folder: read(folder, name), check, changes or {}, weight)


def data_set_list() -> Files:
    """Return a list of two data sets, and one of them."""
    entries = [
        {"name": "train.jsonl", "label": "a", "repeat": 2, "max_negatives": 1, "query_prompt": "query: "},
        {"name": "org/hub-set", "config_name": "triplet", "repeat": 0.5, "in_batch_negatives": False},
    ]
    return {"mix.yaml": yaml.safe_dump(entries).encode(), "train.jsonl": b"{}"}


def check_data_sets(folder: Path, value: Any) -> None:
    """Every key of the file stands in the result."""
    content = yaml.safe_load((folder / "mix.yaml").read_bytes().decode())
    assert len(content) == len(value)
    for stated, entry in zip(content, value, strict=True):
        for key in stated.keys() & {"query_prompt", "max_negatives", "in_batch_negatives", "config_name"}:
            assert stated[key] is None or entry[key] == stated[key]


LINES = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in ROWS)
PARQUET_COLUMNS = {
    "query": pa.array(["a", "b", "c", "d"]),
    "positive": pa.array(["p", "q", "r", "s"]),
    "negative": pa.array([["n"], ["m", "o"], [], None]),
}
READERS = [
    file_reader("train.jsonl", LINES, json_rows, weight=2),
    file_reader("train.jsonl.gz", LINES, json_rows),
    file_reader("train.json", LINES.replace(b"\n", b"\n\n"), json_rows, {".json": CHANGES[".jsonl"]}),
    file_reader("train.csv", table(","), table_rows),
    file_reader("train.csv.gz", table(","), table_rows, weight=0.5),
    file_reader("train.tsv", table("\t"), table_rows),
    file_reader("train.tsv.gz", table("\t"), table_rows, weight=0.5),
    file_reader("train.parquet", parquet(PARQUET_COLUMNS), parquet_rows, {".parquet": odd_parquet}),
    Reader(
        "list of data sets",
        data_set_list,
        lambda folder: resolve(str(folder / "mix.yaml"), DataSet(None)),
        check_data_sets,
        {".yaml": odd_yaml},
    ),
]  # fmt: skip
