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

from study.probes.encoder import Probed, cosines, cut_note, cut_of, unit
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
    asked, found = probed.encode(firsts, "query"), probed.encode(seconds)
    distance = 2 - 2 * cosines(asked.vectors, found.vectors)
    number = len(vectors)
    figures = [
        Figure("similarity of unrelated texts", jackknife(lambda rows: mean_similarity(vectors[rows]), number, seed)),
        Figure("hubness (skewness)", jackknife(lambda rows: skewness(counts[rows]), number, seed)),
        Figure("uniformity (lower: more even)", jackknife(lambda rows: uniformity(pairs[np.ix_(rows, rows)]), number, seed)),
        Figure("alignment of halves (lower: nearer)", mean(distance, seed)),
        Figure("effective rank", jackknife(lambda rows: effective_rank(vectors[rows]), number, seed)),
    ]
    notes = cut_note(int(cut_of(encoded).sum()), number, "texts of the corpus")
    notes += cut_note(int(cut_of(asked).sum() + cut_of(found).sum()), 2 * len(firsts), "halves")
    curve = by_length(probed, corpus, texts, seed, notes)
    panel = Panel("Unrelated texts", "sentences of each text", "mean similarity", (curve,), logarithmic=True)
    return ProbeResult(number, figures, [panel], notes)


def by_length(probed: Probed, corpus: Corpus, texts: int, seed: int, notes: list[str]) -> Curve:
    """Return the mean similarity of texts that are made of so many sentences each, no two of them of one text of the corpus."""
    lengths: list[float] = []
    estimates: list[Estimate] = []
    for length in SENTENCES:
        made = made_texts(corpus, length, texts, random.Random(f"{seed} length {length}"))
        if len(made) < FEWEST:
            notes.append(f"{length} sentences and more are left out: {len(made)} such texts can be made, {FEWEST} are needed")
            break
        encoded = probed.encode(made)
        if cut_of(encoded).any():
            notes.append(f"{length} sentences and more are left out: texts of that length were cut")
            break
        lengths.append(float(length))
        estimates.append(similarity_estimate(encoded.vectors, seed))
    return Curve("", tuple(lengths), tuple(estimates))


def made_texts(corpus: Corpus, length: int, most: int, draw: random.Random) -> list[str]:
    """Return up to ``most`` texts of ``length`` sentences; sentences of one text of the corpus stand in one of them only.

    Two sentences of one text have its topic in common, so texts that share a source would not be unrelated.
    """
    sources = [list(sentences) for sentences in corpus.sentences if sentences]
    draw.shuffle(sources)
    fewest = len(sources) // most  # sources of a made text, where the corpus has so many: more mixed, as long ones are
    made: list[str] = []
    pool: list[str] = []
    taken = 0
    for sentences in sources:
        pool += sentences
        taken += 1
        if len(pool) >= length and taken >= fewest:
            made.append(" ".join(draw.sample(pool, length)))
            pool, taken = [], 0
    return made[:most]


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
