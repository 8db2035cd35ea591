"""Disagreements of the second opinions with the marks, in words."""

from __future__ import annotations

from comparison.claims.outcome import ALPHA, Category, Contrast
from comparison.report.words.names import called
from comparison.report.words.wording import chance
from comparison.stats.multiple import holm

SURE = 0.95  # probability of the sign that a star should have
EQUAL = 0.9  # probability of the margin that "equivalent" should have
MOST = 6  # comparisons in one sentence


def disagreements(category: Category) -> list[str]:
    """Say where a mixed model or a Bayesian estimate would say something else than sign flips; one sentence of each kind."""
    with_opinion = [contrast for contrast in category.contrasts if contrast.second and contrast.other_tasks.decidable]
    adjusted = holm([contrast.second.mixed_p for contrast in with_opinion if contrast.second])
    doubted, missed = [], []
    for contrast, p in zip(with_opinion, adjusted, strict=True):
        second = contrast.second
        assert second is not None
        if _doubted(contrast, p):
            sign = max(second.p_positive, 1 - second.p_positive)
            doubted.append(f"{_pair(contrast)} (mixed model p {chance(p)} by Holm, probability of the sign {_share(sign)})")
        elif not contrast.starred and p <= ALPHA:
            missed.append(f"{_pair(contrast)} (p {chance(p)} by Holm)")
    sentences = []
    if doubted:
        sentences.append(f"Second opinions do not both support what is said of {_list(doubted)}.")
    if missed:
        sentences.append(
            f"A mixed model, which assumes normal differences, would also separate {_list(missed)}; sign flips do not."
        )
    return sentences


def _doubted(contrast: Contrast, p: float) -> bool:
    """Return whether a star or an equivalence has no support: p is the mixed model's by Holm."""
    second = contrast.second
    assert second is not None
    if contrast.starred:
        return p > ALPHA or max(second.p_positive, 1 - second.p_positive) < SURE
    return contrast.equivalent and second.p_equal < EQUAL


def _share(probability: float) -> str:
    """Return a probability in per cent; one that is not certain is not shown as certain."""
    if probability > 0.99:
        return "over 99%"
    return f"{probability:.0%}"


def _pair(contrast: Contrast) -> str:
    return f"{called(contrast.a)} − {called(contrast.b)}"


def _list(parts: list[str]) -> str:
    listing = "; ".join(parts[:MOST])
    if len(parts) > MOST:
        listing += f"; and {len(parts) - MOST} more"
    return listing
