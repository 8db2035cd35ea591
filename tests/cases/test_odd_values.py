"""Values that no program expects in a file: errors in one line with file and line, and no traceback, wait or endless read."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from common import lines
from common.build import build
from common.errors import UserError
from common.files import read_json
from common.json_text import parse_json
from common.lines import iter_lines, open_regular, read_bytes
from common.number_check import finite, is_number, parse_number
from common.printable import escaped, shown
from common.yaml_files import read_config, read_yaml

YAML_FAULTS = {
    "an int that is none": ("a: 1\nb: !!int x\n", 2),
    "an int without a digit": ("b: !!int ''\n", 1),
    "a bool that is none": ("b: !!bool x\n", 1),
    "a float that is none": ("b: !!float x\n", 1),
    "a time that is none": ("b: !!timestamp x\n", 1),
    "a day that no month has": ("a: 1\nb: 2024-02-31\n", 2),
    "NUL": ("a: 1\nb: \0\n", 2),
    "5,000 digits": ("b: " + "9" * 5000, 1),
    "5,000 hexadecimal digits": ("b: 0x" + "f" * 5000, 1),
    "401 digits": ("b: 1" + "0" * 400, 1),
    "a list in itself": ("b: &b [*b]\n", 1),
    "a mapping in itself": ("b: &b {c: *b}\n", 1),
    "100,000 brackets": ("[" * 100_000, 1),
    "aliases without end": ("a: &a [1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"{name}: &{name} [{', '.join(['*' + before] * 8)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ), 7),
    "an unknown tag": ("a: 1\nb: !thing 1\n", 2),
    "Latin-1": (b"a: 1\nb: \xe9\n", 2),
}  # fmt: skip
JSON_FAULTS = {
    "100,000 brackets": "[" * 100_000,
    "100,000 keys": '{"a":' * 100_000,
    "5,000 digits": '{"a": ' + "9" * 5000 + "}",
    "401 digits": '{"a": -1' + "0" * 400 + "}",
    "NUL": '{"a": "\0"}',
    "Latin-1": b'{"a": "\xe9"}',
}


def written(path: Path, content: str | bytes) -> Path:
    """Write a file and return its path."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("kind", YAML_FAULTS)
def test_yaml_faults_name_the_line(tmp_path: Path, kind: str) -> None:
    content, line = YAML_FAULTS[kind]
    path = written(tmp_path / "odd.yaml", content)
    for read in (lambda: read_yaml(path, "--file"), lambda: read_config(str(path))):
        with pytest.raises(UserError, match=rf"odd\.yaml.*(:| )line? ?{line}\b|odd\.yaml:{line}:") as error:
            read()
        assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("kind", JSON_FAULTS)
def test_json_faults_name_the_file(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path / "odd.json", JSON_FAULTS[kind])
    with pytest.raises(UserError, match=r"odd\.json") as error:
        read_json(path)
    assert "\n" not in str(error.value)


def test_json_keeps_all_else() -> None:
    assert parse_json('{"a": [1, -2, 1e3, 1e400, NaN, "1"], "b": null}')["a"][:3] == [1, -2, 1000.0]
    assert parse_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    assert parse_json(str(10**300)) == 10**300


def test_numbers_are_checked_in_one_place() -> None:
    assert is_number(3) and is_number(0.5) and is_number(10**308)
    assert not any(map(is_number, (True, None, "1", float("inf"), float("nan"), 10**400, [1])))
    assert finite(10**400) != finite(10**400)
    assert parse_number(" 0.5 ") == 0.5 and parse_number("1e400") != parse_number("1e400")


def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(OSError, match="no regular file"):
            open_regular(path)
        with pytest.raises(UserError, match="no regular file"):
            read_json(path)
        with pytest.raises(UserError, match="no regular file"):
            read_yaml(path, "--file")
        with pytest.raises(OSError, match="no regular file"):
            list(iter_lines(path))
    with pytest.raises(OSError, match="name"):
        open_regular(tmp_path / "a\0b")
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)


def test_files_without_an_end_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MOST_BYTES_OF_LINE", 1000)
    path = tmp_path / "long.jsonl.gz"
    path.write_bytes(gzip.compress(b"{}\n" + b" " * 5000))
    with pytest.raises(UserError, match=r"long.jsonl.gz:2: the line has more"):
        list(iter_lines(path))
    path.write_bytes(gzip.compress(b"{}\n" * 5000))
    with pytest.raises(UserError, match=r"long.jsonl.gz:334: the file has more"):
        list(iter_lines(path, 1000))
    with pytest.raises(OSError, match="more than 10 bytes"):
        read_bytes(written(tmp_path / "long.json", "x" * 11), most=10)


def test_lines_are_counted_as_editors_count_them(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", b"\xef\xbb\xbfone\r\ntwo\rthree\n\nfive \xe2\x80\xa8 same")
    assert [(number, line.strip("\n")) for number, line in iter_lines(path)] == [
        (1, "one"),
        (2, "two"),
        (3, "three"),
        (4, ""),
        (5, "five \u2028 same"),
    ]
    with pytest.raises(UserError, match=r"b.jsonl:2: no UTF-8"):
        list(iter_lines(written(tmp_path / "b.jsonl", b"one\n\xe9\n")))


def test_messages_show_no_control_character() -> None:
    text = "key\x1b[2J\x9b31m\r\x00\u202e\ud800"
    for message in (str(UserError(f"unknown key {text}")), escaped(text)):
        assert message.replace("\n", "").isprintable() and "\\x1b" in message
        message.encode()
    assert str(UserError("two\nlines\tand é 漢")) == "two\nlines\tand é 漢"
    assert shown("x" * 100).endswith("…") or len(shown("x" * 100)) <= 40
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert len(shown(deep)) <= 40 and "digits" in shown(10**6000, 60)


def test_odd_values_of_fields_are_errors() -> None:
    from dataclasses import make_dataclass

    kind = make_dataclass("Sizes", [("rate", float)])
    for value in (10**400, float("inf"), True, "\x1b[31m", [[[[[[]]]]]]):
        with pytest.raises(UserError, match="rate") as error:
            build(kind, {"rate": value}, "sizes.json")
        assert str(error.value).isprintable()
