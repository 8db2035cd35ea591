"""The texts of training data by hash, to look up texts of other data in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

MOST_ROWS = 1000  # training rows of one text that are compared with those of another text
Span = tuple[int, int]  # first index of a text in the sorted hashes, and the index behind its last one
TextRule = Callable[[Iterable[str]], np.ndarray]  # of common.text_hash; a hash of 0 matches nothing


class TextIndex:
    """Hashes of training texts, sorted, each with its row.

    Args:
        hashes: ``(texts,)`` of ``rule``.
        owners: int64 ``(texts,)``: the row of each text.
        rule: decides which texts count as the same.

    Attributes:
        order: int64 ``(texts,)``: the given position of each sorted text.
    """

    def __init__(self, hashes: np.ndarray, owners: np.ndarray, rule: TextRule) -> None:
        self.rule = rule
        self.order = np.argsort(hashes, kind="stable")
        self.hashes, self.owners = hashes[self.order], owners[self.order]

    @classmethod
    def of_rows(cls, rows: Iterable[Sequence[str]], rule: TextRule) -> TextIndex:
        """Index rows, each a sequence of its texts."""
        hashes, owners = [rule([])], [np.empty(0, np.int64)]
        for number, texts in enumerate(rows):
            hashes.append(rule(texts))
            owners.append(np.full(len(texts), number, dtype=np.int64))
        return cls(np.concatenate(hashes), np.concatenate(owners), rule)

    def spans(self, texts: Iterable[str]) -> list[Span]:
        """Return the span of each text; an empty one for texts that are not in the data."""
        hashes = self.rule(texts)
        starts = np.searchsorted(self.hashes, hashes, side="left")
        ends = np.searchsorted(self.hashes, hashes, side="right")
        ends[hashes == 0] = starts[hashes == 0]
        return list(zip(starts.tolist(), ends.tolist(), strict=True))

    def share_a_row(self, spans: Iterable[Span]) -> bool:
        """Whether two of these texts, given by their spans, stand in the same row; two equal ones must stand there twice."""
        earlier: set[int] = set()
        for (start, end), times in Counter(spans).items():
            owners, counts = np.unique(self.owners[start : min(end, start + MOST_ROWS)], return_counts=True)
            if times > 1 and (counts > 1).any():
                return True
            rows = set(owners.tolist())
            if earlier & rows:
                return True
            earlier |= rows
        return False
