"""The line that an error of a data file names is the line of the fault, in every format."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from common.errors import UserError
from common.lines import json_rows
from triplets.arguments import DataArguments
from triplets.keys import names
from triplets.read import read_triplets

ROW = b'{"query": "q", "positive": "p"}\n'


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    with pytest.raises(UserError) as raised:
        read_triplets(DataArguments(dataset_name=str(path)), cache_dir=path.parent / "cache")
    return str(raised.value)


def table(separator: bytes, rows: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(first + separator + second + b"\n" for first, second in [(b"query", b"positive"), *rows])


@pytest.mark.parametrize(("name", "separator"), [("d.csv", b","), ("d.csv.gz", b","), ("d.tsv", b"\t"), ("d.tsv.gz", b"\t")])
def test_lines_of_a_table(name: str, separator: bytes, tmp_path: Path) -> None:
    good = [(b"question %d" % number, b"an answer of some length") for number in range(400)]
    path = tmp_path / name
    latin = [*good[:299], (b"q", b"caf\xe9"), *good]
    error = refused(path, table(separator, latin))
    assert f"{path}:301: " in error and "not UTF-8" in error and "iconv -f LATIN1" in error
    assert f"{path}:301: " in refused(path, table(separator, latin).replace(b"\n", b"\r\n"))
    broken = [(b'"two\nlines"', b"p"), (b"q", b'"three\n\nlines"')]
    assert f"{path}:7: 'query' is empty" in refused(path, table(separator, [*broken, (b" ", b"p")]))
    assert f"{path}:4: 'query' is empty" in refused(path, table(separator, [broken[0], (b" ", b'"a\nb"'), *good[:3]]))
    assert f"{path}:7: " in refused(path, table(separator, [*broken, (b"q", b"caf\xe9")]))
    spaces = table(separator, good[:2]) + b"   \n\n" + table(separator, [(b"", b"p")]).split(b"\n", 1)[1]
    assert f"{path}:6: 'query' is empty" in refused(path, spaces) and "1 of 3 rows" in refused(path, spaces)
    assert f"{path}:3: no valid CSV" in refused(path, table(separator, [*good[:1], (b'"q', b"p"), *good[:9]]))
    assert f"{path}:3: no valid CSV" in refused(path, table(separator, [*good[:1], (b'"q"x', b"p"), *good[:9]]))


@pytest.mark.parametrize("name", ["d.jsonl", "d.jsonl.gz"])
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"query": "caf\xe9"}', "not UTF-8"),
        (json.dumps({"query": "q", "positive": "p"}).encode()[:-1] + b', "n": ' + b"1" * 5000 + b"}", "no valid JSON"),
        (b"[" * 100_000, "no valid JSON"),
        (b'{"query": 1e400, "positive": "p"}', "must be a text"),
        (b'{"query": "q", "positive": "p", "qu', "no valid JSON"),
        (b'{"positive": "p", "\\u001b[31mred": 1}', "\\x1b[31mred"),
    ],
)
def test_lines_of_json(name: str, line: bytes, reason: str, tmp_path: Path) -> None:
    error = refused(tmp_path / name, ROW * 2 + b"   \n" + line + b"\n" + ROW)
    assert f"{tmp_path / name}:4: " in error and reason in error and "\x1b" not in error


@pytest.mark.parametrize("name", ["d.jsonl", "d.json", "d.json.gz"])
@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"query": "q", "positive": "p"}, indent=2).encode(),
        json.dumps([{"query": "q", "positive": "p"}], indent=2).encode(),
        b'{"data": [\n' + ROW.strip() + b"\n]}\n",
        b'{"data": [' + ROW.strip() + b"]}\n",
        b'{\n  "query": "cut',
    ],
)
def test_a_file_of_one_value_is_no_file_of_lines(name: str, content: bytes, tmp_path: Path) -> None:
    error = refused(tmp_path / name, content)
    assert f"{tmp_path / name}:1: JSON lines are expected, one object a line" in error and "no valid JSON" not in error
    if name == "d.jsonl":
        with pytest.raises(UserError, match="JSON lines are expected"):
            list(json_rows(tmp_path / name))


def test_two_objects_on_a_line(tmp_path: Path) -> None:
    error = refused(tmp_path / "d.jsonl", ROW + ROW.strip() + ROW)
    assert "d.jsonl:2: no valid JSON: Extra data at column" in error and "one object a line is expected" in error


def test_keys_with_white_space_are_quoted() -> None:
    assert names(["query", "positive ", "\tnegative", ""]) == r"query, 'positive ', '\tnegative', ''"


def test_a_file_in_utf_16_says_so(tmp_path: Path) -> None:
    for name, text in (("d.jsonl", ROW.decode()), ("d.csv", "query,positive\nq,p\n")):
        assert "iconv -f UTF-16" in refused(tmp_path / name, text.encode("utf-16"))


def test_nul_is_a_character_like_others(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"query": "a\\u0000b", "positive": "p"}\n')
    rows = read_triplets(DataArguments(dataset_name=str(path)), cache_dir=tmp_path / "cache")
    assert rows[0]["query"] == "a\0b"
