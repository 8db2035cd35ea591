"""The table of designs: which attention, what the pooling reads, which pooling. One row is all a new design needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common.errors import UserError, nearest


@dataclass(frozen=True)
class Design:
    """One way to turn a decoder LLM into an embedder (arXiv 2409.02727, section 3).

    Attributes:
        attention: ``causal``, or ``bidirectional``: every token sees every token.
        layers: the pooling reads the ``last`` layer (after the final norm), or ``all`` layers 1..L (the others before it).
        tokens: of each layer the pooling reads ``all`` tokens, or one state: a row of ``pooling.TOKEN_POOLINGS``, such as
            ``last`` (the last attended token, EOS) or ``mean`` (over the attended tokens).
        pooling: row of ``pooling.POOLINGS``, such as ``last_layer``; ``none`` if the one state is the vector.
        summary: one line for tables and help texts.
    """

    attention: Literal["causal", "bidirectional"]
    layers: Literal["last", "all"]
    tokens: str
    pooling: str
    summary: str


# fmt: off
DESIGNS: dict[str, Design] = {
    # The five designs of the paper.
    "model1": Design("causal",        "last", "last", "none",        "EOS-last-token pooling, causal attention"),
    "model2": Design("causal",        "last", "last", "last_layer",  "Last-Layer Trainable Pooling, causal attention"),
    "model3": Design("causal",        "all",  "last", "multi_layer", "Multi-Layers Trainable Pooling, causal attention"),
    "model4": Design("bidirectional", "last", "all",  "last_layer",  "Last-Layer Trainable Pooling, bidirectional"),
    "model5": Design("bidirectional", "all",  "mean", "multi_layer", "Multi-Layers Trainable Pooling, bidirectional"),
    # The cells that the paper leaves open.
    "causal_mean":        Design("causal",        "last", "mean", "none", "Mean pooling, causal attention"),
    "bidirectional_eos":  Design("bidirectional", "last", "last", "none", "EOS-last-token pooling, bidirectional"),
    "bidirectional_mean": Design("bidirectional", "last", "mean", "none", "Mean pooling, bidirectional"),
}
# fmt: on

# Both kinds of attention with each pooling: what the paper compares, and what it leaves open. With several layers causal
# attention reads EOS states and bidirectional attention masked means, as the paper defines them.
GRID = ("model1", "causal_mean", "model2", "model3", "bidirectional_eos", "bidirectional_mean", "model4", "model5")


def get_design(name: str) -> Design:
    """Return the row ``name`` of the table.

    >>> get_design("model3").pooling
    'multi_layer'

    Raises:
        UserError: no such row; the message names the nearest one and all of them.
    """
    if name not in DESIGNS:
        raise UserError(f"there is no design {name!r}{nearest(name, DESIGNS)}; the designs are: {', '.join(DESIGNS)}")
    return DESIGNS[name]
