"""Random state, kept so that a second forward pass draws the same dropout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def get_random_state(device: torch.device) -> tuple[Tensor, ...]:
    """Return the states of the generators that dropout draws from: the CPU's and the device's."""
    if device.type == "cpu":
        return (torch.get_rng_state(),)
    return torch.get_rng_state(), torch.get_device_module(device).get_rng_state(device)


def set_random_state(state: tuple[Tensor, ...], device: torch.device) -> None:
    """Set the generators to what `get_random_state` returned."""
    torch.set_rng_state(state[0])
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(state[1], device)


@contextmanager
def random_state(state: tuple[Tensor, ...], device: torch.device) -> Iterator[None]:
    """Replay dropout from ``state`` inside the block; afterwards the generators go on where they were."""
    before = get_random_state(device)
    set_random_state(state, device)
    try:
        yield
    finally:
        set_random_state(before, device)
