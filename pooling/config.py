"""The few numbers that a trainable pooling is built from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class PoolingConfig:
    """Sizes of a trainable pooling; the defaults are the published ones (arXiv 2409.02727, released code).

    Attributes:
        hidden_size: width of the backbone's states and of the embedding.
        latents: how many trainable queries attend to the states.
        heads: attention heads.
        head_dim: width of one head; ``heads * head_dim`` need not equal ``hidden_size``.
        layers: number of backbone layers for Multi-Layers Trainable Pooling, ``None`` for Last-Layer.
        feed_forward_multiple: width of the gated feed-forward's inner layer, in units of ``hidden_size``.
    """

    hidden_size: int
    latents: int = 768
    heads: int = 32
    head_dim: int = 2048
    layers: int | None = None
    feed_forward_multiple: int = 4

    def __post_init__(self) -> None:
        check_sizes({name: value for name, value in asdict(self).items() if name != "layers" or value is not None})

    @property
    def kind(self) -> str:
        """Row of the table of poolings; not a field: manifests tell the kind by ``layers``."""
        return "last_layer" if self.layers is None else "multi_layer"

    def to_dict(self) -> dict[str, Any]:
        """Return the config as JSON-able values."""
        return asdict(self)


def check_sizes(sizes: dict[str, Any]) -> None:
    """Raise a ValueError for a size of a pooling that is not a positive whole number."""
    for name, value in sizes.items():
        if type(value) is not int or value < 1:  # not isinstance: True is an int too
            raise ValueError(f"pooling {name} must be a positive whole number, not {value!r}")
