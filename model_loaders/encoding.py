"""Texts become vectors: tokenised once, sorted by length, in batches under a budget of tokens, back in their order.

The way of a batch is chosen for speed where that changes no vector: no attention mask where no token can see padding, no
padding where attention is eager, LoRA in one matrix product (``merged_lora``), nothing kept that the design does not read, and
on a GPU little waiting: ids are copied from pinned memory, and vectors are fetched in large pieces. What is left is one flag
that transformers reads of each batch.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from common.errors import UserError
from common.files import first_line
from model_loaders.backbone.launch_cost import launch_tokens
from model_loaders.backbone.lora_encoding import merged_lora
from model_loaders.backbone.packing import longest_packed
from model_loaders.designs import Design
from model_loaders.text.recipe import Recipe
from model_loaders.text.render import Tokens, read_texts
from model_loaders.text.tokenizer import TextTokenizer
from pooling import KeepsWork

logger = logging.getLogger(__name__)

OnBatch = Callable[[int, int], None]
Forward = Callable[..., Tensor]
# Padded tokens of a forward pass on a CPU, where the activations want to stay in the cache: with the quickstart's base, texts a
# second rise to 1,024 and fall beyond 2,048 (docs/performance.md).
CPU_BATCH_TOKENS = 1024
# Vectors that wait on a GPU before they are fetched: each fetch waits for the GPU, and few are needed.
WAITING_BYTES = 2**26
# A lock for each model: what is prepared for encoding is kept on its modules, which threads share. No attribute: a model with a
# lock cannot be copied.
_TURNS: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


class EncodingModel(Protocol):
    """What `encode_texts` needs of a model; an ``EmbedModel`` is one. Its forward pass is the module's own."""

    design: Design
    tokenizer: TextTokenizer
    recipe: Recipe
    backbone: nn.Module
    fitting_tokens: int | None
    training: bool

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None, pool_mask: Tensor | None = None) -> Tensor:
        """Return unit vectors ``(batch, dim)``."""

    @property
    def dtype(self) -> str:
        """Name of the dtype that the backbone computes in."""

    @property
    def dim(self) -> int:
        """Width of the vectors."""

    def train(self, mode: bool = True) -> Any:
        """Switch dropout on or off."""

    def eval(self) -> Any:
        """Switch dropout off."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return all parameters."""

    def modules(self) -> Iterator[nn.Module]:
        """Return the module and all its parts."""


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


def list_of_texts(texts: Sequence[str]) -> list[str]:
    """Return texts as a list.

    Raises:
        UserError: it is one string, or something in it is none.
    """
    if isinstance(texts, str):
        raise UserError("encode takes a list of texts, not one string")
    listed = list(texts)
    for text in listed:
        if not isinstance(text, str):
            raise UserError(f"encode takes strings, found {type(text).__name__}")
    return listed


def encode_texts(
    model: EncodingModel,
    texts: Sequence[str],
    prompt: str,
    max_length: int,
    *,
    batch_tokens: int | None = None,
    batch_size: int | None = None,
    on_batch: OnBatch | None = None,
    check_finite: bool = True,
) -> Encoded:
    """Encode texts, longest first.

    Threads that encode with one model take turns. A batch that does not fit the memory is halved; the budget that is left
    stands in ``model.fitting_tokens`` for later calls.

    Args:
        model: vectors are those of its own dtype, without dropout; its training mode is restored.
        texts: without their prompt.
        prompt: of all of them.
        max_length: tokens a text at most.
        batch_tokens: padded tokens of a forward pass at most, but for a longer text, which is a batch of its own; ``None``
            for what suits device and model.
        batch_size: texts of a forward pass at most; ``None`` for no such limit.
        on_batch: called after each forward pass with its number of texts and of tokens without padding.
        check_finite: whether a vector that is not finite is an error.

    Raises:
        UserError: a text alone does not fit the memory, or a vector is not finite.
    """
    for name, value in (("batch_tokens", batch_tokens), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise UserError(f"{name} must be at least 1, not {value}")
    tokens = read_texts(model.tokenizer, model.recipe, texts, [prompt] * len(texts), max_length)
    lengths = np.array([len(row) for row in tokens.ids], dtype=np.int32)
    order = np.argsort(-lengths, kind="stable")  # longest first: what does not fit is known at once
    wait = 0 if model.device.type == "cpu" else WAITING_BYTES
    result = Vectors(texts, lengths, model.dim, wait, check_finite)
    budget = batch_tokens or default_batch_tokens(model)
    start = 0
    with ready(model) as forward:
        while start < len(order):
            limit = min(budget, model.fitting_tokens or budget)
            chosen = order[start : start + texts_of_batch(int(lengths[order[start]]), limit, batch_size)]
            if one_batch(model, forward, tokens, chosen, result):
                start += len(chosen)
                if on_batch is not None:
                    on_batch(len(chosen), int(lengths[chosen].sum()))
        result.fetch()
    return Encoded(result.vectors, lengths, np.array(tokens.cut, dtype=bool))


def default_batch_tokens(model: EncodingModel) -> int:
    """Return the padded tokens of a forward pass that suit the model's device.

    On a GPU twice what hides the launches, 4,096 to 32,768: with a Mistral-7B on an H200 4,096 were best, of 1,024 to 65,536.
    """
    return CPU_BATCH_TOKENS if model.device.type == "cpu" else 2 * max(2048, launch_tokens(model.backbone))


def texts_of_batch(longest: int, batch_tokens: int, batch_size: int | None) -> int:
    """Return how many texts of at most ``longest`` tokens are a batch: one at least."""
    count = max(1, batch_tokens // longest)
    return min(count, batch_size) if batch_size else count


def one_batch(model: EncodingModel, forward: Forward, tokens: Tokens, chosen: np.ndarray, result: Vectors) -> bool:
    """Encode the texts ``chosen`` as one batch; returns whether it fitted. If not, the model's budget is halved.

    Raises:
        UserError: it is one text. What a sharded model raises comes through.
    """
    rows = [tokens.ids[index] for index in chosen]
    pooled = None if tokens.pooled is None else [tokens.pooled[index] for index in chosen]
    try:
        batch = model.tokenizer.pad(rows, pooled)
        if len(rows[0]) <= packed_up_to(model):
            batch = batch.packed([len(row) for row in rows])
        batch = batch.lean(model.design.attention == "causal").to(model.device)
        row = () if batch.row is None else (batch.row,)
        result.add(chosen, forward(batch.input_ids, batch.attention_mask, batch.pool_mask, *row))
        return True
    except (RuntimeError, MemoryError) as error:
        # The processes of a sharded model run each batch together: one that halved it alone would leave the others waiting.
        if not out_of_memory(error) or is_sharded(model):
            raise
        reason = first_line(error)
    # Outside of the except block: the error's traceback holds the activations.
    longest = len(rows[0])
    if len(rows) == 1:
        raise UserError(
            f"text {chosen[0]} of {longest:,} tokens does not fit the memory of {model.device}, alone in its batch ({reason}). "
            f"Give a smaller --max_length (such as {max(longest // 2, 2)}), load the model in a smaller dtype "
            f"(--dtype bfloat16; it is in {model.dtype}), or take a device with more free memory."
        )
    model.fitting_tokens = longest * len(rows) // 2
    logger.warning(
        "a batch of %d texts of up to %d tokens does not fit the memory of %s; from now on batches have at most %d tokens",
        len(rows), longest, model.device, model.fitting_tokens,
    )  # fmt: skip
    if model.device.type == "cuda":
        torch.cuda.empty_cache()  # pieces of the old sizes
    return False


def packed_up_to(model: EncodingModel) -> int:
    """Return the tokens of a text that is encoded without padding (`backbone.packing`): in half precision on a CPU; else 0.

    In float32 attention without a mask is as fast. Whether the base LLM can do so is tried once, and ``packs_up_to`` of an
    ``EmbedModel`` remembers it; models that have no such attribute compute padding.
    """
    known: int | None = getattr(model, "packs_up_to", 0)
    if known is None:
        backbone: Any = model.backbone
        half = model.device.type == "cpu" and backbone.dtype in (torch.bfloat16, torch.float16)
        suited = half and backbone.config._attn_implementation == "eager"
        known = longest_packed(backbone, model.design.attention == "causal") if suited else 0
        setattr(model, "packs_up_to", known)  # noqa: B010  # not of the protocol
    return known


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is used up: a GPU's, or the CPU allocator's, which raises a plain RuntimeError."""
    words = ("can't allocate memory", "not enough memory", "out of memory", "alloc_failed")  # the last is cuBLAS
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(word in str(error).lower() for word in words)


def is_sharded(model: EncodingModel) -> bool:
    """Whether the model's parameters are spread over processes (FSDP2)."""
    return hasattr(model, "unshard")


class Vectors:
    """Collects vectors of batches, in the order of the texts, and lets them wait on their device up to so many bytes.

    Attributes:
        vectors: ``(texts, dim)`` float32; rows are filled when they are fetched.
    """

    def __init__(self, texts: Sequence[str], lengths: np.ndarray, dim: int, wait: int = 0, check_finite: bool = True) -> None:
        self.vectors = np.empty((len(texts), dim), dtype=np.float32)
        self._texts, self._lengths, self._wait, self._check = texts, lengths, wait, check_finite
        self._waiting: list[tuple[np.ndarray, Tensor]] = []
        self._bytes = 0

    def add(self, chosen: np.ndarray, vectors: Tensor) -> None:
        """Take the vectors of the texts ``chosen``."""
        self._waiting.append((chosen, vectors))
        self._bytes += vectors.nbytes
        if self._bytes >= self._wait:
            self.fetch()

    def fetch(self) -> None:
        """Copy what waits into ``vectors``.

        Raises:
            UserError: a vector is not finite.
        """
        if not self._waiting:
            return
        rows = np.concatenate([chosen for chosen, _ in self._waiting])
        found = np.concatenate([vectors.cpu().numpy() for _, vectors in self._waiting])  # the first one waits for the GPU
        self._waiting, self._bytes = [], 0
        finite = np.isfinite(found).all(axis=1)
        if self._check and not finite.all():
            index = int(rows[~finite].min())
            raise UserError(
                f"the vector of text {index} ({self._texts[index][:60]!r}, {self._lengths[index]} tokens) is not finite; of "
                f"the {len(rows)} texts encoded with it {int((~finite).sum())} are not. Either the weights are broken (a run "
                "that diverged?), or float16 is too narrow for this model: load it with --dtype bfloat16 or float32."
            )
        self.vectors[rows] = found


def kept_work(model: EncodingModel) -> AbstractContextManager[None]:
    """Let a model's pooling keep what it makes of its weights alone, if it can; they do not change while texts are encoded."""
    pooling = getattr(model, "pooling", None)
    return pooling.kept_work() if isinstance(pooling, KeepsWork) and not is_sharded(model) else nullcontext()


@contextmanager
def ready(model: EncodingModel) -> Iterator[Forward]:
    """Prepare a model for encoding, without gradients and without dropout; yields its forward pass. Other threads wait."""
    with _TURNS.setdefault(model, threading.RLock()), prepared(model) as forward:
        yield forward


@contextmanager
def prepared(model: EncodingModel) -> Iterator[Forward]:
    """Prepare a model as `ready` does, for the one thread that has its turn."""
    was_training = model.training
    # Not model(...): a trainer may have wrapped forward in autocast, and vectors are those of the model's dtype. But a
    # sharded model (FSDP2) gathers its parameters when it is called, and could not train on what inference mode made.
    sharded = is_sharded(model)
    forward: Any = model if sharded else partial(type(model).forward, model)
    model.eval()
    try:
        with torch.inference_mode(not sharded), torch.no_grad(), merged_lora(model.backbone, not sharded), kept_work(model):
            yield forward
    finally:
        for module in model.modules() if sharded else ():  # or the optimizer would not find its parameters in the model
            getattr(module, "reshard", lambda: None)()
        model.train(was_training)
