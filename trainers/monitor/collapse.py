"""Three figures that show whether vectors still tell texts apart, and the limits of a collapse."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

# Healthy runs often have mean cosines of 0.9, as a decoder's states lie in a narrow cone. That is harmless as long as a query
# is nearer to its positive than to other texts.
SAME_COSINE, NO_MARGIN = 0.99, 0.01
ONE_DIRECTION, ENOUGH = 2.0, 16  # an effective rank; the queries that it needs


def collapse_figures(queries: Tensor, positives: Tensor) -> dict[str, float]:
    """Measure a batch's spread.

    Args:
        queries: ``(queries, dim)`` unit vectors.
        positives: ``(queries, dim)`` unit vectors of their positives.

    Returns:
        ``mean_cosine``: mean cosine of two different queries. ``margin``: mean cosine of a query with its positive minus
        that with other queries' positives. ``effective_rank``: exponential of the entropy of the normalised eigenvalues of
        the queries' covariance (Roy and Vetterli, EUSIPCO 2007, with its eigenvalues instead of singular values): the
        number of directions that the queries vary along, at most one fewer than there are queries. Empty for less than two
        queries.
    """
    count = len(queries)
    if count < 2:
        return {}
    queries, positives = queries.double().cpu(), positives.double().cpu()
    among, across = queries @ queries.T, queries @ positives.T  # (queries, queries)
    pairs = count * (count - 1)
    centred = queries - queries.mean(dim=0)
    # The non-zero eigenvalues of the (dim, dim) covariance, up to a factor, from the smaller matrix.
    eigenvalues = torch.linalg.eigvalsh(centred @ centred.T).clamp(min=0)
    share = eigenvalues / eigenvalues.sum().clamp(min=1e-300)
    own = across.diagonal().sum()
    figures = {
        "mean_cosine": (among.sum() - among.diagonal().sum()) / pairs,
        "margin": own / count - (across.sum() - own) / pairs,
        "effective_rank": torch.special.entr(share).sum().exp(),
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


def figures_by_width(queries: Tensor, positives: Tensor, widths: Sequence[int]) -> dict[str, float]:
    """Measure a batch's spread at full width and after each cut, each vector made unit again: ``margin``, ``margin_64``, ….

    Args:
        queries: ``(queries, dim)`` unit vectors.
        positives: ``(queries, dim)`` unit vectors of their positives.
        widths: of the cuts; one that cuts nothing is left out.
    """
    figures = collapse_figures(queries, positives)
    for width in widths:
        if width == queries.shape[1]:
            continue
        cut = collapse_figures(F.normalize(queries[:, :width], dim=-1), F.normalize(positives[:, :width], dim=-1))
        for name, value in cut.items():
            figures[f"{name}_{width}"] = value
    return figures


def collapse_warning(figures: dict[str, float], queries: int) -> str:
    """Return a warning if the vectors look collapsed, or an empty string.

    Args:
        figures: of `collapse_figures`.
        queries: number of queries that they were computed from.
    """
    if not figures:
        return ""
    advice = "lower --learning_rate, lengthen --warmup_steps, or look whether the queries and positives differ at all"
    cosine, margin, rank = figures["mean_cosine"], figures["margin"], figures["effective_rank"]
    if cosine > SAME_COSINE and margin < NO_MARGIN:
        return (
            f"the vectors look collapsed: two queries have a mean cosine of {cosine}, and positives are nearer than other "
            f"texts by {margin} only; {advice}"
        )
    if queries >= ENOUGH and rank < ONE_DIRECTION:
        return f"the vectors look collapsed: {queries} queries vary along {rank} directions (effective rank); {advice}"
    return ""
