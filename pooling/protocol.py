"""The protocol that every pooling with weights follows, and that of its config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn


class Sizes(Protocol):
    """Frozen dataclass of the numbers that a pooling is built from; it is saved beside the weights.

    A config that also has a field ``layers`` gets the number of backbone layers where the design reads all of them.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def hidden_size(self) -> int:
        """Width of the backbone's states and of the embedding."""

    @property
    def kind(self) -> str:
        """Row of ``POOLINGS`` that the config belongs to; not saved, since the design names it."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-able values."""


class Pooling(Protocol):
    """A torch module that turns the states of a text into one vector."""

    @property
    def config(self) -> Sizes:
        """Return the numbers that it was built from."""

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Pool states into vectors.

        Args:
            states: ``(batch, items, hidden)``: tokens of the last layer, or one state a layer.
            mask: ``(batch, items)``, non-zero where an item is real; ``None`` when all are. Each row needs one.

        Returns:
            ``(batch, hidden)`` in fp32, not normalised.
        """

    def texts_at_once(self, tokens: int, items: int) -> int:
        """Return how many texts can be pooled in the memory that their pass through the backbone needed.

        Encoding pools a batch in parts of that many texts.

        Args:
            tokens: padded tokens of the batch; at least one a text.
            items: states of each text.
        """

    # What every torch module has.
    def __call__(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Run ``forward`` and its hooks."""

    def state_dict(self) -> dict[str, Any]:
        """Return the tensors by name."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> object:
        """Copy tensors by name."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return what is trained."""

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Move the weights and cast them."""

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Switch training of the weights on or off."""

    def register_forward_pre_hook(self, hook: Any, *, with_kwargs: bool = False) -> Any:
        """Call ``hook`` before each ``forward``."""


@runtime_checkable
class ShowsAttention(Protocol):
    """A pooling that can say where it looks."""

    def attention(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the softmax weights of ``forward``, ``(batch, heads, queries, items)`` in fp32."""


@runtime_checkable
class KeepsWork(Protocol):
    """A pooling that can keep what it makes of its weights alone from one batch to the next."""

    def kept_work(self) -> AbstractContextManager[None]:
        """Return a block in which the weights do not change."""
