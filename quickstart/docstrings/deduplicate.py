"""Removal of text that occurs more than once: exact copies, near copies, and boilerplate paragraphs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from quickstart.docstrings.cleaning import Docstring

SHINGLE_WORDS = 5
MAX_SEEN_SHARE = 0.5
MAX_PARAGRAPH_COPIES = 3
PARAGRAPH_KEY_WORDS = 12
MIN_WORDS = 8
_WORD = re.compile(r"[^\W\d_]+|\d+")


@dataclass(frozen=True, slots=True)
class DeduplicationCounts:
    """Numbers of docstrings that were read, kept, and dropped for each reason."""

    read: int
    kept: int
    copies: int
    near_copies: int
    boilerplate_or_short: int


def words_of(text: str) -> list[str]:
    """Return lower-case words; every number is "0", so that versions and sizes do not tell copies apart."""
    return ["0" if word[0].isdigit() else word for word in _WORD.findall(text.lower())]


def shingles(words: Sequence[str], size: int = SHINGLE_WORDS) -> set[int]:
    """Return hashes of all runs of ``size`` words, comparable inside one process only (Python salts string hashes)."""
    if len(words) < size:
        return {hash(tuple(words))}
    runs = zip(*[words[shift:] for shift in range(size)], strict=False)
    return set(map(hash, runs))


def deduplicate(docs: Iterable[Docstring]) -> tuple[list[Docstring], DeduplicationCounts]:
    """Keep the first of every group of copies, so the order of ``docs`` decides which one stays.

    A paragraph is dropped from its second occurrence on (same first twelve words; shorter ones from the fourth on); a
    docstring is dropped when more than half of its five-word shingles stand in earlier ones, the dropped ones included.
    """
    paragraph_copies: Counter[tuple[str, ...]] = Counter()
    seen_texts: set[str] = set()
    seen_shingles: set[int] = set()
    kept: list[Docstring] = []
    dropped: Counter[str] = Counter()
    read = 0
    for doc in docs:
        read += 1
        paragraphs = []
        for paragraph in doc.paragraphs:
            key = tuple(words_of(paragraph[:200])[:PARAGRAPH_KEY_WORDS])
            paragraph_copies[key] += 1
            allowed = 1 if len(key) == PARAGRAPH_KEY_WORDS else MAX_PARAGRAPH_COPIES
            if paragraph_copies[key] <= allowed:
                paragraphs.append(paragraph)
        words = words_of(" ".join([doc.summary, *paragraphs]))
        if len(words) < MIN_WORDS:
            dropped["short"] += 1
            continue
        text = " ".join(words)
        if text in seen_texts:
            dropped["copy"] += 1
            continue
        seen_texts.add(text)
        own = shingles(words)
        seen_share = len(own & seen_shingles) / len(own)
        seen_shingles |= own
        if seen_share > MAX_SEEN_SHARE:
            dropped["near"] += 1
            continue
        kept.append(replace(doc, paragraphs=tuple(paragraphs)))
    return kept, DeduplicationCounts(read, len(kept), dropped["copy"], dropped["near"], dropped["short"])
