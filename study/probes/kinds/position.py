"""Position: similarity of a long text with the query of one sentence in it, by the sentence's place.

Last-token pooling is said to favour what stands last (NV-Embed, arXiv 2405.17428, section 3.1), causal mean pooling what stands
first. Definition as in the insertions of arXiv 2412.15241, with the filler alone taken off.
"""

from __future__ import annotations

import random

import numpy as np

from common.errors import UserError
from study.probes import FEWEST_TEXTS
from study.probes.encoder import Probed, cosines, cut_of
from study.probes.intervals import bootstrap, means
from study.probes.result import Curve, Figure, Panel, ProbeResult
from study.probes.texts import Corpus

FILLERS = 16
PLACES = (0.0, 0.25, 0.5, 0.75, 1.0)
MIDDLE = PLACES.index(0.5)


def position(probed: Probed, corpus: Corpus, texts: int, seed: int) -> ProbeResult:
    """Put a sentence of each text among 16 sentences of others, at five places.

    Raises:
        UserError: too few texts fit the maximum length.
    """
    queries, fillers = [], []
    documents: list[str] = []
    for number, needle in corpus.needles(texts):
        sentences = corpus.fillers(number, FILLERS, random.Random(f"{seed} position {number}"))
        queries.append(needle)
        fillers.append(" ".join(sentences))
        for place in PLACES:
            before = round(place * FILLERS)
            documents.append(" ".join([*sentences[:before], needle, *sentences[before:]]))
    asked = probed.encode(queries, "query").vectors
    alone = probed.encode(fillers)
    encoded = probed.encode(documents)
    cut = np.any(cut_of(encoded).reshape(-1, len(PLACES)), axis=1)
    kept = np.flatnonzero(~cut)
    lost = len(queries) - len(kept)
    if len(kept) < FEWEST_TEXTS:
        raise UserError(
            f"{lost} of {len(queries)} long texts were cut: give a larger --max_length, or a corpus of shorter sentences"
        )
    level = cosines(asked, alone.vectors)
    values = cosines(np.repeat(asked, len(PLACES), axis=0), encoded.vectors).reshape(-1, len(PLACES)) - level[:, None]
    values = values[kept]
    figures = []
    for name, statistic in STATISTICS.items():
        figures.append(Figure(name, bootstrap(values, statistic, seed)[0]))
    places = tuple(100 * place for place in PLACES)
    curve = Curve("", places, tuple(means(values, seed)))
    panel = Panel("A sentence in a long text", "place of the sentence, %", "similarity gained with its query", (curve,))
    notes = [f"{lost} texts that were cut are left out"] if lost else []
    return ProbeResult(len(values), figures, [panel], notes)


def recency(mean: np.ndarray) -> np.ndarray:
    """Return the end's gain without the middle's; ``mean`` is ``(places,)``."""
    return np.array([mean[-1] - mean[MIDDLE]])


def primacy(mean: np.ndarray) -> np.ndarray:
    """Return the beginning's gain without the middle's; ``mean`` is ``(places,)``."""
    return np.array([mean[0] - mean[MIDDLE]])


def overall(mean: np.ndarray) -> np.ndarray:
    """Return the mean gain of all places; ``mean`` is ``(places,)``."""
    return np.array([mean.mean()])


STATISTICS = {"gain, mean of all places": overall, "recency (end − middle)": recency, "primacy (beginning − middle)": primacy}
