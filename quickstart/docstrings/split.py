"""The split of modules into train, dev and test, and the check that the three are apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from quickstart.docstrings.cleaning import Docstring
from quickstart.docstrings.deduplicate import shingles, words_of

Split = Literal["train", "dev", "test"]

TEST_PERCENT = 12
DEV_PERCENT = 6
NGRAM_WORDS = 8
MAX_NGRAM_OVERLAP = 0.05
"""Largest share of held-out 8-grams that may also stand in train, once copies are removed."""
MAX_VERBATIM_SUMMARIES = 0.05
"""Largest share of held-out summaries (six words or more) that may stand verbatim in train."""
MIN_SUMMARY_WORDS = 6


class LeakageError(RuntimeError):
    """Held-out text stands in train."""


def split_of(module: str) -> Split:
    """Return the split of a module path; a hash decides, so it is the same on every machine and for every set of packages."""
    bucket = int.from_bytes(hashlib.sha256(module.encode()).digest()[:4], "big") % 100
    if bucket < TEST_PERCENT:
        return "test"
    return "dev" if bucket < TEST_PERCENT + DEV_PERCENT else "train"


def held_out_first(docs: Iterable[Docstring]) -> list[Docstring]:
    """Sort test before dev before train: deduplication keeps the first copy, so train loses what is held out."""
    rank = {"test": 0, "dev": 1, "train": 2}
    return sorted(docs, key=lambda doc: rank[split_of(doc.module)])


@dataclass(frozen=True, slots=True)
class SplitLeakage:
    """The share of held-out text that stands in train.

    Attributes:
        ngram_overlap: share of the held-out docstrings' 8-grams (distinct per docstring) that stand in train.
        verbatim_summaries: share of held-out summaries of six words or more that are a train summary word for word.
        held_out: number of held-out docstrings compared.
    """

    ngram_overlap: float
    verbatim_summaries: float
    held_out: int


def measure_leakage(train: Sequence[Docstring], held_out: Sequence[Docstring]) -> SplitLeakage:
    """Compare words; all numbers count as the same word."""
    train_ngrams: set[int] = set()
    train_summaries: set[str] = set()
    for doc in train:
        train_summaries.add(" ".join(words_of(doc.summary)))
        train_ngrams |= shingles(words_of(f"{doc.summary} {doc.body}"), NGRAM_WORDS)
    seen = total = verbatim = summaries = 0
    for doc in held_out:
        ngrams = shingles(words_of(f"{doc.summary} {doc.body}"), NGRAM_WORDS)
        seen += len(ngrams & train_ngrams)
        total += len(ngrams)
        words = words_of(doc.summary)
        if len(words) >= MIN_SUMMARY_WORDS:
            summaries += 1
            verbatim += " ".join(words) in train_summaries
    return SplitLeakage(round(seen / max(total, 1), 4), round(verbatim / max(summaries, 1), 4), len(held_out))


def require_apart(leakage: SplitLeakage, names: str = "train and test") -> None:
    """Raise `LeakageError` when held-out text stands in train above the stated thresholds."""
    if leakage.ngram_overlap <= MAX_NGRAM_OVERLAP and leakage.verbatim_summaries <= MAX_VERBATIM_SUMMARIES:
        return
    raise LeakageError(
        f"{names} are not apart: {leakage.ngram_overlap:.1%} of the held-out {NGRAM_WORDS}-grams stand in train "
        f"(at most {MAX_NGRAM_OVERLAP:.0%} allowed) and {leakage.verbatim_summaries:.1%} of the held-out summaries "
        f"(at most {MAX_VERBATIM_SUMMARIES:.0%}). A package probably holds a copy of another one: leave one of the two "
        "out (--packages), and build again."
    )
