"""The parts of a prompt: words that stay, and the places of the text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from common.errors import UserError

PLACEHOLDER = "{text}"
LIMITED = ("{|", "|}")  # enclose words that are cut like a text, in recipes of pieces alone
MARKS = re.compile("|".join(re.escape(mark) for mark in (PLACEHOLDER, *LIMITED)))


@dataclass(frozen=True)
class Part:
    """One part of a prompt.

    Attributes:
        kind: ``words`` that stay as they are, ``limited`` words, cut to the recipe's ``text_max_length``, or the ``text``.
        words: empty for the text.
    """

    kind: Literal["words", "limited", "text"]
    words: str = ""


def parts(prompt: str, *, every: bool = False, pieces: bool = False) -> list[Part]:
    """Return the parts of a prompt in their order; there is a ``text`` among them.

    >>> [part.kind for part in parts('"{text}" means')]
    ['words', 'text', 'words']
    >>> parts("query: ")
    [Part(kind='words', words='query: '), Part(kind='text', words='')]

    Args:
        prompt: put before the text if it has no ``{text}``.
        every: whether every ``{text}`` is a placeholder, and not the first one alone.
        pieces: whether ``{|`` and ``|}`` are marks too; elsewhere they are words like any other.

    Raises:
        UserError: a mark without the other one.
    """
    if PLACEHOLDER not in prompt:
        prompt += PLACEHOLDER
    if not every:
        before, after = prompt.split(PLACEHOLDER, 1)
        return without_empty([Part("words", before), Part("text"), Part("words", after)])
    found: list[Part] = []
    start, kind = 0, "words"
    for mark in MARKS.finditer(prompt):
        if mark.group() != PLACEHOLDER and not pieces:
            continue
        found.append(Part(kind, prompt[start : mark.start()]))  # type: ignore[arg-type]
        start = mark.end()
        if mark.group() == PLACEHOLDER:
            found.append(Part("text"))
            continue
        check_mark(prompt, mark.group(), kind)
        kind = "limited" if mark.group() == LIMITED[0] else "words"
    check_mark(prompt, "", kind)
    found.append(Part(kind, prompt[start:]))  # type: ignore[arg-type]
    return without_empty(found)


def check_mark(prompt: str, mark: str, kind: str) -> None:
    """Raise a UserError unless ``mark``, empty for the end of a prompt, may stand behind a part of this kind."""
    if (kind == "limited") != (mark == LIMITED[1]):
        raise UserError(
            f"in the prompt {prompt!r} a {LIMITED[0]} or {LIMITED[1]} stands without the other: in a recipe of pieces they "
            "enclose words that are cut like a text. Write both, or leave them out."
        )


def without_empty(found: list[Part]) -> list[Part]:
    """Return the parts without empty words."""
    return [part for part in found if part.kind == "text" or part.words]
