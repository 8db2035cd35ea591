"""A design, a base LLM and an adapter directory become an ``EmbedModel``.

``load(adapter_path)`` reads design and base model from the adapter's manifest. ``model_loaders.model1`` … ``model5`` load
one design each, from our layout or from the published one. Importing this package is cheap; torch comes with the first
call.

>>> from model_loaders import load
>>> model = load(adapter, base, device="cpu")
>>> model.encode(["word1 word2", "word3"]).shape
(2, 32)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from model_loaders.designs import DESIGNS, Design, get_design
from model_loaders.options import LoadOptions

if TYPE_CHECKING:
    from model_loaders.embed_model import EmbedModel

__all__ = ["DESIGNS", "Design", "LoadOptions", "UserError", "get_design", "load", "load_design"]


def load(adapter_path: str | Path, base_model: str | Path | None = None, **options: Any) -> EmbedModel:
    """Load an adapter directory of our layout.

    >>> load(adapter, base, device="cpu", dtype="float32").design_name
    'model3'

    Args:
        adapter_path: directory or hub name.
        base_model: where the base model is now, if not where the manifest says.
        options: those of ``load_design``: ``cache_dir``, ``dtype``, ``attn_implementation``, ``device``, …

    Raises:
        UserError: something is missing or does not fit; the message says what to do.
    """
    return load_design(options.pop("design", None), base_model, adapter_path, **options)


def load_design(
    design: str | None,
    base_model: str | Path | None,
    adapter_path: str | Path,
    cache_dir: str | Path | None = None,
    *,
    num_heads: int | None = None,
    trainable: bool = False,
    **options: Any,
) -> EmbedModel:
    """Load an adapter of a given design, in our layout or in the published one.

    >>> load_design("model3", base, adapter, device="cpu").dim
    32

    Args:
        design: row of the table of designs; ``None`` takes it from the manifest.
        base_model: hub name or directory; ``None`` takes it from the manifest.
        adapter_path: hub name or directory.
        cache_dir: hub cache.
        num_heads: heads of the pooling, which the published layout does not say (default 32).
        trainable: load for training: LoRA and pooling have gradients and are in fp32.
        options: ``dtype``, ``attn_implementation`` and ``device``; see ``LoadOptions``.

    Raises:
        UserError: something is missing or does not fit; the message says what to do.
    """
    from model_loaders import loading

    return loading.load_design(design, base_model, adapter_path, cache_dir, num_heads=num_heads, trainable=trainable, **options)
