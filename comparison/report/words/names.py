"""Names and texts of users as they can stand in a page, in a plot, in LaTeX and in a file's name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

KEPT_FORMATS = "\u200c\u200d"  # joiners: scripts and emoji need them
IN_PROSE = 64  # characters; tables have whole names
ISOLATE, POP = "\u2068", "\u2069"
LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}  # fmt: skip


def printable(text: str) -> str:
    """Return a text without what no page may hold: control characters, lone surrogates, and signs that turn directions."""
    return "".join(character if _allowed(character) else "\ufffd" for character in text if not _silent(character))


def _silent(character: str) -> bool:
    return unicodedata.category(character) == "Cf" and character not in KEPT_FORMATS + ISOLATE + POP


def _allowed(character: str) -> bool:
    return character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs", "Cn")


def name(text: str) -> str:
    """Return a name in one line, shown as it is; one that is written from right to left keeps its neighbours in order."""
    line = " ".join(printable(text).replace(ISOLATE, "").replace(POP, "").split())
    right_to_left = any(unicodedata.bidirectional(character) in ("R", "AL") for character in line)
    return f"{ISOLATE}{line}{POP}" if right_to_left else line


def shorten(text: str, length: int) -> str:
    """Return a name of at most `length` characters; its middle is left out, since versions differ at the end."""
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
    found: dict[str, str] = {}
    for number, one in enumerate(dict.fromkeys(names), 1):
        label = shorten(one, length) or "(no name)"
        found[one] = label if label not in found.values() else f"{shorten(one, length - 4)} ({number})"
    return found


def listed(names: Sequence[str], last: str = "and") -> str:
    """Return names as a list in words: ``a, b and c``."""
    shown = [called(one) for one in names]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {last} {shown[-1]}" if shown else ""


def latex(text: str) -> str:
    """Return a name as LaTeX that prints it literally."""
    line = name(text).replace(ISOLATE, "").replace(POP, "")
    return re.sub("-(?=-)", "-{}", "".join(LATEX.get(character, character) for character in line))  # no dash of hyphens


def slugs(names: Sequence[str]) -> dict[str, str]:
    """Return a part of a file's name for each name, all different."""
    found: dict[str, str] = {}
    for one in names:
        stem = re.sub(r"[^a-z0-9]+", "-", one.lower()).strip("-")[:40] or "unnamed"
        slug, number = stem, 2
        while slug in found.values():
            slug, number = f"{stem}-{number}", number + 1
        found[one] = slug
    return found
