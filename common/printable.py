"""Texts of users without the characters that no message, page, plot or terminal may get.

`printable` leaves such characters out of what is shown; `escaped` writes them as escapes, for messages that tell what is wrong
with a file. Every `UserError` is escaped when it is printed.
"""

from __future__ import annotations

import reprlib
import unicodedata

JOINERS = "\u200c\u200d"  # scripts and emoji need them
ISOLATE, POP = "\u2068", "\u2069"  # around a name that is written from right to left
UNSEEN = ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp")  # controls, signs of direction, half characters, ends of lines


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


def escaped(text: str) -> str:
    r"""Return a text with escapes for what a terminal would obey or cannot show; ends of lines and tabs stay.

    >>> escaped("key\x1b[31m")
    'key\\x1b[31m'
    """
    if text.isprintable():
        return text
    characters = []
    for character in text:
        if character not in "\n\t" + JOINERS and unicodedata.category(character) in UNSEEN:
            character = character.encode("unicode_escape").decode("ascii")
        characters.append(character)
    return "".join(characters)


class _Short(reprlib.Repr):
    """Python's writing of a value, of which no part is long or deep."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 4
        self.maxstring = self.maxother = most

    def repr_int(self, x: int, level: int) -> str:
        """Return a whole number; Python refuses to write one of many thousand digits."""
        return repr(x) if abs(x) < 10**20 else f"a whole number of about {x.bit_length() * 3 // 10} digits"


def shown(value: object, most: int = 40) -> str:
    """Return a value of a user's file for a message: as Python writes it, ``most`` characters of it, however large it is.

    >>> shown([[[[[[]]]]]]), shown("text")
    ('[[[[...]]]]', "'text'")
    """
    text = escaped(_Short(most).repr(value))
    return text if len(text) <= most else f"{text[: most - 1]}…"
