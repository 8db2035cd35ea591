"""Markdown on a terminal: no line is wider than it, and nothing is lost."""

from __future__ import annotations

import re

import pytest

from comparison.report.tables.markdown import as_markdown
from comparison.report.tables.terminal import for_terminal
from tests.comparison.report.outcomes import made_up

TABLE = r"""| system | seeds | DocstringRetrieval: untrained | trained | gain over untrained |
|---|---|---|---|---|
| mean_pooling | – | – | 0.190 | – |
| a\|b | 2 | 0.087 | 0.234 | +0.146 [+0.123, +0.171] |"""


def words(text: str) -> set[str]:
    return set(re.findall(r"[^\s|]{2,}", text)) - {"---"}


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_comparison_fits(width: int) -> None:
    text = as_markdown(made_up({"good": 0.05, "a-system-with-a-long-name-of-many-words": 0.03}, runs=2), whole=False)
    shown = for_terminal(text, width)
    assert max(map(len, shown.splitlines())) <= width
    figures = set(re.findall(r"[+-]?\d+\.\d+", text))
    assert figures and all(figure in shown for figure in figures)
    assert for_terminal(text, None) == text, "no terminal: Markdown as in the file"


def test_columns_stand_below_each_other() -> None:
    shown = for_terminal(TABLE, 80).splitlines()
    assert max(map(len, shown)) <= 80 and len(shown) == 6
    assert shown[-1].startswith(r"a\|b") and shown[-1].endswith("+0.171]")
    assert shown[0].split() == ["Docstring"] and shown[2].split()[:3] == ["system", "seeds", "untrained"]
    narrow = for_terminal(TABLE, 50).splitlines()
    assert max(map(len, narrow)) <= 50 and narrow.count("") == 1, "two blocks of columns"


def test_long_cells_make_a_block_of_a_row() -> None:
    shown = for_terminal("| a | verdict |\n|---|---|\n| x | " + "word " * 30 + "|", 60)
    assert max(map(len, shown.splitlines())) <= 60 and shown.count("word") == 30 and shown.startswith("x\n  verdict  word")
