"""Texts of several lengths in one row without padding: every layer computes real tokens only, and attention text by text.

A padded batch ``(texts, longest)`` is taken apart into one row ``(1, tokens)`` of its real tokens. Matrix products, norms and
activations work token by token, so they give the same numbers and do no work for padding. Attention alone needs texts apart:
its queries, keys and values are put back into ``(texts, heads, longest, head)``, where the base LLM's own kernel computes them
with the mask of the padded batch. Positions begin anew with each text. Padding costs what it costs in attention alone, which is
a few per cent of a short text's work.

Attention takes the texts in parts of similar length, each padded to its own longest, and the rest of a layer takes the whole
row: a pass through the layers has a fixed cost, so one long row is cheaper than a short one for each length.

On CUDA in half precision one call of FlashAttention takes all texts where they stand (`torch.nn.attention.varlen`), and nothing
is padded. No GPU was at hand to measure it; it is on with ``--packing on`` alone, and tried on the base LLM as all else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model_loaders.backbone.rope import PLAIN
from model_loaders.text.batch import Row

NAME = "packed_texts"
KERNELS = ("sdpa", "eager")
# Relative difference of two states below which they are the same: sums of other lengths round differently.
SAME = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 5e-3}
Kernel = Callable[..., tuple[Tensor, Tensor | None]]
Reduce = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Part:
    """Neighbouring texts of a row that attend together, padded to the longest of them.

    Attributes:
        tokens: real tokens of these texts.
        places: ``(real tokens,)`` int64, of each of them in the padded texts; ``None`` where all texts are as long.
        rows: of the batch, these texts.
        longest: tokens of the longest one.
        mask: of attention, ``(texts, 1, longest, longest)``: for eager added to the scores, for sdpa true where a token may
            look; ``None`` for sdpa's own causal mask.
    """

    tokens: int
    places: Tensor | None
    rows: slice
    longest: int
    mask: Tensor | None

    def pad(self, states: Tensor) -> Tensor:
        """Return ``(texts, longest, …)`` of states ``(tokens, …)``, zeros where a text has ended."""
        texts, flat = self.rows.stop - self.rows.start, states
        if self.places is not None:
            flat = states.new_zeros((texts * self.longest, *states.shape[1:])).index_copy(0, self.places, states)
        return flat.view(texts, self.longest, *states.shape[1:])

    def pack(self, padded: Tensor) -> Tensor:
        """Return the real tokens ``(tokens, …)`` of ``(texts, longest, …)``."""
        flat = padded.flatten(0, 1)
        return flat if self.places is None else flat.index_select(0, self.places)


@dataclass(frozen=True)
class Packing:
    """Where the tokens of a row stand in the padded batch.

    Attributes:
        places: ``(tokens,)`` int64, of each token of the row in the padded batch, counted text by text.
        texts: number of texts.
        longest: tokens of the longest one.
        parts: texts that attend together.
        kernel: name of the base LLM's own attention.
        causal: whether a token sees no later one.
        starts: ``(texts + 1,)`` int32, of the texts in the row and its end, where one call takes all texts; else ``None``.
    """

    places: Tensor
    texts: int
    longest: int
    parts: tuple[Part, ...]
    kernel: str
    causal: bool
    starts: Tensor | None = None

    def inputs_of(self, input_ids: Tensor) -> dict[str, Any]:
        """Return the arguments of the backbone for ``(texts, longest)`` ids; positions begin anew with each text."""
        positions = self.places % self.longest
        row = input_ids.flatten().index_select(0, self.places)
        return {"input_ids": row[None], "position_ids": positions[None], "use_cache": False}

    def pad(self, row: Tensor) -> Tensor:
        """Return ``(texts, longest, …)`` of real tokens ``(1, tokens, …)``, zeros elsewhere."""
        flat = row.new_zeros((self.texts * self.longest, *row.shape[2:]))
        padded: Tensor = flat.index_copy(0, self.places, row[0]).unflatten(0, (self.texts, self.longest))
        return padded

    def reduce(self, of_tokens: Reduce, row: Tensor, mask: Tensor) -> Tensor:
        """Return what ``of_tokens`` makes of each text, ``(texts, …)``.

        Args:
            of_tokens: takes padded states ``(texts, longest, hidden)`` and their mask.
            row: states ``(1, tokens, hidden)``.
            mask: ``(texts, longest)``, of the batch.
        """
        reduced = []
        for part, states in zip(self.parts, self.split(row[0]), strict=True):
            reduced.append(of_tokens(part.pad(states), mask[part.rows, : part.longest]))
        return torch.cat(reduced)

    def split(self, row: Tensor) -> tuple[Tensor, ...]:
        """Return the tokens of each part of ``(tokens, …)``; the gradient of each slice apart would be a whole row."""
        states: tuple[Tensor, ...] = row.split([part.tokens for part in self.parts])
        return states


_current: ContextVar[Packing] = ContextVar("packing")  # of the forward pass that runs in this thread


def make_packing(row: Row, shape: Sequence[int], causal: bool, backbone: nn.Module) -> Packing:
    """Describe a padded batch.

    Args:
        row: its real tokens, which stand at the left of their rows.
        shape: ``(texts, longest)``.
        causal: whether a token sees no later one.
        backbone: the base LLM, whose kernel attends.
    """
    model: Any = backbone
    kernel, dtype, device = model.config._attn_implementation, model.dtype, model.device
    texts, longest = shape
    at_once = takes_all_texts(kernel, dtype, device)
    parts: list[Part] = []
    text = 0
    for size in row.sizes:
        real = real_tokens(row.lengths[text : text + size])
        count, width = int(real.sum()), real.shape[1]
        places = None if count == real.size else places_of(real, device)
        mask = None if at_once else mask_of(torch.from_numpy(real).to(device), causal, kernel, dtype)
        parts.append(Part(count, places, slice(text, text + size), width, mask))
        text += size
    places = places_of(real_tokens(row.lengths, longest), device)
    starts = torch.from_numpy(np.cumsum([0, *row.lengths], dtype=np.int32)).to(device) if at_once else None
    return Packing(places, texts, longest, tuple(parts), kernel, causal, starts)


def takes_all_texts(kernel: str, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether one call of attention takes texts of several lengths: FlashAttention is of CUDA and of half precision."""
    return kernel == "sdpa" and device.type == "cuda" and dtype in (torch.bfloat16, torch.float16)


def real_tokens(lengths: Sequence[int], longest: int = 0) -> np.ndarray:
    """Return bool ``(texts, longest)``, true for real tokens; of numpy, as a planned step has tensors without values."""
    real: np.ndarray = np.arange(longest or max(lengths)) < np.array(lengths)[:, None]
    return real


def places_of(real: np.ndarray, device: torch.device) -> Tensor:
    """Return int64 ``(real tokens,)``: of each of them in ``(texts, longest)``, counted text by text."""
    return torch.from_numpy(np.flatnonzero(real)).to(device)


def mask_of(real: Tensor, causal: bool, kernel: str, dtype: torch.dtype) -> Tensor | None:
    """Return the mask of `Part` for the real tokens ``(texts, longest)`` of a padded batch."""
    if kernel == "sdpa" and causal:
        return None  # padding is behind every token
    texts, longest = real.shape
    allowed = real[:, None, None, :].expand(texts, 1, longest, longest)
    if causal:
        allowed = allowed & torch.ones(longest, longest, dtype=torch.bool, device=real.device).tril()
    if kernel == "eager":
        return torch.zeros(allowed.shape, dtype=dtype, device=real.device).masked_fill_(~allowed, torch.finfo(dtype).min)
    return allowed


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attend text by text: queries, keys and values are ``(1, heads, tokens, head)``; returns ``(1, tokens, heads, head)``."""
    packing = _current.get()
    rows = [states[0].transpose(0, 1) for states in (query, key, value)]  # (tokens, heads, head)
    if packing.starts is not None:
        return attend_at_once(rows, packing, packing.starts, options), None
    kernel = kernel_of(module, packing.kernel)
    outputs = []
    for part, *states in zip(packing.parts, *map(packing.split, rows), strict=True):
        padded = [part.pad(state).transpose(1, 2) for state in states]
        outputs.append(part.pack(kernel(module, *padded, part.mask, **options)[0]))
    return torch.cat(outputs)[None], None


def attend_at_once(rows: Sequence[Tensor], packing: Packing, starts: Tensor, options: dict[str, Any]) -> Tensor:
    """Attend in one call of FlashAttention; returns ``(1, tokens, heads, head)``.

    Args:
        rows: queries, keys and values, ``(tokens, heads, head)``; keys and values may have fewer heads.
        packing: of the batch.
        starts: of the texts.
        options: of the layer. A window is passed over: texts that are packed are no longer than it.

    Raises:
        NotImplementedError: an option that this kernel has not, so that the base LLM is not packed.
    """
    from torch.nn.attention.varlen import varlen_attn  # loads torch's compiler, which takes seconds

    query, key, value = rows
    if options.get("dropout") or options.get("softcap") is not None or options.get("s_aux") is not None:
        raise NotImplementedError("dropout, capped scores and sinks of attention are not FlashAttention's for packed texts")
    output: Any = varlen_attn(
        query,
        key,
        value,
        starts,
        starts,
        packing.longest,
        packing.longest,
        scale=options.get("scaling"),
        window_size=(-1, 0 if packing.causal else -1),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return output[None]  # type: ignore[no-any-return]


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
    packing = make_packing(Row(lengths, (1, 2)), ids.shape, causal, backbone)
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
    token = _current.set(packing)
    config._attn_implementation = NAME  # no mask is made for a name that transformers does not know
    try:
        yield
    finally:
        config._attn_implementation = before
        _current.reset(token)
