"""Fixtures that every test may take: one thread, tiny base models, golden numbers where they are present."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.contracts.warm import Warm
from tests.tiny import PARITY, write_base


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def parity() -> Path:
    if not PARITY.is_dir():
        pytest.skip("golden numbers of the published code are not here")
    return PARITY


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Mistral."""
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def make_base(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes tiny base models of other families or sizes, each once a session."""
    made: dict[str, Path] = {}

    def make(family: str = "mistral", **changes: Any) -> Path:
        key = f"{family} {sorted(changes.items(), key=str)}"
        if key not in made:
            made[key] = write_base(tmp_path_factory.mktemp(family), family, **changes)
        return made[key]

    return make


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """Starts training commands as processes of their own, quickly."""
    with Warm() as server:
        yield server
