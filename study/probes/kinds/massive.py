"""Massive activations: whether a token or two are so large that a mean over tokens hardly depends on the text.

Sun et al. 2024, arXiv 2402.17762. By layer: the norm of a text's largest token as a multiple of its median one, and how alike
the means of different texts are, of token states as they are and of states of one size (``pooling.normalised_mean``).
"""

from __future__ import annotations

import numpy as np

from study.probes.intervals import means
from study.probes.kinds.geometry import similarity_estimate
from study.probes.result import Curve, Estimate, Figure, Panel, ProbeResult
from study.probes.token_states import Layers

CURVES = {"mean": "mean", "normalised_mean": "mean of states of one size"}


def massive(texts: Layers, seed: int) -> ProbeResult:
    """Measure token norms and means by layer."""
    count = texts.largest.shape[1]
    places = tuple(float(layer) for layer in range(1, count + 1))
    ratios = means(texts.largest.astype(np.float64) / np.maximum(texts.median, 1e-12), seed)
    likeness: dict[str, list[Estimate]] = {}
    for name in CURVES:
        likeness[name] = [similarity_estimate(texts.states[name][:, layer], seed) for layer in range(count)]
    top = int(np.argmax([ratio.value for ratio in ratios]))
    alike = int(np.argmax([estimate.value for estimate in likeness["mean"]]))
    figures = [
        Figure("largest token, multiple of the median one", ratios[top], f"(layer {top + 1})"),
        Figure("similarity of different texts, mean", likeness["mean"][alike], f"(layer {alike + 1})"),
        Figure("the same layer, states of one size", likeness["normalised_mean"][alike]),
        Figure("last layer, mean", likeness["mean"][-1]),
        Figure("last layer, states of one size", likeness["normalised_mean"][-1]),
    ]
    curves = [Curve(words, places, tuple(likeness[name])) for name, words in CURVES.items()]
    panels = [
        Panel("The largest token", "layer", "norm : median norm", (Curve("", places, tuple(ratios)),)),
        Panel("Means of different texts", "layer", "mean similarity", tuple(curves)),
    ]
    return ProbeResult(len(texts.largest), figures, panels)
