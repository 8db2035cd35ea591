"""Word order: a sentence against its shuffle, and who does what to whom against the same in the passive.

A bag of words sees no difference between a sentence and its shuffle, and takes swapped roles for the same sentence. Shuffles as
in arXiv 2012.15180; pairs with swapped words as in PAWS, arXiv 1904.01130, here made from a list, so that no labels are needed.
"""

from __future__ import annotations

import itertools
import random

import numpy as np

from study.probes.encoder import Probed, cosines
from study.probes.intervals import bootstrap, mean
from study.probes.result import Curve, Estimate, Figure, Panel, ProbeResult
from study.probes.texts import Corpus

FEWEST_WORDS = 6
PERSONS = ("doctor", "lawyer", "teacher", "soldier", "farmer", "painter", "baker", "judge", "pilot", "singer")
DEEDS = ("followed", "admired", "called", "helped", "warned", "visited", "thanked", "blamed")
ROLE_SENTENCES = 80


def word_order(probed: Probed, corpus: Corpus, texts: int, seed: int) -> ProbeResult:
    """Compare sentences of the corpus with their shuffles, and made ones with swapped roles and passives."""
    distances = shuffle_distances(probed, corpus, texts, seed)
    sensitivity = bootstrap(distances, lambda pair: np.array([pair[0] / max(pair[1], 1e-9)]), seed)[0]
    roles = role_similarities(probed, seed)  # (sentences, 3)
    swap, passive = roles[:, 0], roles[:, 1]
    right = (passive > swap) + 0.5 * (passive == swap)
    estimates = {
        "with its shuffle": mean(1 - distances[:, 0], seed),
        "with another": mean(1 - distances[:, 1], seed),
        "with roles swapped": mean(swap, seed),
        "in the passive": mean(passive, seed),
        "other persons": mean(roles[:, 2], seed),
    }
    figures = [Figure("order sensitivity (shuffle : other sentence)", sensitivity)]
    figures += [Figure(f"similarity {name}", estimate) for name, estimate in estimates.items()]
    figures.append(Figure("passive nearer than swapped roles", mean(right, seed)))
    return ProbeResult(len(distances), figures, [similarity_panel(list(estimates.values()))])


def similarity_panel(estimates: list[Estimate]) -> Panel:
    """Return the similarities as points, in the order of the table."""
    places = tuple(float(number) for number in range(1, len(estimates) + 1))
    names = "1 shuffle, 2 another sentence, 3 swapped roles, 4 passive, 5 other persons"
    return Panel("A sentence and …", names, "similarity", (Curve("", places, tuple(estimates)),))


def shuffle_distances(probed: Probed, corpus: Corpus, texts: int, seed: int) -> np.ndarray:
    """Return for each sentence its distance (1 − cosine) from its shuffle and from another text's, ``(sentences, 2)``."""
    needles = [needle for _, needle in corpus.needles(texts, FEWEST_WORDS) if len(set(needle.split())) > 1]
    shuffles = [shuffled(needle, random.Random(f"{seed} order {number}")) for number, needle in enumerate(needles)]
    plain = probed.encode(needles).vectors
    others = np.roll(plain, 1, axis=0)
    return np.stack([1 - cosines(plain, probed.encode(shuffles).vectors), 1 - cosines(plain, others)], axis=1)


def shuffled(sentence: str, draw: random.Random) -> str:
    """Return a sentence with its words in another order.

    >>> sorted(shuffled("a b c", random.Random(0)).split()), shuffled("a b c", random.Random(0)) == "a b c"
    (['a', 'b', 'c'], False)
    """
    words = sentence.split()
    if len(set(words)) < 2:
        return sentence
    while True:
        mixed = draw.sample(words, len(words))
        if mixed != words:
            return " ".join(mixed)


def role_similarities(probed: Probed, seed: int) -> np.ndarray:
    """Return the similarities of a sentence with swapped roles, its passive, and other persons, ``(sentences, 3)``."""
    active, swapped, passive, other = [], [], [], []
    choices = list(itertools.product(itertools.permutations(PERSONS, 2), DEEDS))
    for (agent, patient), deed in random.Random(f"{seed} roles").sample(choices, ROLE_SENTENCES):
        rest = [person for person in PERSONS if person not in (agent, patient)]
        active.append(f"the {agent} {deed} the {patient}")
        swapped.append(f"the {patient} {deed} the {agent}")
        passive.append(f"the {patient} was {deed} by the {agent}")
        other.append(f"the {rest[0]} {deed} the {rest[1]}")
    plain = probed.encode(active).vectors
    columns = [cosines(plain, probed.encode(texts).vectors) for texts in (swapped, passive, other)]
    return np.stack(columns, axis=1)
