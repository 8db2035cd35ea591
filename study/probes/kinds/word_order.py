"""Word order: a sentence against its shuffle, and who does what to whom against the same in the passive.

A bag of words sees no difference between a sentence and its shuffle, and takes swapped roles for the same sentence. Shuffles as
in arXiv 2012.15180; pairs with swapped words as in PAWS, arXiv 1904.01130, here made from a list, so that no labels are needed.
"""

from __future__ import annotations

import itertools
import random

import numpy as np

from common.errors import UserError
from study.probes import FEWEST_TEXTS
from study.probes.encoder import Probed, cosines, cut_of
from study.probes.intervals import bootstrap, mean, share
from study.probes.result import Curve, Estimate, Figure, Panel, ProbeResult
from study.probes.texts import Corpus

FEWEST_WORDS = 6
PERSONS = ("doctor", "lawyer", "teacher", "soldier", "farmer", "painter", "baker", "judge", "pilot", "singer")
DEEDS = ("followed", "admired", "called", "helped", "warned", "visited", "thanked", "blamed")
ROLE_SENTENCES = 80


def word_order(probed: Probed, corpus: Corpus, texts: int, seed: int) -> ProbeResult:
    """Compare sentences of the corpus with their shuffles, and made ones with swapped roles and passives."""
    distances, notes = shuffle_distances(probed, corpus, texts, seed)
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
    figures.append(Figure("passive nearer than swapped roles", share(right)))
    notes.append(f"roles, passives and other persons: {ROLE_SENTENCES} made sentences, and intervals over those")
    return ProbeResult(len(distances), figures, [similarity_panel(list(estimates.values()))], notes)


def similarity_panel(estimates: list[Estimate]) -> Panel:
    """Return the similarities as points, in the order of the table."""
    places = tuple(float(number) for number in range(1, len(estimates) + 1))
    names = "1 shuffle, 2 another sentence, 3 swapped roles, 4 passive, 5 other persons"
    return Panel("A sentence and …", names, "similarity", (Curve("", places, tuple(estimates)),))


def shuffle_distances(probed: Probed, corpus: Corpus, texts: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Return for each sentence its distance (1 − cosine) from its shuffle and from another text's, and notes.

    Distances are ``(sentences, 2)``.

    Raises:
        UserError: too few sentences fit the maximum length.
    """
    needles = [needle for _, needle in corpus.needles(texts, FEWEST_WORDS) if len(set(needle.split()[1:])) > 1]
    shuffles = [shuffled(needle, random.Random(f"{seed} order {number}")) for number, needle in enumerate(needles)]
    plain, mixed = probed.encode(needles), probed.encode(shuffles)
    kept = np.flatnonzero(~(cut_of(plain) | cut_of(mixed)))  # a cut shuffle has other words than its sentence
    lost = len(needles) - len(kept)
    if len(kept) < FEWEST_TEXTS:
        raise UserError(f"{len(kept)} of {len(needles)} sentences can be shuffled and are not cut: give a larger --max_length")
    sentences = plain.vectors[kept]
    others = np.roll(sentences, 1, axis=0)
    distances = np.stack([1 - cosines(sentences, mixed.vectors[kept]), 1 - cosines(sentences, others)], axis=1)
    return distances, [f"{lost} sentences that were cut are left out"] if lost else []


def shuffled(sentence: str, draw: random.Random) -> str:
    """Return a sentence with its words in another order, but for the first one.

    To many tokenizers a word at the beginning of a text is another token than behind a space: with another first word the
    shuffle would have other tokens than the sentence.

    >>> shuffled("a b c", random.Random(0)), shuffled("a b b", random.Random(0))
    ('a c b', 'a b b')
    """
    first, *words = sentence.split()
    if len(set(words)) < 2:
        return sentence
    while True:
        mixed = draw.sample(words, len(words))
        if mixed != words:
            return " ".join([first, *mixed])


def role_similarities(probed: Probed, seed: int) -> np.ndarray:
    """Return the similarities of a sentence with swapped roles, its passive, and other persons, ``(sentences, 3)``."""
    active, swapped, passive, other = [], [], [], []
    choices = list(itertools.product(itertools.permutations(PERSONS, 2), DEEDS))
    draw = random.Random(f"{seed} roles")
    for (agent, patient), deed in draw.sample(choices, ROLE_SENTENCES):
        others = draw.sample([person for person in PERSONS if person not in (agent, patient)], 2)
        active.append(f"the {agent} {deed} the {patient}")
        swapped.append(f"the {patient} {deed} the {agent}")
        passive.append(f"the {patient} was {deed} by the {agent}")
        other.append(f"the {others[0]} {deed} the {others[1]}")
    plain = probed.encode(active).vectors
    columns = [cosines(plain, probed.encode(texts).vectors) for texts in (swapped, passive, other)]
    return np.stack(columns, axis=1)
