"""Causal or bidirectional attention in a decoder LLM, and the probe that shows which one it really has.

transformers ≥ 5.2 makes any decoder bidirectional by ``config.is_causal = False``. Nothing else is safe: setting
``is_causal`` on a module is ignored by eager, and by sdpa as soon as a row is padded.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from common.errors import UserError
from common.files import first_line
from model_loaders.designs import Design

# Layers with a state that runs from left to right, or that cut the text in chunks, cannot be made to see every token.
ATTENTION_LAYERS = {"full_attention", "sliding_attention", "attention"}
# Relative change of a state below which it did not change: kernels that compute a text in blocks round differently.
NOISE = 1e-5
LAYER_KIND_KEYS = ("layer_types", "layers_block_type", "hybrid_override_pattern")


def set_attention(config: Any, attention: str) -> None:
    """Write the design's attention into a backbone's config, before the backbone is built.

    For bidirectional attention a sliding window is lifted, since it would hide distant tokens from each other.

    Raises:
        UserError: bidirectional attention was asked of a model with recurrent layers.
    """
    config.is_causal = attention == "causal"
    if attention == "causal":
        return
    refuse_recurrent(config)
    if getattr(config, "sliding_window", None) is not None:
        if getattr(config, "layer_types", None):
            # The layer kinds stay as they are (Gemma 3 keys its rotary embeddings by them); the window covers all.
            config.sliding_window = max(config.sliding_window, 2 * config.max_position_embeddings)
        else:
            config.sliding_window = None


def refuse_recurrent(config: Any) -> None:
    """Raise a UserError if any layer of ``config`` is neither full nor sliding attention."""
    for key in LAYER_KIND_KEYS:
        kinds = getattr(config, key, None)
        if kinds is None:
            continue
        other = sorted({str(kind) for kind in kinds} - ATTENTION_LAYERS)
        if other:
            raise UserError(
                f"{config.model_type!r} has layers ({', '.join(other)}) that read the text from left to right or in pieces, "
                "which no mask makes bidirectional. Take a causal design (model1, model2, model3) or another base model."
            )


def sees_future(backbone: nn.Module, vocabulary: int, *, padded: bool, masked: bool = True) -> tuple[float, float]:
    """Measure whether the first token's state reacts to the last token, and whether padding leaks.

    Two token sequences that differ in their last real token go through the backbone, each as a batch of its own: the
    mask is made for a whole batch, so that a padded and an unpadded row in one batch would test only one of the paths.

    Args:
        backbone: the decoder.
        vocabulary: its number of tokens.
        padded: whether padding follows the text.
        masked: whether a mask is given at all; without padding none is needed, and encoding gives none.

    Returns:
        ``(future, padding)``: largest change of the first token's state when the last real token changes, and when only
        the content of the padding changes, both relative to the state's largest value.
    """
    device = next(backbone.parameters()).device
    length, pads = 8, 5 if padded else 0
    row = torch.arange(1, length + pads + 1, device=device) % (vocabulary - 1) + 1
    other_last, other_pads = row.clone(), row.clone()
    other_last[length - 1] = (other_last[length - 1] + vocabulary // 2) % vocabulary
    other_pads[length:] = (other_pads[length:] + vocabulary // 2) % vocabulary
    mask = torch.ones_like(row)
    mask[length:] = 0

    def first_state(ids: torch.Tensor) -> torch.Tensor:
        output = backbone(input_ids=ids[None], attention_mask=mask[None] if masked else None, use_cache=False)
        state: torch.Tensor = output.last_hidden_state[0, 0].float()
        check_width(backbone, state.numel())
        return state

    base = first_state(row)
    scale = float(base.abs().max().clamp(min=1e-12))
    future = float((first_state(other_last) - base).abs().max()) / scale
    return future, float((first_state(other_pads) - base).abs().max()) / scale


def check_width(backbone: nn.Module, width: int) -> None:
    """Raise a UserError if a decoder's last states are not as wide as its layers, as those of OPT-350m."""
    config: Any = backbone.config
    hidden = int(config.get_text_config(decoder=True).hidden_size)
    if width != hidden:
        raise UserError(
            f"the last states of this {config.model_type!r} model are {width} wide, and its layers {hidden}: it projects them "
            "behind the last layer, which no pooling here reads. Take another base model."
        )


def other_way(config: Any) -> str:
    """Return what may help where a model's attention is not as the design wants it."""
    return (
        "take another base model"
        if config._attn_implementation == "eager"
        else "try attn_implementation='eager', or another base model"
    )


@torch.no_grad()
def probe_attention(backbone: nn.Module, design: Design) -> None:
    """Check by behaviour that the backbone attends as the design says; run after every load.

    Raises:
        UserError: the first token sees the last one in a causal design, or does not in a bidirectional one, on an
            unpadded, a padded or an unmasked batch; or the content of the padding reaches a real token.
    """
    training = backbone.training
    backbone.eval()
    config: Any = backbone.config
    vocabulary = int(config.get_text_config(decoder=True).vocab_size)
    ways = {"an unpadded batch": (False, True), "a padded batch": (True, True), "a batch without a mask": (False, False)}
    for where, (padded, masked) in ways.items():
        try:
            future, padding = sees_future(backbone, vocabulary, padded=padded, masked=masked)
        except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            other = "a causal design, or another base model" if design.attention == "bidirectional" else "another base model"
            raise UserError(
                f"a {config.model_type!r} model with {design.attention} attention ({config._attn_implementation!r}) cannot run "
                f"{where}: {first_line(error)}. Take {other}."
            ) from error
        sees = future > NOISE
        if sees != (design.attention == "bidirectional"):
            raise UserError(
                f"the design wants {design.attention} attention, but on {where} the first token "
                f"{'sees' if sees else 'does not see'} the last one (relative change {future:.1e}; model type "
                f"{config.model_type!r}, attention {config._attn_implementation!r}). This model or kernel does not honour "
                f"config.is_causal: {other_way(config)}."
            )
        if padding > 1e-3:
            raise UserError(
                f"the content of the padding changes the state of a real token (relative change {padding:.1e}; model type "
                f"{config.model_type!r}, attention {config._attn_implementation!r}): {other_way(config)}."
            )
    backbone.train(training)
