"""How many tokens a pass needs so that a GPU does not wait for its kernels to be launched.

The CPU launches a layer's kernels one by one while the GPU computes. On an H200 a group of texts in a training step took 0.14 s
to launch through 32 layers, forward and backward, however short it was; a Mistral-7B computes 2,000 tokens in that time
(docs/performance.md, "On a GPU"). A smaller layer computes more tokens while as many kernels are launched.
"""

from __future__ import annotations

from torch import nn

PARAMETER_TOKENS = 4.5e11  # of a layer: its parameters times the tokens that take as long as its launches
MOST = 16384  # beyond, padding and memory count more than launches


def launch_tokens(backbone: nn.Module) -> int:
    """Return the tokens that a GPU computes while one pass through a backbone is launched; at most ``MOST``."""
    weights = sum(p.numel() for name, p in backbone.named_parameters() if p.dim() == 2 and "embed" not in name)
    layers: int = backbone.config.num_hidden_layers  # type: ignore[union-attr, assignment]
    return min(MOST, int(PARAMETER_TOKENS * layers / max(weights, 1)))
