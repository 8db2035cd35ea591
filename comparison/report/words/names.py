"""Names and texts of users as they can stand in a page, in a plot, in LaTeX and in a file's name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from common.printable import ISOLATE, POP, one_line

IN_PROSE = 64  # characters; tables have whole names
LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
    }
)


def name(text: str) -> str:
    """Return a name in one line, shown as it is; one that is written from right to left keeps its neighbours in order."""
    line = one_line(text)
    if any(unicodedata.bidirectional(character) in ("R", "AL") for character in line):
        return f"{ISOLATE}{line}{POP}"
    return line


def shorten(text: str, length: int) -> str:
    """Return a name of at most `length` characters; its middle is left out, since versions differ at the end.

    >>> shorten("a-model-with-a-long-name-v2", 12)
    'a-mode…me-v2'
    """
    line = name(text)
    if len(line) <= length:
        return line
    line = line.strip(ISOLATE + POP)
    end = (length - 1) // 2
    return name(f"{line[: length - 1 - end]}…{line[len(line) - end :]}")


def called(text: str) -> str:
    """Return a name as sentences and headings use it: not longer than a line."""
    return shorten(text, IN_PROSE)


def short_names(names: Sequence[str], length: int) -> dict[str, str]:
    """Return labels of at most `length` characters, numbered where two would be the same."""
    labels: dict[str, str] = {}
    for number, text in enumerate(dict.fromkeys(names), 1):
        label = shorten(text, length) or "(no name)"
        if label in labels.values():
            label = f"{shorten(text, length - 4)} ({number})"
        labels[text] = label
    return labels


def listed(names: Sequence[str], last: str = "and") -> str:
    """Return names as a list in words.

    >>> listed(["a", "b", "c"]), listed(["a", "b"], "or")
    ('a, b and c', 'a or b')
    """
    shown = list(map(called, names))
    if len(shown) < 2:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} {last} {shown[-1]}"


def latex(text: str) -> str:
    r"""Return a name as LaTeX that prints it literally.

    >>> print(latex("a_b & 5%"))
    a\_b \& 5\%
    """
    line = one_line(text).translate(LATEX)
    return re.sub("-(?=-)", "-{}", line)  # two hyphens would become a dash


def slugs(names: Sequence[str]) -> dict[str, str]:
    """Return a part of a file's name for each name, all different."""
    parts: dict[str, str] = {}
    for text in names:
        stem = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "unnamed"
        slug, number = stem, 2
        while slug in parts.values():
            slug, number = f"{stem}-{number}", number + 1
        parts[text] = slug
    return parts
