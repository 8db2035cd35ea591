"""Facts of an encoder for the record of a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from model_loaders.text.recipe import Recipe

if TYPE_CHECKING:
    from evaluation.encode.sharded_encoder import TextEncoder


def encoder_facts(encoder: TextEncoder) -> dict[str, Any]:
    """Return the facts of an encoder; an `EmbedModel` has all of them, None stands for those that another one lacks."""
    facts: dict[str, Any] = {}
    for name in ("design_name", "version", "dtype", "dim", "device"):
        facts[name] = _plain(getattr(encoder, name, None))
    facts["normalised"] = True  # the contract of TextEncoder
    facts["similarity"] = "cosine"
    facts["dtype_of_scores"] = "float32"
    design = getattr(encoder, "design", None)
    if design is not None:
        facts |= {"attention": design.attention, "pooling": design.pooling, "tokens": design.tokens, "layers": design.layers}
    pooling = getattr(encoder, "pooling", None)
    if pooling is not None and hasattr(pooling, "config"):
        facts["pooling_sizes"] = pooling.config.to_dict()
    tokenizer = getattr(encoder, "tokenizer", None)
    facts["end_token"] = getattr(tokenizer, "end_token", None)
    backbone = getattr(encoder, "backbone", None)
    config = getattr(backbone, "config", None)
    facts["attention_kernel"] = getattr(config, "_attn_implementation", None)
    # The dtype of a quantised base is its kind of quantisation; its products are computed in another one.
    compute_dtype = getattr(backbone, "dtype", None)
    facts["compute_dtype"] = None if compute_dtype is None else str(compute_dtype).removeprefix("torch.")
    for name in ("recipe", "base_model"):
        value = getattr(encoder, name, None)
        facts[name] = None
        if isinstance(value, Recipe):
            facts[name] = value.to_dict()
        elif hasattr(value, "__dataclass_fields__"):
            facts[name] = dict(vars(value))
    return facts


def _plain(value: object) -> str | float | None:
    """Return a value of JSON."""
    return value if value is None or isinstance(value, str | int | float) else str(value)
