"""Geometry: length, hubs, uniformity, alignment, and how many directions are used.

- Length: mean cosine of unrelated texts by their length. Above zero, and rising, where vectors share a direction.
- Hubness: skewness of how often a text is among the ten nearest of another (Radovanović et al. 2010, JMLR 11).
- Uniformity and alignment: Wang and Isola, arXiv 2005.10242, equations 1 and 2, exponents 2; the pairs are halves of a text.
- Effective rank: exponential of the entropy of the singular values (Roy and Vetterli 2007; RankMe, arXiv 2210.02885).
"""

from __future__ import annotations

import random

import numpy as np
from scipy import stats

from study.probes.encoder import Probed, cosines, cut_of, unit
from study.probes.intervals import FEWEST, jackknife, mean
from study.probes.matching import mean_similarity
from study.probes.result import Curve, Estimate, Figure, Panel, ProbeResult
from study.probes.texts import Corpus

SENTENCES = (1, 2, 4, 8, 16, 32)
NEIGHBOURS = 10


def geometry(probed: Probed, corpus: Corpus, texts: int, seed: int) -> ProbeResult:
    """Measure where the vectors of a corpus lie."""
    encoded = probed.encode(corpus.texts[:texts])
    vectors = unit(encoded.vectors)
    counts = neighbour_counts(vectors)
    pairs = squared_distances(vectors)
    firsts, seconds = corpus.halves(texts)
    distance = 2 - 2 * cosines(probed.encode(firsts, "query").vectors, probed.encode(seconds).vectors)
    number = len(vectors)
    figures = [
        Figure("similarity of unrelated texts", jackknife(lambda rows: mean_similarity(vectors[rows]), number, seed)),
        Figure("hubness (skewness)", jackknife(lambda rows: skewness(counts[rows]), number, seed)),
        Figure("uniformity (lower: more even)", jackknife(lambda rows: uniformity(pairs[np.ix_(rows, rows)]), number, seed)),
        Figure("alignment of halves (lower: nearer)", mean(distance, seed)),
        Figure("effective rank", jackknife(lambda rows: effective_rank(vectors[rows]), number, seed)),
    ]
    notes = []
    cut = int(cut_of(encoded).sum())
    if cut:
        notes.append(f"{cut} of {number} texts of the corpus were cut")
    curve = by_length(probed, corpus, texts, seed, notes)
    panel = Panel("Unrelated texts", "sentences of each text", "mean similarity", (curve,), logarithmic=True)
    return ProbeResult(number, figures, [panel], notes)


def by_length(probed: Probed, corpus: Corpus, texts: int, seed: int, notes: list[str]) -> Curve:
    """Return the mean similarity of texts that are made of so many sentences each, none of which two texts share."""
    pool: list[str] = []
    for sentences in corpus.sentences:
        pool += sentences
    random.Random(f"{seed} length").shuffle(pool)
    lengths: list[float] = []
    estimates: list[Estimate] = []
    for length in SENTENCES:
        made = [" ".join(pool[start : start + length]) for start in range(0, len(pool) - length + 1, length)][:texts]
        if len(made) < FEWEST:
            notes.append(f"{length} sentences and more are left out: the corpus has {len(pool)} sentences")
            break
        encoded = probed.encode(made)
        if cut_of(encoded).any():
            notes.append(f"{length} sentences and more are left out: texts of that length were cut")
            break
        lengths.append(float(length))
        estimates.append(similarity_estimate(encoded.vectors, seed))
    return Curve("", tuple(lengths), tuple(estimates))


def similarity_estimate(vectors: np.ndarray, seed: int) -> Estimate:
    """Return the mean cosine of all pairs of ``(texts, dim)`` with its interval."""
    return jackknife(lambda rows: mean_similarity(vectors[rows]), len(vectors), seed)


def squared_distances(vectors: np.ndarray) -> np.ndarray:
    """Return the squared distances of all pairs of unit rows, ``(texts, texts)``."""
    squares: np.ndarray = np.maximum(2 - 2 * vectors @ vectors.T, 0.0)
    return squares


def uniformity(squares: np.ndarray) -> float:
    """Return the logarithm of the mean of exp(−2 d²) over all pairs of different texts."""
    return float(np.log(np.exp(-2 * squares[~np.eye(len(squares), dtype=bool)]).mean()))


def neighbour_counts(vectors: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """Return how often each text is among the nearest of the others, ``(texts,)``; of texts at one place the first counts."""
    similarities = vectors @ vectors.T
    np.fill_diagonal(similarities, -np.inf)
    nearest = np.argsort(-similarities, axis=1, kind="stable")[:, :neighbours]
    return np.bincount(nearest.ravel(), minlength=len(vectors))


def skewness(counts: np.ndarray) -> float:
    """Return the skewness of counts; 0 where all are the same."""
    return 0.0 if counts.min() == counts.max() else float(stats.skew(counts))


def effective_rank(vectors: np.ndarray) -> float:
    """Return the effective rank of ``(texts, dim)``.

    >>> round(effective_rank(np.eye(5)), 6)
    5.0
    """
    singular = np.linalg.svd(vectors, compute_uv=False)
    shares = singular / singular.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))
