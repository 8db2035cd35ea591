"""Design 1: EOS-last-token pooling, causal attention.

``EmbedModel(base_model, adapter_path, cache_dir=None, *, dtype, attn_implementation, device, num_heads)``.
"""

from __future__ import annotations

from functools import partial

from model_loaders import load_design

EmbedModel = partial(load_design, "model1")
