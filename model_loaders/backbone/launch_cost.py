"""Tokens that a pass needs so that a GPU does not wait for its kernels to be launched.

The CPU launches a layer's kernels one by one while the GPU computes. On an H200 small groups of texts in a training step
took 0.13 to 0.19 s each through 32 layers, forward and backward; a Mistral-7B computes some 2,000 tokens in that time
(docs/performance.md, "On a GPU"). A smaller layer computes more tokens while as many kernels are launched.
"""

from __future__ import annotations

from typing import Any

from torch import nn

PARAMETER_TOKENS = 4.5e11  # of a layer: its parameters times the tokens that take as long as its launches
MOST = 16384  # beyond, padding and memory count more than launches


def launch_tokens(backbone: nn.Module) -> int:
    """Return the tokens that a GPU computes while one pass through a backbone is launched; at most ``MOST``."""
    config: Any = backbone.config
    weights = sum(p.numel() for name, p in backbone.named_parameters() if p.dim() == 2 and "embed" not in name)
    for parameter in backbone.parameters():
        if parameter.dim() == 3:  # experts, of which a token passes through some
            experts = len(parameter)
            weights += parameter.numel() // experts * min(experts, getattr(config, "num_experts_per_tok", None) or experts)
    layers: int = config.num_hidden_layers
    return min(MOST, int(PARAMETER_TOKENS * layers / max(weights, 1)))
