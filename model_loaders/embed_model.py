"""``EmbedModel``: backbone, pooling and tokenizer of one design; texts in, unit vectors out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import UserError
from model_loaders.backbone.states import read_states
from model_loaders.designs import Design, get_design
from model_loaders.encoding import Encoded, OnBatch, encode_texts, list_of_texts
from model_loaders.layouts.manifest import PROBE_TEXTS, BaseModel
from model_loaders.layouts.tensors import trained_tensors
from model_loaders.text.batch import Row
from model_loaders.text.prompts import Role
from model_loaders.text.recipe import Recipe
from model_loaders.text.tokenizer import TextTokenizer
from model_loaders.vectors.compress import Compression, check_options, compress, unit
from model_loaders.version import hash_of, lora_facts
from pooling import Pooling

NOT_TRIED: tuple[int | None, int | None] = (None, None)


class EmbedModel(nn.Module):
    """One design on one base LLM. Made by ``model_loaders.load``, ``load_design`` or ``create``, not by hand.

    Attributes:
        design_name: row of the table of designs.
        design: that row.
        backbone: the base LLM's decoder, with LoRA by peft unless ``has_lora`` is false.
        pooling: the trainable pooling, or ``None``.
        tokenizer: makes token ids, with the recipe's end token.
        recipe: prompts, lengths, which tokens are pooled: all that decides a vector beside the weights.
        base_model: which base LLM this is.
        trained_dimensions: widths that the vectors were trained to be cut to (Matryoshka), the widest first; empty for none.
        fitting_tokens: padded tokens of a batch that fits the memory, once a larger one did not; see ``encode``.
        packs_up_to: tokens of a text that is encoded without padding (`encoding.packed_up_to`); ``None`` until that was tried.
        system: name of the published model or foreign folder that it was loaded from; empty for adapters of the designs.
    """

    def __init__(
        self,
        design_name: str,
        backbone: nn.Module,
        pooling: Pooling | None,
        tokenizer: TextTokenizer,
        recipe: Recipe,
        base_model: BaseModel,
    ) -> None:
        super().__init__()
        self.design_name = design_name
        self.design: Design = get_design(design_name)
        kind = "none" if pooling is None else pooling.config.kind
        if kind != self.design.pooling:
            raise ValueError(f"{design_name} has pooling {self.design.pooling!r}, got {kind!r}")
        if (recipe.dimensions or 0) > base_model.hidden_size:
            raise UserError(f"the recipe keeps {recipe.dimensions} numbers of vectors that have {base_model.hidden_size}")
        self.backbone = backbone
        self.pooling = pooling
        self.tokenizer = tokenizer
        self.recipe = recipe
        self.base_model = base_model
        self.trained_dimensions: tuple[int, ...] = ()
        self.fitting_tokens, self.packs_up_to = NOT_TRIED
        self.system = ""

    @property
    def dim(self) -> int:
        """Width of the vectors: the base LLM's, or the recipe's dimensions."""
        return self.recipe.dimensions or self.base_model.hidden_size

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""
        return next(self.backbone.parameters()).device

    @property
    def dtype(self) -> str:
        """Name of the dtype that the backbone computes in, such as ``float32``; of a quantised one, its kind."""
        return self.base_model.quantisation or str(self.backbone.dtype).removeprefix("torch.")

    @property
    def attn_implementation(self) -> str:
        """Name of the attention kernel, such as ``sdpa``."""
        return str(getattr(self.backbone.config, "_attn_implementation", ""))

    @property
    def _no_split_modules(self) -> list[str]:
        """Class names of the base LLM's layers, by which FSDP2 shards."""
        base = self.backbone.get_base_model() if self.has_lora else self.backbone  # type: ignore[operator]
        return sorted(getattr(base, "_no_split_modules", None) or ())

    @property
    def has_lora(self) -> bool:
        """Whether the backbone carries LoRA."""
        return hasattr(self.backbone, "peft_config")

    @property
    def version(self) -> str:
        """Hash of everything that decides a vector: trained tensors, design, base model, tokenizer, recipe and dtype."""
        backbone: Any = self.backbone
        lora = lora_facts(backbone.peft_config["default"].to_dict()) if self.has_lora else None
        pooling = self.pooling.config.to_dict() if self.pooling is not None else None
        # LoRA on a quantised base stays in fp32, whatever the dtype of the products: the tensors do not tell.
        dtype = f"{self.dtype} {backbone.dtype}" if self.base_model.quantisation else self.dtype
        tensors = trained_tensors(self.backbone, self.pooling)
        return hash_of(self.design_name, self.base_model, self.recipe, dtype, self.tokenizer.digest, lora, pooling, tensors)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        pool_mask: Tensor | None = None,
        row: Row | None = None,
    ) -> Tensor:
        """Encode tokenised texts.

        Args:
            input_ids: ``(batch, tokens)`` int64; the last attended token of each row is the one that EOS designs pool.
            attention_mask: ``(batch, tokens)``; padding on either side. It must come from the tokenizer. ``None`` where no
                token that is read can see padding (see ``read_states``).
            pool_mask: ``(batch, tokens)``; tokens that the pooling reads. ``None`` for the attended ones without the recipe's
                ``unpooled_token_ids``.
            row: of the batch's real tokens: the base LLM computes these alone (`backbone.packing`).

        Returns:
            Unit vectors ``(batch, dim)`` in fp32.

        Raises:
            ValueError: no ``pool_mask``, and the recipe pools some tokens only.
        """
        if pool_mask is None:
            if self.recipe.pooled != "all":
                raise ValueError(f"the recipe pools {self.recipe.pooled}: give the pool_mask that tokenizer.pad returns")
            real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            pool_mask = self.tokenizer.pool_mask(input_ids, real)
        states, state_mask = read_states(self.backbone, self.design, input_ids, attention_mask, pool_mask, row)
        vectors = states[:, 0] if self.pooling is None else pool(self.pooling, states, state_mask, input_ids.numel())
        return F.normalize(vectors.float()[:, : self.dim], dim=-1)

    def encode(
        self,
        texts: Sequence[str],
        role: Role = "document",
        *,
        prompt: str | None = None,
        max_length: int | None = None,
        dimensions: int | None = None,
        batch_tokens: int | None = None,
        batch_size: int | None = None,
        show_progress: bool = False,
        **compression: Unpack[Compression],
    ) -> np.ndarray:
        """Encode texts; a text's vector does not depend on the others.

        Args:
            texts: any strings; empty ones are legal.
            role: ``query`` or ``document``: whose prompt is used.
            prompt: used instead of the recipe's; ``""`` for none. ``recipe.instructed`` makes one of an instruction.
            max_length: tokens a text at most; ``None`` for the recipe's.
            dimensions: the vectors' first so many numbers, made unit again (Matryoshka); ``None`` for the recipe's.
                ``trained_dimensions`` has those that the model was trained for.
            batch_tokens: padded tokens of one forward pass at most; ``None`` for what suits the device.
                A batch that does not fit the memory is halved, and ``fitting_tokens`` remembers it.
            batch_size: texts of one forward pass at most; ``None`` for no such limit.
            show_progress: show a bar.
            compression: ``precision`` (``int8``, ``uint8``, ``binary``, ``ubinary``) and, of the first two, ``ranges``, which
                ``vectors.compress.ranges_of`` takes from the vectors of your corpus.

        Returns:
            Unit vectors, float32 ``(len(texts), dimensions or dim)``, or what ``compress`` makes of them.
        """
        if dimensions is not None and not 1 <= dimensions <= self.dim:
            raise UserError(f"dimensions is {dimensions}; the vectors have {self.dim} numbers")
        precision = compression.get("precision", "float32")
        check_options(compression)
        options: dict[str, Any] = {"prompt": prompt, "max_length": max_length, "batch_size": batch_size}
        with progress(len(texts), show_progress) as on_batch:
            vectors = self.encode_counted(texts, role, batch_tokens=batch_tokens, on_batch=on_batch, **options).vectors
        kept = vectors if dimensions in (None, self.dim) else unit(vectors[:, :dimensions])
        return kept if precision == "float32" else compress(kept, precision, compression.get("ranges"))

    def encode_counted(
        self,
        texts: Sequence[str],
        role: Role = "document",
        *,
        prompt: str | None = None,
        max_length: int | None = None,
        batch_tokens: int | None = None,
        batch_size: int | None = None,
        on_batch: OnBatch | None = None,
    ) -> Encoded:
        """Encode texts as ``encode`` does, with its arguments, and count their tokens.

        ``on_batch`` is called after each forward pass with its number of texts and of tokens without padding.

        Returns:
            Vectors, tokens and cuts in the order of ``texts``.
        """
        texts = list_of_texts(texts)
        chosen = self.recipe.prompt(role) if prompt is None else prompt
        length = self.recipe.length(role) if max_length is None else max_length
        return encode_texts(self, texts, chosen, length, batch_tokens=batch_tokens, batch_size=batch_size, on_batch=on_batch)

    def fingerprints(self) -> np.ndarray:
        """Return the vectors of the probe texts, ``(probes, dim)``; whoever compares them sees what is not finite."""
        return encode_texts(self, PROBE_TEXTS, "", self.recipe.max_length, batch_size=1, check_finite=False).vectors

    # Called by transformers.Trainer for --gradient_checkpointing.
    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """Recompute the backbone's layers in the backward pass instead of keeping their activations."""
        if (activation_checkpointing_kwargs or {}).get("use_reentrant"):
            raise UserError("reentrant checkpointing loses the gradients of a frozen base model: leave use_reentrant out")
        model: Any = self.backbone.get_base_model() if self.has_lora else self.backbone  # type: ignore[operator]
        model.activation_checkpointing_enable({"use_reentrant": False}, **options)


def pool(pooling: Pooling, states: Tensor, mask: Tensor | None, tokens: int) -> Tensor:
    """Pool a batch of ``tokens`` padded tokens; without gradients, in parts that fit the memory that the backbone's pass used.

    Args:
        pooling: of the model.
        states: ``(batch, items, hidden)``.
        mask: ``(batch, items)``, or ``None``.
        tokens: padded tokens that went through the backbone.

    Returns:
        ``(batch, hidden)``.
    """
    if not torch.is_inference_mode_enabled():
        return pooling(states, mask)
    texts, items, _ = states.shape
    at_once = pooling.texts_at_once(tokens, items)
    if at_once >= texts:
        return pooling(states, mask)
    vectors = []
    for start in range(0, texts, at_once):
        part = slice(start, start + at_once)
        vectors.append(pooling(states[part], None if mask is None else mask[part]))
    return torch.cat(vectors)


@contextmanager
def progress(texts: int, show: bool) -> Iterator[OnBatch | None]:
    """Show a bar over texts; yields what is called after each batch."""
    if not show:
        yield None
        return
    from tqdm import tqdm

    with tqdm(total=texts, desc="encode", unit="text") as bar:
        yield lambda count, tokens: bar.update(count)
