"""The table of designs: which attention, what the pooling reads, which pooling. One row is all a new design needs.

Any pairing of attention and pooling has a name, ``ATTENTION_POOLING``, such as ``bidirectional_latent_attention``. Pairings
that stand in the table under another name are found by both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from common.errors import UserError, nearest

Attention = Literal["causal", "bidirectional"]
Layers = Literal["last", "all"]


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

    attention: Attention
    layers: Layers
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
    # Design 5 on LLMs whose inner layers have massive activations (docs/designs.md).
    "model5_normalised": Design("bidirectional", "all", "normalised_mean", "multi_layer",
                                "Multi-Layers Trainable Pooling on normalised means, bidirectional"),
}
# fmt: on

# By the second half of a cell's name: layers, tokens and pooling of the design, and its words.
CELL_POOLINGS: dict[str, tuple[Layers, str, str, str]] = {
    "eos": ("last", "last", "none", "EOS-last-token pooling"),
    "mean": ("last", "mean", "none", "Mean pooling"),
    "weighted_mean": ("last", "weighted_mean", "none", "Weighted mean"),
    "normalised_mean": ("last", "normalised_mean", "none", "Mean of normalised token states"),
    "max": ("last", "max", "none", "Max pooling"),
    "first": ("last", "first", "none", "First token"),
    "last_layer": ("last", "all", "last_layer", "Last-Layer Trainable Pooling over all tokens"),
    "latent_attention": ("last", "all", "latent_attention", "Latent attention"),
    "self_attention": ("last", "all", "self_attention", "Self-attention"),
}
# By pooling: the published sizes of a pooling with weights, as far as flags can choose them (``--pooling_latents``, …).
PUBLISHED_SIZES: dict[str, dict[str, int]] = {
    "last_layer": {"latents": 768, "heads": 32, "head_dim": 2048},
    "multi_layer": {"latents": 768, "heads": 32, "head_dim": 2048},
    "latent_attention": {"latents": 512, "heads": 8, "head_dim": 4096},
    "self_attention": {"heads": 32, "head_dim": 128},
}
# Names by the rule of designs that the table has under another name.
ALIASES = {"causal_multi_layer": "model3", "bidirectional_multi_layer": "model5"}


def add_cells(designs: dict[str, Design], aliases: dict[str, str]) -> None:
    """Add each pairing of attention and pooling to ``designs``; to ``aliases`` where it has a row under another name."""
    rows = {}
    for name, design in designs.items():
        rows[design.attention, design.layers, design.tokens, design.pooling] = name
    for attention in get_args(Attention):
        for cell, (layers, tokens, pooling, words) in CELL_POOLINGS.items():
            name, twin = f"{attention}_{cell}", rows.get((attention, layers, tokens, pooling))
            if twin is None:
                designs[name] = Design(attention, layers, tokens, pooling, f"{words}, {attention}")
            elif twin != name:
                aliases[name] = twin


add_cells(DESIGNS, ALIASES)

# Both kinds of attention with each pooling: what the paper compares, and what it leaves open. With several layers causal
# attention reads EOS states and bidirectional attention masked means, as the paper defines them.
GRID = ("model1", "causal_mean", "model2", "model3", "bidirectional_eos", "bidirectional_mean", "model4", "model5")


def design_name(name: str) -> str:
    """Return the name under which the table has ``name``.

    >>> design_name("causal_eos")
    'model1'

    Raises:
        UserError: no such row; the message names the nearest one and all of them.
    """
    name = ALIASES.get(name, name)
    if name not in DESIGNS:
        close = nearest(name, [*DESIGNS, *ALIASES])
        raise UserError(f"there is no design {name!r}{close}; the designs are: {', '.join(DESIGNS)}")
    return name


def get_design(name: str) -> Design:
    """Return the row ``name`` of the table.

    >>> get_design("model3").pooling
    'multi_layer'

    Raises:
        UserError: no such row; the message names the nearest one and all of them.
    """
    return DESIGNS[design_name(name)]
