"""A corpus for probes: texts and their sentences, read from a file of any format that the toolkit reads."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from evaluation.encode_file import read_texts
from study.probes import FEWEST_TEXTS
from triplets.formats import is_data_file, rows

FEWEST_WORDS, MOST_WORDS = 4, 60  # of a sentence that is put among others
# Stands before the sentences of a made text. To many tokenizers a word behind a space is another token than the same word at
# the beginning of a text: without it, a sentence would have other tokens at the first place than at all others.
LEAD = "-"
# Behind the end of a sentence: white space, or nothing in scripts that have none.
END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])|\n+")


@dataclass(frozen=True)
class Corpus:
    """Texts with their sentences.

    Attributes:
        texts: each once, in the order of the file.
        sentences: of each text, in order; those of a size that can stand among others, none of which another text has.
    """

    texts: Sequence[str]
    sentences: Sequence[Sequence[str]]

    def needles(self, most: int, fewest_words: int = FEWEST_WORDS) -> list[tuple[int, str]]:
        """Return the number and the first sentence of the first ``most`` texts that have one of so many words.

        Raises:
            UserError: too few texts have one.
        """
        chosen: list[tuple[int, str]] = []
        for number, sentences in enumerate(self.sentences):
            long = [sentence for sentence in sentences if len(sentence.split()) >= fewest_words]
            if long and len(chosen) < most:
                chosen.append((number, long[0]))
        check_count(len(chosen), f"have a sentence of {fewest_words} to {MOST_WORDS} words")
        return chosen

    def fillers(self, number: int, count: int, draw: random.Random) -> list[str]:
        """Return so many sentences of other texts than ``number``, no two alike.

        Raises:
            UserError: the corpus has too few sentences.
        """
        others: list[str] = []
        for other, sentences in enumerate(self.sentences):
            if other != number:
                others += sentences
        if len(others) < count:
            have = len(others)
            raise UserError(f"the corpus has {have} sentences beside a text's own, {count} are needed: give more texts")
        return draw.sample(others, count)

    def halves(self, most: int) -> tuple[list[str], list[str]]:
        """Return the first and the second half of the sentences of the first ``most`` texts with two or more.

        Raises:
            UserError: too few texts have two sentences.
        """
        firsts: list[str] = []
        seconds: list[str] = []
        for sentences in self.sentences:
            if len(sentences) >= 2 and len(firsts) < most:
                middle = len(sentences) // 2
                firsts.append(" ".join(sentences[:middle]))
                seconds.append(" ".join(sentences[middle:]))
        check_count(len(firsts), "have two sentences or more")
        return firsts, seconds


def joined(sentences: Sequence[str]) -> str:
    """Return a made text.

    >>> joined(["One.", "Two."])
    '- One. Two.'
    """
    return " ".join([LEAD, *sentences])


def check_count(count: int, what: str) -> None:
    """Raise a UserError for a corpus in which too few texts are as a probe needs them."""
    if count < FEWEST_TEXTS:
        raise UserError(
            f"{count} texts of the corpus {what}, and {FEWEST_TEXTS} are the fewest: give a --corpus with more or longer texts,"
            " each a line of a file or a row of JSON lines"
        )


def read_corpus(path: Path, key: str, most: int) -> Corpus:
    """Read the first ``most`` different texts of a file.

    Args:
        path: JSON lines, Parquet, CSV or TSV (``.gz`` too), or any other file with a text a line.
        key: of rows, the one that holds the text: a string, or a list of them, whose first one counts.
        most: texts.

    Raises:
        UserError: the file cannot be read, a row has no such text, or there are too few texts.
    """
    texts: dict[str, None] = {}
    for text in texts_of(path, key):
        if text.strip() and len(texts) < most:
            texts[text.strip()] = None
    check_count(len(texts), "are different and not empty")
    return make_corpus(list(texts))


def texts_of(path: Path, key: str) -> Iterator[str]:
    """Yield the texts of a file."""
    if not is_data_file(path.name):
        yield from read_texts(path, key)
        return
    for place, row in rows(path):
        if not isinstance(row, dict) or key not in row:
            keys = ", ".join(map(repr, row)) if isinstance(row, dict) else "no keys"
            raise UserError(f"{place}: the row has no {key!r}, but {keys}; name the key of the texts with --key")
        value = row[key]
        if isinstance(value, list) and value:
            value = value[0]
        if not isinstance(value, str):
            raise UserError(f"{place}: {key!r} is no text, but {type(value).__name__}; name the key of the texts with --key")
        yield value


def make_corpus(texts: Sequence[str]) -> Corpus:
    """Split texts into sentences; a sentence that stood before, in any text, is left out."""
    seen: set[str] = set()
    of_texts = []
    for text in texts:
        sentences = []
        for part in END.split(text):
            sentence = " ".join(part.split())
            fits = sentence and len(sentence.split()) <= MOST_WORDS and any(map(str.isalpha, sentence))
            if fits and sentence not in seen:
                seen.add(sentence)
                sentences.append(sentence)
        of_texts.append(sentences)
    return Corpus(texts, of_texts)
