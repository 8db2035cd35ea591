"""Rotary embeddings whose frequencies depend on the length, computed for each text by its own length.

transformers chooses them for a whole batch by its longest text (``longrope``), or keeps those of an earlier batch
(``dynamic``): a text's vector would depend on its batch mates. Here each row has the frequencies that it has alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

CosSin = tuple[Tensor, Tensor]
LENGTHS, PLAIN = "_row_lengths", "plain_forward"


def depends_on_length(rope_type: Any) -> bool:
    """Whether a rope type has other frequencies for longer texts."""
    return isinstance(rope_type, str) and (rope_type == "longrope" or "dynamic" in rope_type)


def separate_rows(backbone: nn.Module) -> None:
    """Let the rotary embeddings of a backbone choose their frequencies row by row; the others stay as they are."""
    for module in backbone.modules():
        kinds = getattr(module, "rope_type", None)
        names = list(kinds.values()) if isinstance(kinds, dict) else [kinds]
        if any(depends_on_length(name) for name in names):
            kind = type(module)
            plain = inspect.unwrap(kind.forward)  # without the decorator that chooses frequencies for the batch
            module.__class__ = type(f"RowWise{kind.__name__}", (kind,), {"forward": rotary, PLAIN: staticmethod(plain)})


@contextmanager
def rows_of(backbone: nn.Module, attention_mask: Tensor | None, pool_mask: Tensor) -> Iterator[None]:
    """Tell rotary embeddings inside the block how long each row is.

    Args:
        backbone: whose embeddings.
        attention_mask: ``(batch, tokens)``; ``None`` where padding, if any, is on the right and no token sees it.
        pool_mask: ``(batch, tokens)``; with EOS pooled, its last token is the row's last one.
    """
    modules = [module for module in backbone.modules() if hasattr(type(module), PLAIN)]
    if not modules:
        yield
        return
    if attention_mask is not None:
        lengths = attention_mask.long().sum(dim=1)
    else:
        places = torch.arange(1, pool_mask.shape[1] + 1, device=pool_mask.device)
        lengths = (pool_mask.bool() * places).amax(dim=1)
    for module in modules:
        setattr(module, LENGTHS, lengths)
    try:
        yield
    finally:
        for module in modules:
            delattr(module, LENGTHS)


@torch.no_grad()
def rotary(module: Any, x: Tensor, position_ids: Tensor, layer_type: str | None = None) -> CosSin:
    """Compute cosines and sines ``(batch, tokens, head)``, each row with the frequencies of its own length.

    Args:
        module: the rotary embedding.
        x: hidden states.
        position_ids: ``(batch or 1, tokens)``.
        layer_type: of models that have an embedding for each kind of layer.
    """
    kind = module.rope_type if layer_type is None else module.rope_type[layer_type]
    options = {} if layer_type is None else {"layer_type": layer_type}
    if not depends_on_length(kind):
        result: CosSin = module.plain_forward(module, x, position_ids, **options)
        return result
    lengths = getattr(module, LENGTHS, None)
    if lengths is None:  # the backbone was called alone, without padding: by the probe of attention
        lengths = (position_ids.amax(dim=-1) + 1).reshape(-1)[:1].expand(x.shape[0])
    switch = switch_length(module, layer_type)
    cos, sin = with_frequencies(module, x, position_ids, None, layer_type)
    if position_ids.shape[-1] <= switch:
        return cos, sin
    cos, sin = (part.expand(x.shape[0], -1, -1) for part in (cos, sin))
    for length, rows in groups(kind, lengths, switch):
        long_cos, long_sin = with_frequencies(module, x, position_ids, length, layer_type)
        cos, sin = torch.where(rows, long_cos, cos), torch.where(rows, long_sin, sin)
    return cos, sin


def groups(kind: str, lengths: Tensor, switch: int) -> Iterator[tuple[int, Tensor]]:
    """Yield each length beyond ``switch`` that has frequencies of its own, and the mask ``(batch, 1, 1)`` of its rows."""
    if kind == "longrope":  # one set for all lengths beyond the switch
        yield switch + 1, (lengths > switch)[:, None, None]
        return
    if type(lengths) is not Tensor:  # without values, as where memory is planned: any length has the same shapes
        yield switch + 1, (lengths > switch)[:, None, None]
        return
    for length in sorted(set(lengths.tolist())):
        if length > switch:
            yield length, (lengths == length)[:, None, None]


def switch_length(module: Any, layer_type: str | None) -> int:
    """Return the longest text that has the frequencies of short texts."""
    kind = module.rope_type if layer_type is None else module.rope_type[layer_type]
    if kind != "longrope":
        return int(module.original_max_seq_len)
    parameters = module.config.rope_parameters
    return int((parameters if layer_type is None else parameters[layer_type])["original_max_position_embeddings"])


def with_frequencies(module: Any, x: Tensor, position_ids: Tensor, length: int | None, layer_type: str | None) -> CosSin:
    """Compute cosines and sines with the frequencies of texts of ``length`` tokens, ``None`` for those of short texts."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    options = {} if layer_type is None else {"layer_type": layer_type}
    prefix = "" if layer_type is None else f"{layer_type}_"
    kind = module.rope_type if layer_type is None else module.rope_type[layer_type]
    scaling = f"{prefix}attention_scaling"
    before = getattr(module, f"{prefix}inv_freq"), getattr(module, scaling)
    frequencies, factor = getattr(module, f"{prefix}original_inv_freq"), before[1]
    if length is not None:
        frequencies, factor = ROPE_INIT_FUNCTIONS[kind](module.config, x.device, seq_len=length, **options)
    setattr(module, f"{prefix}inv_freq", frequencies.to(x.device))
    setattr(module, scaling, factor)
    try:
        result: CosSin = module.plain_forward(module, x, position_ids, **options)
        return result
    finally:
        setattr(module, f"{prefix}inv_freq", before[0])
        setattr(module, scaling, before[1])
