"""Layers: a score by layer with mean and last-token pooling, similarity between layers, and what the pooling attends to.

The score is that of `study.probes.matching`, of the bare states: no trained pooling takes part. Similarity is linear CKA of the
means over tokens, each of length 1 (Kornblith et al. 2019, arXiv 1905.00414), with the unbiased estimator of arXiv 2010.15327,
equation 3.
"""

from __future__ import annotations

import itertools

import numpy as np

from study.probes.encoder import cut_note, unit
from study.probes.intervals import jackknife, means, of_best_column
from study.probes.matching import reciprocal_ranks
from study.probes.result import Curve, Estimate, Figure, Panel, ProbeResult
from study.probes.token_states import Layers


def layers(queries: Layers, documents: Layers, seed: int) -> ProbeResult:
    """Score, compare and weigh the layers.

    Args:
        queries: first halves of texts.
        documents: second halves of the same.
        seed: of the intervals.
    """
    texts, count = documents.largest.shape
    places = tuple(float(layer) for layer in range(1, count + 1))
    figures, curves = [], []
    for pooling in ("mean", "last"):
        ranks = reciprocal_ranks_by_layer(queries.states[pooling], documents.states[pooling])
        estimates = means(ranks, seed)
        best, chosen = of_best_column(ranks, seed)
        figures.append(Figure(f"score of the last layer, {pooling}", estimates[-1]))
        figures.append(Figure(f"score of the best layer, {pooling}", best, chosen_layers(chosen)))
        curves.append(Curve(pooling, places, tuple(estimates)))
    grams = [gram(documents.states["mean"][:, layer]) for layer in range(count)]
    neighbours = neighbour_similarities(grams, seed)
    panels = [
        Panel("A half finds its other half", "layer", "mean reciprocal rank", tuple(curves)),
        Panel("Similarity with the layer before", "layer", "CKA", (Curve("", places[1:], tuple(neighbours)),)),
    ]
    if documents.attention is not None:
        attention = documents.attention.astype(np.float64)
        shares = means(attention, seed)
        most, chosen = of_best_column(attention, seed)
        note = f"{chosen_layers(chosen)}, even would be {1 / count:.3f}"
        figures.append(Figure("largest share of the pooling's attention", most, note))
        panels.append(Panel("The pooling's attention", "layer", "share", (Curve("", places, tuple(shares)),)))
    notes = cut_note(queries.cut + documents.cut, 2 * texts, "halves")
    return ProbeResult(texts, figures, panels, notes, {"similarity between layers (CKA)": similarity_matrix(grams)})


def chosen_layers(columns: list[int]) -> str:
    """Return which layers were chosen, each on one half of the texts for the other one.

    >>> chosen_layers([11]), chosen_layers([4, 11])
    ('(layer 12, chosen on other texts)', '(layers 5 and 12, chosen on other texts)')
    """
    names = " and ".join(str(column + 1) for column in columns)
    return f"({'layer' if len(columns) == 1 else 'layers'} {names}, chosen on other texts)"


def reciprocal_ranks_by_layer(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Return each text's reciprocal rank in each layer, ``(texts, layers)``; both are ``(texts, layers, hidden)``."""
    columns = [reciprocal_ranks(queries[:, layer], documents[:, layer]) for layer in range(queries.shape[1])]
    return np.stack(columns, axis=1)


def neighbour_similarities(grams: list[np.ndarray], seed: int) -> list[Estimate]:
    """Return the similarity of each layer but the first with the one before it."""
    estimates = []
    for before, after in itertools.pairwise(grams):
        estimates.append(cka_estimate(before, after, seed))
    return estimates


def cka_estimate(first: np.ndarray, second: np.ndarray, seed: int) -> Estimate:
    """Return the similarity of two layers with its interval over texts."""

    def statistic(rows: np.ndarray) -> float:
        return cka(first[np.ix_(rows, rows)], second[np.ix_(rows, rows)])

    return jackknife(statistic, len(first), seed)


def similarity_matrix(grams: list[np.ndarray]) -> list[list[float]]:
    """Return the similarity of every layer with every other, ``layers`` lists of ``layers``."""
    rows = []
    for first in grams:
        rows.append([round(cka(first, second), 4) for second in grams])
    return rows


def gram(states: np.ndarray) -> np.ndarray:
    """Return the products of unit states ``(texts, hidden)``, centred, ``(texts, texts)`` float64."""
    scaled = unit(states)
    centred = scaled - scaled.mean(axis=0)
    products: np.ndarray = centred @ centred.T
    return products


def cka(first: np.ndarray, second: np.ndarray) -> float:
    """Return the similarity of two layers by their products; 1 for the same up to rotation and scale, 0 for unrelated ones.

    Args:
        first: ``(texts, texts)``.
        second: the same of another layer.
    """
    scale = np.sqrt(max(hsic(first, first), 0.0) * max(hsic(second, second), 0.0))
    return float(hsic(first, second) / scale) if scale > 0 else 0.0


def hsic(first: np.ndarray, second: np.ndarray) -> float:
    """Return the unbiased estimate of the Hilbert-Schmidt independence criterion of two matrices of products."""
    texts = len(first)
    without = ~np.eye(texts, dtype=bool)
    left, right = first * without, second * without
    crossed = float((left * right).sum())
    alone = float(left.sum() * right.sum()) / ((texts - 1) * (texts - 2))
    shared = 2 * float(left.sum(axis=0) @ right.sum(axis=0)) / (texts - 2)
    return (crossed + alone - shared) / (texts * (texts - 3))
