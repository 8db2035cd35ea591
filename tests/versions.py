"""Requirements with the lowest versions that ``pyproject.toml`` allows, or without any, for ``make test-lowest``.

Run as a script: ``python tests/versions.py lowest``. torch is left out: the Makefile installs its pinned version.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def requirements(which: str) -> list[str]:
    """Return a requirement a dependency.

    Args:
        which: ``lowest`` or ``newest``.

    Raises:
        ValueError: a dependency states no lower bound.
    """
    lines = []
    for stated in tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]:
        match = re.fullmatch(r"([A-Za-z0-9_-]+)>=([0-9.]+)", stated)
        if match is None:
            raise ValueError(f"{PYPROJECT}: {stated!r} is not NAME>=VERSION")
        name, version = match.groups()
        if name != "torch":
            lines.append(f"{name}=={version}" if which == "lowest" else name)
    return lines


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1])))
