"""Worlds at the edges: where assumptions hold least, and where runs are few and unlike. MTEB English with the default map."""

from __future__ import annotations

from functools import partial

from comparison.simulation.worlds import ENGLISH, MARGIN, World, with_sd

English = partial(World, families=ENGLISH, assumed=ENGLISH)
Narrow = partial(World, families=with_sd(ENGLISH, 0.012), assumed=ENGLISH)
Narrowest = partial(World, families=with_sd(ENGLISH, 0.008), assumed=ENGLISH)
THREE, TWO, UNEQUAL = (3,) * 5, (2,) * 5, (3, 3, 1, 1, 1)

SCATTER = [
    English("one run each, normal"),
    English("heavy tails (t, 3 df)", noise="heavy"),
    English("rare large differences (8 % of tasks, 11 times)", noise="rare"),
    English("exponential", noise="skewed"),
    English("tasks of unequal spread (lognormal .8)", spread_of_tasks=0.8),
    English("ties (scores to .01)", digits=2),
    English("ceiling (mean .95)", level=(0.95, 0.95)),
    English("30 % of tasks missing at random", missing=0.3),
]
SEEDS = [
    English("3 runs, seed sd .006", runs=THREE, run_sd=0.006),
    English("3 runs, seeds heavy-tailed", runs=THREE, run_sd=0.006, run_noise="heavy"),
    English("3 runs, rare seed jumps", runs=THREE, run_sd=0.006, run_noise="rare"),
    English("3 runs, .002 for three designs, .020 for two", runs=THREE, run_sd=(0.002, 0.002, 0.002, 0.02, 0.02)),
    English("3 runs, model5 .020, others .002", runs=THREE, run_sd=(0.002, 0.002, 0.002, 0.002, 0.02)),
    English("2 runs, .006 each", runs=TWO, run_sd=0.006),
    Narrow("2 runs, baseline .009, others .003, over tasks .012", runs=TWO, run_sd=(0.009, *[0.003] * 4)),
    English("2 runs, baseline .020, others .002", runs=TWO, run_sd=(0.02, *[0.002] * 4)),
    Narrow("2 runs, baseline .020, others .002, over tasks .012", runs=TWO, run_sd=(0.02, *[0.002] * 4)),
    English("2 runs, model5 .020, others .002", runs=TWO, run_sd=(*[0.002] * 4, 0.02)),
    Narrow("runs 3-3-1-1-1, .006 each, over tasks .012", runs=UNEQUAL, run_sd=0.006),
    Narrow("runs 3-3-1-1-1, single .006, repeated .003", runs=UNEQUAL, run_sd=(0.003, 0.003, 0.006, 0.006, 0.006)),
    Narrow("runs 3-3-1-1-1, single .010, repeated .003", runs=UNEQUAL, run_sd=(0.003, 0.003, 0.01, 0.01, 0.01)),
    Narrowest("runs 3-3-1-1-1, single .020, repeated .003, over tasks .008", runs=UNEQUAL, run_sd=(0.003, 0.003, *[0.02] * 3)),
    English("runs 5-3-2-1-1, single .020, others .003", runs=(5, 3, 2, 1, 1), run_sd=(0.003, 0.003, 0.003, 0.02, 0.02)),
]
LOPSIDED = English("lopsided (exponential, baseline alike on all tasks)", noise="lopsided")
TEN_PAIRS = English("10 pairs, one run each, normal")
BEST_OF_5 = English("baseline chosen afterwards as the best of 5")
BEST_OF_15 = English(
    "baseline chosen afterwards as the best of 15", runs=(1,) * 15, effects=dict.fromkeys(ENGLISH, (0.0,) * 15)
)

KNOWN = {name: structure for name, structure in ENGLISH.items() if name != "Retrieval"}


def unmapped(name: str, sizes: list[int], correlation: float) -> World:
    """Return a world in which nobody knows how the retrieval tasks are related."""
    return World(name, families={**ENGLISH, "Retrieval": (sizes, correlation, 0.03)}, assumed=KNOWN)


UNMAPPED = [
    unmapped("retrieval in no map: six pairs of related tasks (.5)", [2] * 6 + [1] * 3, 0.5),
    unmapped("retrieval in no map: 3 sets x 5 languages (.5)", [5] * 3, 0.5),
    unmapped("retrieval in no map: one set in 15 languages (.9)", [15], 0.9),
]
EDGE = dict.fromkeys(ENGLISH, (0.0, *[MARGIN] * 4))  # every design the margin away, on the side of the tail
EQUIVALENCE = [
    Narrowest("normal", effects=EDGE),
    Narrowest("heavy tails", effects=EDGE, noise="heavy"),
    Narrowest("rare large", effects=EDGE, noise="rare"),
    Narrowest("lopsided, the tail beyond the margin", effects=EDGE, noise="lopsided"),
    Narrowest("3 runs, seed sd .003", effects=EDGE, runs=THREE, run_sd=0.003),
]
SIZES = (0.01, 0.02, 0.03)  # of one design out of four, for power


def better_by(size: float, name: str, runs: tuple[int, ...] = (1,) * 5, run_sd: float = 0.0) -> World:
    """Return a world in which model5 is better than the others, by the same in each category."""
    effects = dict.fromkeys(ENGLISH, (0.0, 0.0, 0.0, 0.0, size))
    return World(name, effects=effects, runs=runs, run_sd=run_sd, families=ENGLISH, assumed=ENGLISH)
