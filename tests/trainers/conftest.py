"""What several tests of the trainers share."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor


@pytest.fixture
def doubling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out casts of float64 tensors to float32, so that a float64 model computes in float64 throughout."""
    plain = Tensor.to

    def to(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        narrows = tensor.dtype == torch.float64 and torch.float32 in (*args, *kwargs.values())
        return tensor if narrows else plain(tensor, *args, **kwargs)

    monkeypatch.setattr(Tensor, "to", to)
    monkeypatch.setattr(Tensor, "float", lambda tensor: to(tensor, torch.float32))
