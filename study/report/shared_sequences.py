"""Test texts that share sequences of 13 words with a training text without being equal to it; and tasks of the same source.

Thirteen words are the length that GPT-3's authors used for long texts (arXiv 2005.14165, appendix C). A test text is counted
where one training text holds at least half of its sequences.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from common.text_hash import letters

WORDS = 13  # of a sequence
LEAST_SHARE = 0.5
WORD = re.compile(r"\w+")
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
LEAST_LETTERS = 5  # of a name that can tell a source


def words_of(text: str) -> list[str]:
    """Return the words of a text; capitals and punctuation do not count."""
    return WORD.findall(text.casefold())


def sequences(numbers: np.ndarray) -> np.ndarray:
    """Return the different hashes of a text's sequences of 13 words, sorted, uint64; none for a shorter text.

    Args:
        numbers: of its words, uint64 ``(words,)``.
    """
    count = len(numbers) - WORDS + 1
    if count < 1:
        return np.empty(0, dtype=np.uint64)
    hashes = np.zeros(count, dtype=np.uint64)
    for place in range(WORDS):  # a polynomial of the words' numbers, modulo 2^64
        hashes = (hashes ^ (hashes >> np.uint64(29))) * MULTIPLIER + numbers[place : place + count]
    return np.unique(hashes)


class SequenceIndex:
    """The sequences of test texts, to look training texts up in.

    Args:
        texts: of the tests; those with fewer than 13 words are left out.

    Attributes:
        counts: int64 ``(texts,)``: different sequences of each.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.known: dict[str, int] = {}  # numbers of the tests' words; those of training texts alone are 0
        hashes = []
        for text in texts:
            numbers = [self.known.setdefault(word, len(self.known) + 1) for word in words_of(text)]
            hashes.append(sequences(np.array(numbers, dtype=np.uint64)))
        self.counts = np.array([len(own) for own in hashes], dtype=np.int64)
        self.owners = np.repeat(np.arange(len(texts)), self.counts)
        joined = np.concatenate([np.empty(0, dtype=np.uint64), *hashes])
        order = np.argsort(joined, kind="stable")
        self.hashes, self.owners = joined[order], self.owners[order]

    def largest_shares(self, rows: Iterable[Sequence[str]]) -> np.ndarray:
        """Return of each test text the share of its sequences in the training text that holds most of them, ``(texts,)``.

        Args:
            rows: of training data, each a sequence of its texts.
        """
        most = np.zeros(len(self.counts), dtype=np.int64)
        for texts in rows:
            for text in texts:
                numbers = [self.known.get(word, 0) for word in words_of(text)]
                owners = self.owners_of(sequences(np.array(numbers, dtype=np.uint64)))
                if len(owners):
                    tests, shared = np.unique(owners, return_counts=True)
                    most[tests] = np.maximum(most[tests], shared)
        return np.asarray(most / np.maximum(self.counts, 1))

    def owners_of(self, hashes: np.ndarray) -> np.ndarray:
        """Return the test texts of sequences, one entry for each test text that holds each of them."""
        starts = np.searchsorted(self.hashes, hashes, side="left")
        ends = np.searchsorted(self.hashes, hashes, side="right")
        parts = [self.owners[start:end] for start, end in zip(starts, ends, strict=True) if end > start]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def same_source(training_data: str, task: str) -> bool:
    """Whether the name of a data set says that a task is of the same source: its first word stands in the task's name.

    >>> same_source("medquad", "MedQuADRetrieval"), same_source("train-medical", "MedQuADRetrieval")
    (True, False)
    """
    first = next(iter(re.split(r"[\W_]+", training_data.rsplit("/", 1)[-1])), "")
    word = letters(first)
    return len(word) >= LEAST_LETTERS and word != "train" and word in letters(task)
