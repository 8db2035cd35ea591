"""Edits of a text before it is put into its prompt, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

CLOSED = (".", "?", '"', "'")


def full_stop(text: str) -> str:
    """Add a full stop to a text that ends neither with one nor with ``?``, ``"`` or ``'``; an empty one stays empty."""
    return text + "." if text and not text.endswith(CLOSED) else text


def single_quotes(text: str) -> str:
    """Replace each ``"`` by ``'``, so that the text cannot close the quotation marks of its prompt."""
    return text.replace('"', "'")


def no_question_mark(text: str) -> str:
    """Replace a ``?`` at the end by a full stop."""
    return text[:-1] + "." if text.endswith("?") else text


def strip(text: str) -> str:
    """Take the white space from both ends."""
    return text.strip()


def strip_end(text: str) -> str:
    """Take the white space from the end."""
    return text.rstrip()


def no_separator(text: str) -> str:
    """Take out the characters that LLM2Vec puts between instruction and text: its models never see them."""
    return text.replace("!@#$%^&*()", "")


EDITS: dict[str, Callable[[str], str]] = {
    # Those of PromptEOL's evaluation (arXiv 2307.16645, its released code), in its order.
    "full_stop": full_stop,
    "single_quotes": single_quotes,
    "no_question_mark": no_question_mark,
    "strip": strip,
    # Those of LLM2Vec (arXiv 2404.05961, its released code).
    "strip_end": strip_end,
    "no_separator": no_separator,
}


def edited(text: str, names: Sequence[str]) -> str:
    """Return a text after the edits of these names, one after the other.

    >>> edited('Is it "new"?', ["full_stop", "single_quotes", "no_question_mark"])
    "Is it 'new'."
    """
    for name in names:
        text = EDITS[name](text)
    return text
