"""Texts of several lengths in one row without padding: every layer computes real tokens only, and attention text by text.

A padded batch ``(texts, longest)`` is taken apart into one row ``(1, tokens)`` of its real tokens. Matrix products, norms and
activations work token by token, so they give the same numbers and do no work for padding. Attention alone needs texts apart:
its queries, keys and values are put back into ``(texts, heads, longest, head)``, where the base LLM's own kernel computes them
with the mask of the padded batch. Positions begin anew with each text. Padding costs what it costs in attention alone, which is
a few per cent of a short text's work.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from model_loaders.backbone.rope import PLAIN

NAME = "packed_texts"
KERNELS = ("sdpa", "eager")
# Relative difference of two states below which they are the same: sums of other lengths round differently.
SAME = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 5e-3}
Kernel = Callable[..., tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Packing:
    """Where the tokens of a row stand in the padded batch.

    Attributes:
        places: ``(tokens,)`` int64, of each token of the row in the padded batch, counted text by text.
        texts: number of texts.
        longest: tokens of the longest one.
        mask: of attention, ``(texts, 1, longest, longest)``: for eager added to the scores, for sdpa true where a token may
            look; ``None`` for sdpa's own causal mask.
        kernel: name of the base LLM's own.
    """

    places: Tensor
    texts: int
    longest: int
    mask: Tensor | None
    kernel: str

    def inputs_of(self, input_ids: Tensor) -> dict[str, Any]:
        """Return the arguments of the backbone for ``(texts, longest)`` ids; positions begin anew with each text."""
        positions = self.places % self.longest
        return {"input_ids": self.pack(input_ids), "position_ids": positions[None], "use_cache": False}

    def pack(self, padded: Tensor) -> Tensor:
        """Return the real tokens ``(1, tokens, …)`` of ``(texts, longest, …)``."""
        row: Tensor = padded.flatten(0, 1).index_select(0, self.places)[None]
        return row

    def pad(self, row: Tensor) -> Tensor:
        """Return ``(texts, longest, …)`` of real tokens ``(1, tokens, …)``, zeros elsewhere."""
        flat = row.new_zeros((self.texts * self.longest, *row.shape[2:]))
        padded: Tensor = flat.index_copy(0, self.places, row[0]).unflatten(0, (self.texts, self.longest))
        return padded


_current: list[Packing] = []  # of the forward pass that runs; a pass that packs is one of training, in one thread


def make_packing(places: Tensor, shape: Sequence[int], causal: bool, backbone: nn.Module) -> Packing:
    """Describe a padded batch.

    Args:
        places: ``(tokens,)`` int64, of the real tokens, which stand at the left of their rows.
        shape: ``(texts, longest)``.
        causal: whether a token sees no later one.
        backbone: the base LLM, whose kernel attends.
    """
    texts, longest = shape
    model: Any = backbone
    kernel, dtype = model.config._attn_implementation, model.dtype
    if kernel == "sdpa" and causal:
        return Packing(places, texts, longest, None, kernel)  # padding is behind every token
    real = places.new_zeros(texts * longest, dtype=torch.bool).index_fill(0, places, True).unflatten(0, (texts, longest))
    allowed = real[:, None, None, :].expand(texts, 1, longest, longest)
    if causal:
        allowed = allowed & torch.ones(longest, longest, dtype=torch.bool, device=places.device).tril()
    if kernel == "eager":
        mask = torch.zeros(allowed.shape, dtype=dtype, device=places.device).masked_fill_(~allowed, torch.finfo(dtype).min)
        return Packing(places, texts, longest, mask, kernel)
    return Packing(places, texts, longest, allowed, kernel)


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attend text by text: queries, keys and values are ``(1, heads, tokens, head)``; returns ``(1, tokens, heads, head)``."""
    packing = _current[-1]
    states = [packing.pad(part.transpose(1, 2)).transpose(1, 2) for part in (query, key, value)]
    output, _ = kernel_of(module, packing.kernel)(module, *states, packing.mask, **options)
    return packing.pack(output), None


def kernel_of(module: nn.Module, name: str) -> Kernel:
    """Return the attention that a layer computes with: transformers' for all families, or its family's own eager one."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if name == "eager":
        own: Kernel = sys.modules[type(module).__module__].eager_attention_forward
        return own
    kernel: Kernel = ALL_ATTENTION_FUNCTIONS[name]
    return kernel


@torch.no_grad()
def longest_packed(backbone: nn.Module, causal: bool) -> int:
    """Return the tokens that a text may have to be packed with others: the attention window of causal models; 0 for none.

    A family says little about itself, so it is tried: three texts in one row must have the states that they have alone. Layers
    with a state that runs along the row, and attention that does not go through transformers' interface, fail this.
    """
    config: Any = backbone.config
    if config._attn_implementation not in KERNELS or any(hasattr(type(module), PLAIN) for module in backbone.modules()):
        return 0
    if not same_states(backbone, causal):
        return 0
    text = config.get_text_config(decoder=True)
    windows = [getattr(text, "sliding_window", None), getattr(text, "attention_chunk_size", None)]
    return min([window for window in windows if window], default=text.max_position_embeddings) if causal else sys.maxsize


def same_states(backbone: nn.Module, causal: bool) -> bool:
    """Whether three texts of 2, 7 and 5 tokens have the same states in one row as each alone."""
    config: Any = backbone.config
    device, vocabulary = next(backbone.parameters()).device, int(config.get_text_config(decoder=True).vocab_size)
    lengths = (2, 7, 5)
    ids = (torch.arange(3 * max(lengths), device=device) * 7919 % vocabulary).unflatten(0, (3, max(lengths)))
    real = torch.arange(max(lengths), device=device) < torch.tensor(lengths, device=device)[:, None]
    packing = make_packing(real.flatten().nonzero()[:, 0], ids.shape, causal, backbone)
    was_training = backbone.training
    backbone.eval()
    try:
        with packed(backbone, packing):
            together = packing.pad(backbone(**packing.inputs_of(ids)).last_hidden_state).float()
        for row, length in enumerate(lengths):
            alone = backbone(input_ids=ids[row : row + 1, :length], use_cache=False).last_hidden_state[0].float()
            change = (together[row, :length] - alone).abs().max() / alone.abs().max()
            if not float(change) < SAME[backbone.dtype]:  # type: ignore[index]
                return False
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        return False
    finally:
        backbone.train(was_training)
    return True


@contextmanager
def packed(backbone: nn.Module, packing: Packing) -> Iterator[None]:
    """Let a backbone's layers attend text by text inside the block."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if NAME not in ALL_ATTENTION_FUNCTIONS:
        ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
    config: Any = backbone.config
    before = config._attn_implementation
    _current.append(packing)
    config._attn_implementation = NAME  # no mask is made for a name that transformers does not know
    try:
        yield
    finally:
        config._attn_implementation = before
        _current.pop()
