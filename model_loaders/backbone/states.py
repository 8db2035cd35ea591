"""Reads from the backbone what a design's pooling needs: ``(batch, items, hidden)`` states and their mask.

Layer 0 (the token embeddings) is never read. The last layer is read after the final norm, the others before it: the
input of decoder layer i + 1 is the output of layer i, so it is taken there as the layers run, and no list of all hidden
states is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import UserError
from model_loaders.backbone.packing import Packing, make_packing, packed
from model_loaders.backbone.rope import rows_of
from model_loaders.designs import Design
from model_loaders.text.batch import Row
from pooling import TOKEN_POOLINGS

Reduce = Callable[[Tensor, Tensor], Tensor]


def read_states(
    backbone: nn.Module,
    design: Design,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    pool_mask: Tensor,
    row: Row | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Run the backbone and return what the design's pooling reads.

    Args:
        backbone: a decoder without language-model head, possibly wrapped by peft.
        design: the row of the table.
        input_ids: ``(batch, tokens)``.
        attention_mask: ``(batch, tokens)``; padding may be on either side. ``None`` where nothing needs hiding: without any
            padding, and in a causal design with padding on the right, which no real token sees.
        pool_mask: ``(batch, tokens)``; the tokens that the pooling may read.
        row: the real tokens, where these alone are computed (`backbone.packing`).

    Returns:
        The states ``(batch, items, hidden)`` and their mask ``(batch, items)``; the mask is ``None`` where every item is
        real. Items are tokens for ``tokens="all"``, else layers (one for ``layers="last"``).
    """
    if row is not None:
        packing = make_packing(row, input_ids.shape, design.attention == "causal", backbone)
        with packed(backbone, packing):
            return states_of(backbone, design, packing.inputs_of(input_ids), pool_mask, packing)
    with rows_of(backbone, attention_mask, pool_mask):
        return states_of(backbone, design, inputs_of(input_ids, attention_mask), pool_mask)


def inputs_of(input_ids: Tensor, attention_mask: Tensor | None) -> dict[str, Any]:
    """Return the arguments of the backbone; both ``(batch, tokens)``."""
    inputs: dict[str, Any] = {"input_ids": input_ids, "use_cache": False}
    if attention_mask is not None:
        # Positions count real tokens only, so that a text's vector does not depend on padding, in bf16 either. Without a mask
        # the backbone counts all of them itself: positions of ours could be taken for several texts packed into one row.
        positions = (attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)
        inputs |= {"attention_mask": attention_mask, "position_ids": positions}
    return inputs


def read_layers(
    backbone: nn.Module, reduce: Reduce, input_ids: Tensor, attention_mask: Tensor | None, pool_mask: Tensor
) -> Tensor:
    """Run the backbone without gradients and return what ``reduce`` makes of each layer 1..L, ``(batch, layers, …)``.

    Args:
        backbone: as `read_states` takes it.
        reduce: takes states ``(batch, tokens, hidden)`` and ``pool_mask``, returns ``(batch, …)``.
        input_ids: ``(batch, tokens)``.
        attention_mask: as `read_states` takes it.
        pool_mask: ``(batch, tokens)``; the tokens that are read.
    """
    with torch.no_grad(), rows_of(backbone, attention_mask, pool_mask), inner_states(backbone, reduce, pool_mask) as states:
        last = reduce(backbone(**inputs_of(input_ids, attention_mask)).last_hidden_state, pool_mask)
    return torch.stack([*states, last], dim=1)


def states_of(
    backbone: nn.Module, design: Design, inputs: dict[str, Any], pool_mask: Tensor, packing: Packing | None = None
) -> tuple[Tensor, Tensor | None]:
    """Run the backbone and return what `read_states` returns; ``packing`` says how the ``inputs`` are packed."""
    if design.tokens == "all":
        states = backbone(**inputs).last_hidden_state
        return states if packing is None else packing.pad(states), pool_mask
    of_tokens = TOKEN_POOLINGS[design.tokens].reduce

    def reduce(states: Tensor, mask: Tensor) -> Tensor:
        return of_tokens(states, mask) if packing is None else packing.reduce(of_tokens, states, mask)

    if design.layers == "last":
        return reduce(backbone(**inputs).last_hidden_state, pool_mask)[:, None], None  # (batch, 1, hidden)
    with inner_states(backbone, reduce, pool_mask) as states:
        last = reduce(backbone(**inputs).last_hidden_state, pool_mask)
    # With gradients the full states were kept by autograd anyway and are reduced here, outside of any checkpointed
    # layer: a reduction inside one would be missing when the layer is recomputed.
    vectors = [state if state.dim() == 2 else reduce(state, pool_mask) for state in states]
    return torch.stack([*vectors, last], dim=1), None  # (batch, layers, hidden)


@contextmanager
def inner_states(backbone: nn.Module, reduce: Reduce, pool_mask: Tensor) -> Iterator[list[Tensor]]:
    """Collect the outputs of layers 1..L-1 while the backbone runs inside the ``with`` block.

    Without gradients each state is reduced at once to ``(batch, hidden)``, so that one vector a layer is kept; with
    gradients the ``(batch, tokens, hidden)`` states are collected by reference.
    """
    states: list[Tensor] = []

    def take(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        states.append(hidden if torch.is_grad_enabled() else reduce(hidden, pool_mask))

    hooks = [layer.register_forward_pre_hook(take, with_kwargs=True) for layer in decoder_layers(backbone)[1:]]
    try:
        yield states
    finally:
        for hook in hooks:
            hook.remove()


def decoder_layers(backbone: nn.Module) -> nn.ModuleList:
    """Return the backbone's list of decoder layers.

    Raises:
        UserError: the backbone has no list of that many layers.
    """
    config: Any = backbone.config
    wanted = int(config.get_text_config(decoder=True).num_hidden_layers)
    for module in backbone.modules():
        if isinstance(module, nn.ModuleList) and len(module) == wanted:
            return module
    raise UserError(f"found no list of {wanted} decoder layers in a {config.model_type!r} model; its layers cannot be read")
