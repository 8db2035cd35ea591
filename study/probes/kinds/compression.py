"""Compression: the score that is left with fewer dimensions or fewer bits a number.

The score is that of `study.probes.matching`. Dimensions: the first ones, made unit again (Matryoshka, arXiv 2205.13147). Bits:
one is the sign (arXiv 2106.00882); more are equal steps between the smallest and the largest number of a dimension over the
documents.
"""

from __future__ import annotations

import numpy as np

from study.probes.encoder import Probed, cut_note, cut_of
from study.probes.intervals import means
from study.probes.matching import reciprocal_ranks
from study.probes.result import Curve, Figure, Panel, ProbeResult
from study.probes.texts import Corpus

BITS = (32, 8, 4, 2, 1)
SMALLEST = 8  # dimensions


def compression(probed: Probed, corpus: Corpus, texts: int, seed: int) -> ProbeResult:
    """Score halves of texts with vectors that are cut or quantised."""
    firsts, seconds = corpus.halves(texts)
    asked, found = probed.encode(firsts, "query"), probed.encode(seconds)
    queries, documents = asked.vectors, found.vectors
    dimensions = widths(queries.shape[1])
    by_width = [reciprocal_ranks(queries[:, :width], documents[:, :width]) for width in dimensions]
    low, high = documents.min(axis=0), documents.max(axis=0)
    by_bits = []
    for bits in BITS:
        by_bits.append(reciprocal_ranks(quantised(queries, bits, low, high), quantised(documents, bits, low, high)))
    of_widths = means(np.stack(by_width, axis=1), seed)
    of_bits = means(np.stack(by_bits, axis=1), seed)
    figures = [Figure(f"score, {dimensions[0]} dimensions of 32 bits", of_widths[0])]
    for width, estimate in list(zip(dimensions, of_widths, strict=True))[1:]:
        figures.append(Figure(f"score, {width} dimensions", estimate))
    for bits, estimate in list(zip(BITS, of_bits, strict=True))[1:]:
        figures.append(Figure(f"score, {bits} bits", estimate))
    score = "mean reciprocal rank"
    panels = [
        Panel("Fewer dimensions", "dimensions", score, (Curve("", tuple(map(float, dimensions)), tuple(of_widths)),), True),
        Panel("Fewer bits", "bits a number", score, (Curve("", tuple(map(float, BITS)), tuple(of_bits)),), True),
    ]
    cut = int(cut_of(asked).sum() + cut_of(found).sum())
    return ProbeResult(len(queries), figures, panels, cut_note(cut, 2 * len(queries), "halves"))


def widths(dim: int) -> list[int]:
    """Return the dimensions that are tried.

    >>> widths(100)
    [100, 50, 25, 12]
    """
    tried = [dim]
    while tried[-1] // 2 >= SMALLEST:
        tried.append(tried[-1] // 2)
    return tried


def quantised(vectors: np.ndarray, bits: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return vectors ``(texts, dim)`` as they are after so many bits a number.

    Args:
        vectors: to be kept.
        bits: 32 for all.
        low: smallest number of each dimension, ``(dim,)``.
        high: the largest.
    """
    if bits >= 32:
        return vectors
    if bits == 1:
        return np.where(vectors >= 0, 1.0, -1.0)
    step = (high - low) / (2**bits - 1)
    step = np.where(step > 0, step, 1.0)
    levels = np.clip(np.rint((vectors - low) / step), 0, 2**bits - 1)
    return np.asarray(low + levels * step)
