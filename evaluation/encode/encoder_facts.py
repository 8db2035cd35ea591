"""What the record says of an encoder."""

from __future__ import annotations

from typing import Any


def encoder_facts(encoder: Any) -> dict[str, Any]:
    """Return what is known of an encoder; an `EmbedModel` says all of it, None stands for what another one does not say."""
    names = ("design_name", "version", "dtype", "dim", "device")
    facts: dict[str, Any] = {name: _plain(getattr(encoder, name, None)) for name in names}
    facts["normalised"] = True  # evaluation.encode.mteb_encoder.TextEncoder's contract
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
    # A quantised base says its kind as its dtype; what its products are computed in is another matter.
    compute_dtype = getattr(backbone, "dtype", None)
    facts["compute_dtype"] = None if compute_dtype is None else str(compute_dtype).removeprefix("torch.")
    for name in ("recipe", "base_model"):
        value = getattr(encoder, name, None)
        facts[name] = dict(vars(value)) if hasattr(value, "__dataclass_fields__") else None
    return facts


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float) else str(value)
