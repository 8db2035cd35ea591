"""Design 5: Multi-Layers Trainable Pooling, bidirectional attention.

``EmbedModel(base_model, adapter_path, cache_dir=None, *, dtype, attn_implementation, device, num_heads)``.
"""

from __future__ import annotations

from functools import partial

from model_loaders import load_design

# Not the class: the published scripts import a loader under this name.
EmbedModel = partial(load_design, "model5")
