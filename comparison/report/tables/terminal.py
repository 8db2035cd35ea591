"""Markdown as a terminal shows it: tables in columns that fit its width, paragraphs wrapped."""

from __future__ import annotations

import itertools
import os
import re
import sys
import textwrap
from collections.abc import Sequence

GAP = "  "
WIDEST_CELL = 30  # characters; a table with longer cells is shown row by row
WIDEST_HEAD = 14  # characters of a heading's line, where a word is not longer
NARROWEST = 40  # columns that are made use of
BORDER = re.compile(r"(?<!\\)\|")  # of a cell; an escaped one is text
PIECE = re.compile(r"[A-Z]*[^A-Z\s_]+[\s_]*|\S\s*")  # of a heading, after which a line may end


def terminal_width() -> int | None:
    """Return the columns of the terminal that gets stdout; None where that is none."""
    if not sys.stdout.isatty():
        return None
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80  # some pseudo-terminals say 0
    except (OSError, ValueError):
        return 80


def for_terminal(markdown: str, width: int | None) -> str:
    """Return a text for a terminal: no line is longer than its width, unless a single word is, as a path.

    Args:
        markdown: the text.
        width: columns of the terminal; None leaves the text as it is.
    """
    if width is None:
        return markdown
    width = max(NARROWEST, width)
    lines: list[str] = []
    for is_table, group in itertools.groupby(markdown.splitlines(), lambda line: line.startswith("|")):
        if is_table:
            head, _, *rows = map(_cells, group)
            lines += table_lines(head, rows, width)
            continue
        for line in group:
            indent = "  " if line.startswith("- ") else ""
            lines += wrap(line, width, below=indent) or [""]
    return "\n".join(lines)


def wrap(text: str, width: int, *, first: str = "", below: str = "") -> list[str]:
    """Return a text in lines of a width; a word is never broken, so that a path can be copied.

    Args:
        text: one paragraph.
        width: characters of a line.
        first: what stands before the first line.
        below: what stands before the others.
    """
    wrapper = textwrap.TextWrapper(
        width, initial_indent=first, subsequent_indent=below, break_long_words=False, break_on_hyphens=False
    )
    return wrapper.wrap(text)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in BORDER.split(line.strip())[1:-1]]


def table_lines(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return a table in lines of at most ``width`` characters.

    Columns that do not fit stand in a further block below, beside the first column again. Where cells are long, each row
    is a block of its own, with a line for each column.
    """
    longest = max((len(cell) for row in rows for cell in row), default=0)
    if longest > min(WIDEST_CELL, width // 2):
        lines: list[str] = []
        for row in rows:
            lines += _record(head, row, width)
        return lines
    heads = [_head_lines(title) for title in head]
    widths = []
    for number, titles in enumerate(heads):
        cells = [*titles, *(row[number] for row in rows)]
        widths.append(max(map(len, cells)))
    lines = []
    for block in _blocks(widths, width):
        lines += [""] if lines else []
        lines += _block(block, heads, rows, widths)
    return lines


def _head_lines(title: str) -> list[str]:
    """Return a heading in short lines: a name of several words, as ``DocstringRetrieval``, is cut between them."""
    lines = [""]
    for piece in PIECE.findall(title):
        if lines[-1] and len((lines[-1] + piece).rstrip()) > WIDEST_HEAD:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]


def _blocks(widths: Sequence[int], width: int) -> list[list[int]]:
    """Return the numbers of the columns of each block; each begins with the first column."""
    blocks: list[list[int]] = [[0]]
    used = widths[0]
    for number in range(1, len(widths)):
        needed = len(GAP) + widths[number]
        if used + needed > width and len(blocks[-1]) > 1:
            blocks.append([0])
            used = widths[0]
        blocks[-1].append(number)
        used += needed
    return blocks


def _block(block: Sequence[int], heads: Sequence[list[str]], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> list[str]:
    height = max(len(heads[number]) for number in block)
    table: list[list[str]] = []
    for level in range(height):
        padded = []
        for number in block:
            missing = height - len(heads[number])  # headings stand at the bottom
            padded.append("" if level < missing else heads[number][level - missing])
        table.append(padded)
    table.append(["-" * widths[number] for number in block])
    for row in rows:
        table.append([row[number] for number in block])
    lines = []
    for cells in table:
        aligned = [cells[0].ljust(widths[0])]
        for number, cell in zip(block[1:], cells[1:], strict=True):
            aligned.append(cell.rjust(widths[number]))
        lines.append(GAP.join(aligned).rstrip())
    return lines


def _record(head: Sequence[str], row: Sequence[str], width: int) -> list[str]:
    """Return a row as its first cell and a line for each further column, wrapped below itself."""
    label = min(max(map(len, head)), width // 3)
    lines = wrap(row[0], width)
    for title, cell in zip(head[1:], row[1:], strict=True):
        first = f"  {title:{label}}  "
        wrapped = wrap(cell, width, first=first, below=" " * (label + 4))
        lines += wrapped or [first.rstrip()]
    return lines
