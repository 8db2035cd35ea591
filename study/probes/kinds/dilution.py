"""Dilution: how much of a sentence is left in the vector of a text that holds more and more others.

The margin at n fillers is the similarity of the sentence's query with the text that holds the sentence among them, without its
similarity with the fillers alone. Where a vector is the mean of unrelated sentence vectors it falls as 1/sqrt(n + 1), so that
half of it is gone near n = 3 (a little later, since each text begins with a word of no sentence).
"""

from __future__ import annotations

import math
import random

import numpy as np

from common.errors import UserError
from study.probes.encoder import Probed, cosines, cut_of
from study.probes.intervals import bootstrap, means
from study.probes.result import Curve, Estimate, Figure, Panel, ProbeResult
from study.probes.texts import Corpus, joined

COUNTS = (0, 1, 2, 4, 8, 16, 32, 64)


def dilution(probed: Probed, corpus: Corpus, texts: int, seed: int) -> ProbeResult:
    """Put a sentence of each text in the middle of 0 to 64 sentences of others; lengths at which a text is cut are left out.

    Raises:
        UserError: texts with four fillers are cut already.
    """
    needles = corpus.needles(texts)
    queries = [needle for _, needle in needles]
    fillers = []
    for number, _ in needles:
        fillers.append(corpus.fillers(number, COUNTS[-1], random.Random(f"{seed} dilution {number}")))
    asked = probed.encode(queries, "query").vectors
    counts, columns, notes = [], [], []
    for count in COUNTS:
        whole, alone = [], []
        for needle, sentences in zip(queries, fillers, strict=True):
            chosen = sentences[:count]
            whole.append(joined([*chosen[: count // 2], needle, *chosen[count // 2 :]]))
            alone.append(joined(chosen or sentences[:1]))  # beside the sentence alone: one other sentence
        encoded = probed.encode(whole)
        cut = int(cut_of(encoded).sum())
        if cut:
            notes.append(f"{count} fillers and more are left out: {cut} of {len(whole)} texts were cut")
            break
        margin = cosines(asked, encoded.vectors) - cosines(asked, probed.encode(alone).vectors)
        counts.append(count)
        columns.append(margin)
    if len(counts) < 4:
        raise UserError("texts of five sentences are cut: give a larger --max_length or a corpus of shorter sentences")
    values = np.stack(columns, axis=1)  # (texts, counts)
    lengths = tuple(float(count + 1) for count in counts)
    half = bootstrap(values, lambda mean: np.array([half_length(mean, counts)]), seed)[0]
    figures = [
        Figure("fillers at which half the margin is gone", half, note_on(half, counts[-1])),
        Figure("margin without fillers", means(values, seed)[0]),
        Figure(f"margin with {counts[-1]} fillers", means(values, seed)[-1]),
    ]
    curve = Curve("", lengths, tuple(means(values, seed)))
    panel = Panel("A sentence among others", "sentences of the text", "margin of its query", (curve,), logarithmic=True)
    return ProbeResult(len(values), figures, [panel], notes)


def note_on(half: Estimate, most: int) -> str:
    """Return what stands behind the length at which half of the margin is gone.

    >>> note_on(Estimate(math.nan, math.nan, math.nan), 64), note_on(Estimate(3.0, 2.0, math.inf), 64)
    ('there is no margin to begin with', '(its end: half is not gone at 64)')
    """
    if math.isnan(half.value):
        return "there is no margin to begin with"
    if math.isinf(half.value):
        return f"half is not gone at {most}"
    if math.isnan(half.low) or math.isnan(half.high):
        return "(in some draws of texts there is no margin to begin with)"
    return "" if math.isfinite(half.high) else f"(its end: half is not gone at {most})"


def half_length(margins: np.ndarray, counts: list[int]) -> float:
    """Return the number of fillers at which half of the first margin is gone.

    Infinite where that does not happen, no number where the first margin is not positive.

    Between two counts the logarithm of the margin is taken as linear in that of the sentences, as in a mean of them; where the
    later margin is not positive, the margin itself.

    >>> half_length(np.array([1.0, 1 / 2**0.5, 1 / 3**0.5, 1 / 5**0.5]), [0, 1, 2, 4])
    3.0
    """
    half = margins[0] / 2
    if not half > 0:
        return math.nan
    for place in range(1, len(margins)):
        before, after = margins[place - 1], margins[place]
        if after > half:
            continue
        start, end = math.log(counts[place - 1] + 1), math.log(counts[place] + 1)
        share = (before - half) / (before - after)
        if after > 0:
            share = math.log(before / half) / math.log(before / after)
        return round(math.exp(start + share * (end - start)) - 1, 9)
    return math.inf
