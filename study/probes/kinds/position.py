"""Position: similarity of a long text with the query of one sentence in it, by the sentence's place.

Last-token pooling is said to favour what stands last (NV-Embed, arXiv 2405.17428, section 3.1), causal mean pooling what stands
first. Sentences are inserted as in arXiv 2412.15241. The figure is a share: 0 where the whole is as near to the sentence's
query as the others alone are, 1 where it is as near as the sentence alone. So a direction that all vectors
share changes nothing.
"""

from __future__ import annotations

import math
import random

import numpy as np

from common.errors import UserError
from study.probes import FEWEST_TEXTS
from study.probes.encoder import Probed, cosines, cut_of
from study.probes.intervals import bootstrap, means
from study.probes.result import Curve, Figure, Panel, ProbeResult
from study.probes.texts import Corpus, joined

FILLERS = 16
PLACES = (0.0, 0.25, 0.5, 0.75, 1.0)
MIDDLE = PLACES.index(0.5)


def position(probed: Probed, corpus: Corpus, texts: int, seed: int) -> ProbeResult:
    """Put a sentence of each text among 16 sentences of others, at five places.

    Raises:
        UserError: too few texts fit the maximum length.
    """
    queries, fillers, needles = [], [], []
    documents: list[str] = []
    for number, needle in corpus.needles(texts):
        sentences = corpus.fillers(number, FILLERS, random.Random(f"{seed} position {number}"))
        queries.append(needle)
        fillers.append(joined(sentences))
        needles.append(joined([needle]))
        for place in PLACES:
            before = round(place * FILLERS)
            documents.append(joined([*sentences[:before], needle, *sentences[before:]]))
    asked = probed.encode(queries, "query").vectors
    level = cosines(asked, probed.encode(fillers).vectors)
    own = cosines(asked, probed.encode(needles).vectors) - level
    encoded = probed.encode(documents)
    cut = np.any(cut_of(encoded).reshape(-1, len(PLACES)), axis=1)
    kept = np.flatnonzero(~cut)
    lost = len(queries) - len(kept)
    if len(kept) < FEWEST_TEXTS:
        raise UserError(
            f"{lost} of {len(queries)} long texts were cut: give a larger --max_length, or a corpus of shorter sentences"
        )
    gained = cosines(np.repeat(asked, len(PLACES), axis=0), encoded.vectors).reshape(-1, len(PLACES)) - level[:, None]
    values = np.column_stack([gained, own])[kept]  # (texts, places + 1)
    estimates = bootstrap(values, figures_of, seed)
    shares = estimates[len(FIGURES) :]
    note = "" if math.isfinite(estimates[0].value) else NOTHING
    figures = [Figure(name, estimate, note) for name, estimate in zip(FIGURES, estimates[: len(FIGURES)], strict=True)]
    figures.append(Figure("similarity that the sentence alone gains", means(values, seed)[-1]))
    curve = Curve("", tuple(100 * place for place in PLACES), tuple(shares))
    panel = Panel("A sentence in a long text", "place of the sentence, %", "share of its similarity alone", (curve,))
    notes = [f"{lost} texts that were cut are left out"] if lost else []
    return ProbeResult(len(values), figures, [panel], notes)


FIGURES = ("share kept, mean of all places", "recency (end − middle)", "primacy (beginning − middle)")
NOTHING = "the sentence alone is no nearer to its query than others"


def figures_of(mean: np.ndarray) -> np.ndarray:
    """Return the figures of `FIGURES` and the share at each place, ``(3 + places,)``; not numbers where there is no similarity.

    Args:
        mean: what each place gains, and what the sentence alone gains, ``(places + 1,)``.
    """
    if not mean[-1] > 0:
        return np.full(len(FIGURES) + len(PLACES), math.nan)
    shares = mean[:-1] / mean[-1]
    middle = shares[MIDDLE]
    return np.array([shares.mean(), shares[-1] - middle, shares[0] - middle, *shares])
