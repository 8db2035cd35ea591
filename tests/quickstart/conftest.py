"""A synthetic package tree whose docstrings differ, with links between the functions of a module."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

WORDS = [f"{a}{b}{c}" for a in ("ba", "ke", "li", "mo", "nu") for b in ("ra", "se", "ti", "vo") for c in ("n", "l", "st")]
PACKAGE = "synthetic"


def sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words)).capitalize() + "."


def function(rng: random.Random, name: str, linked: str) -> str:
    return (
        f'def {name}(x):\n    """{sentence(rng, 4)[:-1]} {name} here.\n\n    {sentence(rng, 30)}\n\n'
        f"    Parameters\n    ----------\n    x : int\n        {sentence(rng, 6)}\n\n"
        f"    See Also\n    --------\n    {linked} : {sentence(rng, 3)}\n\n"
        f'    Examples\n    --------\n    >>> {name}(1)\n    """\n'
    )


def write_tree(root: Path, modules: int = 120, functions: int = 6) -> Path:
    rng = random.Random(0)
    for index in range(modules):
        folder = root / PACKAGE / f"part{index % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        names = [f"make_thing{index}_{number}" for number in range(functions)]
        body = [function(rng, name, names[number ^ 1]) for number, name in enumerate(names)]
        (folder / f"module{index}.py").write_text("raise ImportError('never imported')\n" + "\n".join(body))
    (root / PACKAGE / "__init__.py").write_text("")
    return root


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="session")
def roots(tree: Path) -> dict[str, Path]:
    return {PACKAGE: tree}
