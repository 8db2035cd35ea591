"""How texts become vectors: tokenised once, sorted by length, in batches under a budget of tokens, back in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from model_loaders.errors import UserError

if TYPE_CHECKING:
    from model_loaders.embed_model import EmbedModel

OnBatch = Callable[[int, int], None]
BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Encoded:
    """The vectors of some texts, and what was read of them.

    Attributes:
        vectors: ``(texts, dim)`` float32, unit length.
        tokens: ``(texts,)`` int32: tokens of each text as encoded, after truncation, special tokens included.
        cut: ``(texts,)`` bool: whether the text was longer than the maximum length.
    """

    vectors: np.ndarray
    tokens: np.ndarray
    cut: np.ndarray


def encode_rendered(
    model: EmbedModel,
    texts: Sequence[str],
    max_length: int,
    *,
    batch_tokens: int | None = None,
    batch_size: int | None = None,
    on_batch: OnBatch | None = None,
) -> Encoded:
    """Encode texts that have their prompts already.

    Args:
        model: the vectors are those of its dtype, without dropout; its training mode is restored.
        texts: rendered texts.
        max_length: tokens a text at most.
        batch_tokens: padded tokens of a forward pass at most, except for one longer text alone; ``None`` for the default.
        batch_size: texts of a forward pass at most; ``None`` for no such limit.
        on_batch: called after each forward pass with its texts and its tokens without padding.
    """
    for name, value in (("batch_tokens", batch_tokens), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise UserError(f"{name} must be at least 1, not {value}")
    rows, cut = model.tokenizer.tokenise(texts, max_length)
    lengths = np.array([len(row) for row in rows], dtype=np.int32)
    order = np.argsort(-lengths, kind="stable")  # longest first: what is too big fails at once
    vectors = np.empty((len(rows), model.dim), dtype=np.float32)
    was_training = model.training
    model.eval()
    # Not model(...): a trainer may have wrapped forward in autocast, and vectors are those of the model's dtype. But a
    # sharded model (FSDP2) gathers its parameters when it is called, and could not train on what inference mode made.
    sharded = hasattr(model, "unshard")
    forward: Any = model if sharded else partial(type(model).forward, model)
    with torch.inference_mode(not sharded), torch.no_grad():
        for part in batches(lengths[order], batch_tokens or BATCH_TOKENS, batch_size):
            chosen = order[part]
            batch = model.tokenizer.pad([rows[index] for index in chosen]).to(model.device)
            vectors[chosen] = forward(batch.input_ids, batch.attention_mask, batch.pool_mask).cpu().numpy()
            if on_batch is not None:
                on_batch(len(chosen), int(lengths[chosen].sum()))
    for module in model.modules() if sharded else ():  # or the optimizer would not find its parameters in the model
        getattr(module, "reshard", lambda: None)()
    model.train(was_training)
    return Encoded(vectors, lengths, np.array(cut, dtype=bool))


def batches(lengths: np.ndarray, batch_tokens: int, batch_size: int | None) -> Iterator[slice]:
    """Cut texts sorted by falling length into batches of at most ``batch_tokens`` padded tokens and ``batch_size`` texts."""
    start = 0
    while start < len(lengths):
        count = max(1, batch_tokens // int(lengths[start]))
        count = min(count, batch_size or count, len(lengths) - start)
        yield slice(start, start + count)
        start += count
