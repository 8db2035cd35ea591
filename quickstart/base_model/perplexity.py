"""Count-based language models that the base model's perplexity is compared with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

TokenArray = npt.NDArray[np.uint16]


def unigram_probabilities(train: TokenArray, vocabulary: int) -> npt.NDArray[np.float64]:
    """Return token frequencies with half a count added to each."""
    counts = np.bincount(train, minlength=vocabulary) + 0.5
    return np.asarray(counts / counts.sum())


def unigram_loss(train: TokenArray, windows: npt.NDArray[np.int64], vocabulary: int) -> float:
    """Return the mean negative log-likelihood in nats of the predicted tokens of held-out windows ``(windows, length + 1)``."""
    return float(-np.log(unigram_probabilities(train, vocabulary)[windows[:, 1:]]).mean())


def bigram_loss(train: TokenArray, windows: npt.NDArray[np.int64], vocabulary: int) -> float:
    """Return the same for a bigram model interpolated with the unigram one (Jelinek and Mercer 1980).

    ``p(b | a) = w(a) count(a, b) / count(a) + (1 - w(a)) p(b)`` with ``w(a) = count(a) / (count(a) + k)``; k is the
    best on the first tenth of the held-out windows, which favours this baseline.
    """
    unigram = unigram_probabilities(train, vocabulary)
    codes, counts = np.unique(train[:-1].astype(np.int64) * vocabulary + train[1:], return_counts=True)
    context = np.bincount(train[:-1], minlength=vocabulary)
    before, after = windows[:, :-1].ravel(), windows[:, 1:].ravel()
    queries = before * vocabulary + after
    place = np.minimum(np.searchsorted(codes, queries), len(codes) - 1)
    pair = np.where(codes[place] == queries, counts[place], 0)
    seen = context[before]
    conditional = pair / np.maximum(seen, 1)

    def loss(k: float, part: slice) -> float:
        weight = seen / (seen + k)
        likelihood = weight * conditional + (1 - weight) * unigram[after]
        return float(-np.log(likelihood[part]).mean())

    best = min((10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0), key=lambda k: loss(k, slice(len(after) // 10)))
    return loss(best, slice(None))
