"""Massive activations: whether a token or two are so large that a mean over tokens hardly depends on the text.

Sun et al. 2024, arXiv 2402.17762. By layer: the norm of a text's largest token as a multiple of its median one, and how alike
the means of different texts are, of token states as they are and of states of one size (``pooling.normalised_mean``).
"""

from __future__ import annotations

import numpy as np

from study.probes.encoder import cut_note
from study.probes.intervals import means, of_best_column
from study.probes.kinds.geometry import similarity_estimate
from study.probes.kinds.layers import chosen_layers
from study.probes.result import Curve, Estimate, Figure, Panel, ProbeResult
from study.probes.token_states import Layers

CURVES = {"mean": "mean", "normalised_mean": "mean of states of one size"}


def massive(texts: Layers, seed: int) -> ProbeResult:
    """Measure token norms and means by layer."""
    count = texts.largest.shape[1]
    places = tuple(float(layer) for layer in range(1, count + 1))
    ratio = texts.largest.astype(np.float64) / np.maximum(texts.median, 1e-12)  # (texts, layers)
    ratios = means(ratio, seed)
    largest, chosen = of_best_column(ratio, seed)
    likeness: dict[str, list[Estimate]] = {}
    for name in CURVES:
        likeness[name] = [similarity_estimate(texts.states[name][:, layer], seed) for layer in range(count)]
    top = int(np.argmax(ratio.mean(axis=0)))
    figures = [
        Figure("largest token, multiple of the median one", largest, chosen_layers(chosen)),
        Figure("similarity of different texts there, mean", likeness["mean"][top], f"(layer {top + 1})"),
        Figure("similarity there, states of one size", likeness["normalised_mean"][top]),
        Figure("last layer, mean", likeness["mean"][-1]),
        Figure("last layer, states of one size", likeness["normalised_mean"][-1]),
    ]
    curves = [Curve(words, places, tuple(likeness[name])) for name, words in CURVES.items()]
    panels = [
        Panel("The largest token", "layer", "norm : median norm", (Curve("", places, tuple(ratios)),)),
        Panel("Means of different texts", "layer", "mean similarity", tuple(curves)),
    ]
    return ProbeResult(len(ratio), figures, panels, cut_note(texts.cut, len(ratio)))
