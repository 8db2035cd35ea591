"""Names and texts of users without the characters that no page, plot or terminal may get.

Names of systems and tasks pass through `one_line` where results are read; everything after that sees printable names only.
"""

from __future__ import annotations

import unicodedata

JOINERS = "\u200c\u200d"  # scripts and emoji need them
ISOLATE, POP = "\u2068", "\u2069"  # around a name that is written from right to left


def printable(text: str) -> str:
    r"""Return a text without control characters, lone surrogates, and signs that turn directions.

    >>> printable("model\x1b[31m")
    'model�[31m'
    """
    if text.isascii() and text.isprintable():
        return text
    characters = []
    for character in text:
        category = unicodedata.category(character)
        if category == "Cf" and character not in JOINERS + ISOLATE + POP:
            continue  # it would be invisible
        if category in ("Cc", "Cs", "Cn") and character not in "\n\t":
            character = "\ufffd"
        characters.append(character)
    return "".join(characters)


def one_line(name: str) -> str:
    """Return a name as printable text in one line."""
    return " ".join(printable(name).replace(ISOLATE, "").replace(POP, "").split())
