"""An embedder with the language-model head of its base LLM, for masked next-token prediction."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from common.errors import UserError
from model_loaders.backbone.head import LanguageModelHead
from model_loaders.backbone.rope import rows_of
from model_loaders.embed_model import EmbedModel
from model_loaders.text.batch import Row

SCORES_AT_ONCE = 2**26  # fp32 numbers; more are computed in blocks of tokens, and again for the gradient


class MaskedTokenModel(EmbedModel):
    """An ``EmbedModel`` that can also score hidden tokens; it encodes, saves and loads as any other.

    Attributes:
        head: of the base LLM, frozen and not saved.
    """

    def __init__(self, model: EmbedModel, head: LanguageModelHead) -> None:
        """Take over the parts of a model.

        Raises:
            UserError: its design is causal, or has a pooling that this training would not reach.
        """
        if model.design.attention != "bidirectional" or model.pooling is not None:
            raise UserError(
                f"--objective mntp trains the attention of a bidirectional base LLM, and {model.design_name} is "
                f"{model.design.attention} with pooling {model.design.pooling!r}: give --design bidirectional_mean, and the "
                "design that you want in the stage that follows"
            )
        super().__init__(model.design_name, model.backbone, None, model.tokenizer, model.recipe, model.base_model)
        self.trained_dimensions = model.trained_dimensions
        self.head = head

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        pool_mask: Tensor | None = None,
        row: Row | None = None,
        *,
        places: Tensor | None = None,
        targets: Tensor | None = None,
        texts: Tensor | None = None,
    ) -> Tensor:
        """Score hidden tokens; without ``places``, encode as `EmbedModel.forward` does.

        Args:
            input_ids: ``(batch, tokens)``, no padding where ``places`` are given and no ``attention_mask`` is.
            attention_mask: ``(batch, tokens)`` or ``None``.
            pool_mask: for vectors alone.
            row: for vectors alone.
            places: int64 ``(hidden tokens,)``: numbers of the states that predict them, counted through the rows.
            targets: int64 ``(hidden tokens,)``: their ids.
            texts: int64 ``(batch, tokens)``: number of the text that each token belongs to; attention then stays within a
                text, and positions begin anew with each. ``None`` for attention over the whole row.

        Returns:
            Two fp32 numbers: the sum of the cross-entropies, and how many tokens scored highest.
        """
        if places is None:
            return super().forward(input_ids, attention_mask, pool_mask, row)
        assert targets is not None
        inputs: dict[str, Any] = {"input_ids": input_ids, "use_cache": False}
        if texts is not None:
            inputs |= within_texts(texts, self.attn_implementation)
        elif attention_mask is not None:
            positions = (attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)
            inputs |= {"attention_mask": attention_mask, "position_ids": positions}
        with rows_of(self.backbone, attention_mask, torch.ones_like(input_ids)):
            states = self.backbone(**inputs).last_hidden_state
        rows = states.flatten(0, 1)[places]  # (hidden tokens, hidden)
        size = max(1, SCORES_AT_ONCE // len(self.head.weight))
        # Without hidden tokens the loss is 0, with a gradient of 0: such rows take part in the step like any others.
        total = torch.stack([0.0 * states.float().sum(), states.new_zeros((), dtype=torch.float32)])
        for start in range(0, len(places), size):
            part = slice(start, start + size)
            if len(places) <= size:
                total = total + token_loss(self.head, rows, targets)
            else:
                total = total + checkpoint(token_loss, self.head, rows[part], targets[part], use_reentrant=False)
        return total


def token_loss(head: LanguageModelHead, states: Tensor, targets: Tensor) -> Tensor:
    """Return the sum of cross-entropies, and the number of tokens that score highest, of states ``(items, hidden)``."""
    scores = head(states)
    with torch.autocast(scores.device.type, enabled=False):
        loss = F.cross_entropy(scores, targets, reduction="sum")
    right = (scores.detach().argmax(dim=1) == targets).sum().float()
    return torch.stack([loss, right])


def within_texts(texts: Tensor, kernel: str) -> dict[str, Tensor]:
    """Return attention mask and positions of rows whose texts do not see each other.

    Args:
        texts: int64 ``(batch, tokens)``: number of each token's text.
        kernel: of attention; sdpa takes a bool mask, eager numbers that are added.

    Raises:
        UserError: the kernel takes neither.
    """
    if kernel not in ("sdpa", "eager"):
        raise UserError(f"--block_diagonal needs --attn_implementation sdpa or eager, not {kernel}")
    same = (texts[:, :, None] == texts[:, None, :])[:, None]  # (batch, 1, tokens, tokens)
    place = torch.arange(texts.shape[1], device=texts.device).expand_as(texts)
    begins = torch.cat([torch.ones_like(texts[:, :1], dtype=torch.bool), texts[:, 1:] != texts[:, :-1]], dim=1)
    begin = torch.where(begins, place, torch.zeros_like(place)).cummax(dim=1).values
    mask = same
    if kernel == "eager":
        hidden = torch.finfo(torch.float32).min
        mask = torch.zeros(same.shape, device=texts.device).masked_fill(~same, hidden)
    return {"attention_mask": mask, "position_ids": place - begin}
