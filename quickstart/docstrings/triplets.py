"""Texts of queries and documents, and the training triplets made of them."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from quickstart.docstrings.cleaning import Docstring, mask_name

DOCUMENT_WORDS = 40
"""Documents are cut here (about 60 tokens of the base model), so that every scored method reads the same text."""
MIN_QUERY_WORDS = 5
MIN_DOCUMENT_WORDS = 15


def query_text(doc: Docstring) -> str:
    """Return the summary sentence without the documented name."""
    return first_words(mask_name(doc.summary, doc.qualname))


def document_text(doc: Docstring) -> str:
    """Return the rest of the docstring without the documented name."""
    return first_words(mask_name(first_words(doc.body, 2 * DOCUMENT_WORDS), doc.qualname))


def full_text(doc: Docstring) -> str:
    """Return summary and rest, without the documented name."""
    return first_words(mask_name(first_words(f"{doc.summary} {doc.body}", 2 * DOCUMENT_WORDS), doc.qualname))


def first_words(text: str, count: int = DOCUMENT_WORDS) -> str:
    """Return ``text`` up to its ``count``-th word."""
    return " ".join(text.split()[:count])


def is_pair(doc: Docstring) -> bool:
    """Whether the docstring has a summary and a rest that are long enough to find one by the other."""
    return len(doc.summary.split()) >= MIN_QUERY_WORDS and len(doc.body.split()) >= MIN_DOCUMENT_WORDS


def make_triplets(docs: Sequence[Docstring], seed: int) -> list[dict[str, str]]:
    """Return ``query``, ``positive`` and ``negative`` of every usable docstring, in a shuffled order.

    The negative is the rest of another docstring of the same module; modules with one docstring give no triplet.
    """
    rng = random.Random(seed)
    by_module: dict[str, list[Docstring]] = defaultdict(list)
    for doc in docs:
        if is_pair(doc):
            by_module[doc.module].append(doc)
    triplets = []
    for module in sorted(by_module):
        members = by_module[module]
        documents = list(map(document_text, members))
        for index, doc in enumerate(members):
            others = [other for position, other in enumerate(documents) if position != index]
            if others:
                negative = rng.choice(others)
                triplets.append({"query": query_text(doc), "positive": documents[index], "negative": negative})
    rng.shuffle(triplets)
    return triplets
