"""Mutations of files: of their bytes, and of what is written in them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.cases.fuzz.documents import ODD_KEYS, ODD_VALUES, Pairs, encoded, json_text

Draw = Callable[[st.SearchStrategy[Any]], Any]
Files = dict[str, bytes | None]  # by name; None is a folder of that name
MOST_BYTES = 2_000_000  # of a mutated file
CHANGES_OF_A_FILE = (1, 1, 1, 2, 3)
SNIPPETS = (
    *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\r\n", b"\r", b"\n\n", b"\x1b[31m", b"\xc3", b"\xed\xa0\x80", b"\xff\xfe"),
    *(b" ", b"\t", b"x" * 300_000),
    *(b'"', b"'", b",", b":", b"{", b"}", b"[", b"]", b"\\", b"\\ud800", b"\\u0000", b"#", b"- ", b"? ", b"---\n", b"...\n"),
    *(b"nan", b"NaN", b"null", b"1e400", b"-", b"0x", b"9" * 400, b"9" * 5000, b"[" * 20_000, b'{"a":' * 20_000),
    *(b"&a ", b"*a", b"<<: *a\n", b"!!int x", b"!!binary x", b"!!python/object/apply:os.system [id]\n", b"%YAML 9.9\n"),
)


def mutated_bytes(draw: Draw, content: bytes) -> bytes:
    """Return a content with a few changes of its bytes."""
    for _ in range(draw(st.sampled_from(CHANGES_OF_A_FILE))):
        content = draw(st.sampled_from(BYTE_CHANGES))(draw, content)[:MOST_BYTES]
    return content


def _place(draw: Draw, content: bytes) -> int:
    return int(draw(st.integers(0, len(content))))


def _span(draw: Draw, content: bytes) -> tuple[int, int]:
    start = _place(draw, content)
    return start, min(len(content), start + int(draw(st.sampled_from((1, 2, 8, 40, 300)))))


def _delete(draw: Draw, content: bytes) -> bytes:
    start, end = _span(draw, content)
    return content[:start] + content[end:]


def _repeat(draw: Draw, content: bytes) -> bytes:
    start, end = _span(draw, content)
    return content[:end] + content[start:end] * draw(st.sampled_from((1, 2, 50))) + content[end:]


def _insert(draw: Draw, content: bytes) -> bytes:
    start = _place(draw, content)
    return content[:start] + draw(st.sampled_from(SNIPPETS)) + content[start:]


def _overwrite(draw: Draw, content: bytes) -> bytes:
    start, end = _span(draw, content)
    return content[:start] + draw(st.binary(min_size=end - start, max_size=end - start)) + content[end:]


def _swap(draw: Draw, content: bytes) -> bytes:
    a, b, c, d = sorted(_place(draw, content) for _ in range(4))
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def _cut(draw: Draw, content: bytes) -> bytes:
    return content[: _place(draw, content)]


def _as_another_editor(draw: Draw, content: bytes) -> bytes:
    """Return the content as other editors write it: ends of lines, a mark in front, another encoding."""
    text = content.decode("utf-8", "replace")
    changes: tuple[Callable[[], bytes], ...] = (
        lambda: content.replace(b"\n", b"\r\n"),
        lambda: content.replace(b"\n", b"\r"),
        lambda: b"\xef\xbb\xbf" + content,
        lambda: text.encode("utf-16"),
        lambda: text.encode("utf-16-le"),
        lambda: text.encode("latin-1", "replace"),
        lambda: content.replace(b" ", b"\t"),
        lambda: content.replace(b"\n", b""),
        lambda: content + content,
        lambda: b"",
        lambda: gzip.compress(content, mtime=0),
        lambda: content + b"\n" * 1000,
    )
    return bytes(draw(st.sampled_from(changes))())


BYTE_CHANGES = (_delete, _repeat, _insert, _overwrite, _swap, _cut, _as_another_editor)


def mutated_value(draw: Draw, value: Any) -> Any:
    """Return a JSON value with a few changes somewhere inside."""
    for _ in range(draw(st.sampled_from(CHANGES_OF_A_FILE))):
        value = _changed(draw, value)
    return value


def _changed(draw: Draw, value: Any) -> Any:
    """Return a value that is changed here, or, more often, in one of its members."""
    if isinstance(value, dict):
        value = Pairs(value.items())
    if not isinstance(value, list) or not value or draw(st.integers(0, 9)) == 0:
        return _replaced(draw, value)
    index = draw(st.integers(0, len(value) - 1))
    if isinstance(value, Pairs):
        key, member = value[index]
        if draw(st.booleans()):
            return Pairs([*value[:index], (key, _changed(draw, member)), *value[index + 1 :]])
        return Pairs(_changed_entries(draw, value, index, _changed_pair))
    if draw(st.booleans()):
        return [*value[:index], _changed(draw, value[index]), *value[index + 1 :]]
    return _changed_entries(draw, value, index, lambda draw, entry: _replaced(draw, entry))


def _changed_entries(draw: Draw, entries: list[Any], index: int, change: Callable[[Draw, Any], Any]) -> list[Any]:
    """Return a list in which an entry is left out, stands twice, is moved or is changed."""
    before, entry, after = list(entries[:index]), entries[index], list(entries[index + 1 :])
    choices: tuple[Callable[[], list[Any]], ...] = (
        lambda: before + after,
        lambda: [*before, entry, entry, *after],
        lambda: [*after, entry, *before],
        lambda: [*before, change(draw, entry), *after],
        lambda: [*before, entry, change(draw, entry), *after],
    )
    return draw(st.sampled_from(choices))()


def _changed_pair(draw: Draw, entry: tuple[Any, Any]) -> tuple[Any, Any]:
    key, value = entry
    names = (*ODD_KEYS, str(key)[:-1], f"{key}s", str(key).upper(), f" {key}")
    return draw(st.sampled_from(names)), value


def _replaced(draw: Draw, value: Any) -> Any:
    near: list[Any] = [str(value)[:1000], [value], {"a": value}]
    if isinstance(value, int | float) and not isinstance(value, bool):
        near += [-value, value + 1, value * 1000, value / 2 if abs(value) < 1e300 else 0.5]
    return draw(st.one_of(st.sampled_from(ODD_VALUES), st.sampled_from(near)))


def mutated_json(draw: Draw, content: bytes) -> bytes:
    """Return a JSON file with another value."""
    return encoded(json_text(mutated_value(draw, json.loads(content)), draw(st.booleans())))


def mutated_lines(draw: Draw, content: bytes) -> bytes:
    """Return a file of JSON lines with other values in some lines."""
    rows = mutated_value(draw, [json.loads(line) for line in content.split(b"\n") if line.strip()])
    if not isinstance(rows, list) or isinstance(rows, Pairs):
        rows = [rows]
    return b"".join(encoded(json_text(row, draw(st.booleans()))) + b"\n" for row in rows)


def mutated_table(draw: Draw, content: bytes, delimiter: str) -> bytes:
    """Return a table of cells with other cells, rows or columns."""
    rows = mutated_value(draw, [line.split(delimiter) for line in content.decode().splitlines()])
    lines = []
    for row in rows if isinstance(rows, list) else [rows]:
        cells = row if isinstance(row, list) else [row]
        lines.append(delimiter.join([cell if isinstance(cell, str) else json_text(cell) for cell in cells]))
    return encoded("\n".join(lines))


def _json_or_bytes(change: Callable[[Draw, bytes], bytes]) -> Callable[[Draw, bytes], bytes]:
    return lambda draw, content: (change if draw(st.booleans()) else mutated_bytes)(draw, content)


CHANGES: dict[str, Callable[[Draw, bytes], bytes]] = {
    ".json": _json_or_bytes(mutated_json),
    ".jsonl": _json_or_bytes(mutated_lines),
    ".csv": _json_or_bytes(lambda draw, content: mutated_table(draw, content, ",")),
    ".tsv": _json_or_bytes(lambda draw, content: mutated_table(draw, content, "\t")),
    "": mutated_bytes,
}


def mutated_file(draw: Draw, name: str, content: bytes, changes: dict[str, Callable[[Draw, bytes], bytes]]) -> bytes:
    """Return a file with changes of the kind that its name says; of a .gz file inside, or of what is packed."""
    if name.endswith(".gz"):
        if draw(st.integers(0, 3)) == 0:
            return mutated_bytes(draw, content)
        inner = mutated_file(draw, name.removesuffix(".gz"), gzip.decompress(content), changes)
        return gzip.compress(inner, 1, mtime=0)
    kinds = CHANGES | changes
    kind = next(suffix for suffix in sorted(kinds, key=len, reverse=True) if name.endswith(suffix))
    return kinds[kind](draw, content)


@st.composite
def mutated(draw: Draw, files: Files, changes: dict[str, Callable[[Draw, bytes], bytes]]) -> Files:
    """Draw changes of some files; seldom one is missing, a folder, or there twice."""
    result = dict(files)
    count = min(len(files), draw(st.sampled_from((1, 1, 1, 2))))
    for name in draw(st.lists(st.sampled_from(sorted(files)), min_size=count, max_size=count, unique=True)):
        content = files[name]
        assert content is not None
        kind = draw(st.integers(0, 29))
        if kind == 0:
            del result[name]
        elif kind == 1:
            result[name] = None
        elif kind == 2:
            result[draw(st.sampled_from((f"{name}.gz", f"{name}.bak", f"copy.{name}")))] = content
        else:
            result[name] = mutated_file(draw, name, content, changes)
    return result
